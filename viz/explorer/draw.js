// Painting. A canvas has one pixel per cell or image pixel; CSS enlarges it with crisp edges, so
// every zoom, window width and pixel ratio shows the same regions.

import { colourIndex } from "./maths.js";

/** Paint an image {height, width, channels, pixels} of 1 or 3 channels. */
export function paintImage(canvas, image) {
  const context = resized(canvas, image.width, image.height);
  const data = context.createImageData(image.width, image.height);
  for (let i = 0; i < image.width * image.height; i++) {
    for (let c = 0; c < 3; c++) data.data[4 * i + c] = image.pixels[i * image.channels + (c % image.channels)];
    data.data[4 * i + 3] = 255;
  }
  context.putImageData(data, 0, 0);
}

/** Paint multiples (one per cell of `grid`) in colours on the scale from 0 to `top`. */
export function paintMap(canvas, values, grid, top, colours) {
  const context = resized(canvas, grid.width, grid.height);
  const words = new Uint32Array(values.length);
  for (let k = 0; k < values.length; k++) words[k] = colours[colourIndex(values[k], top)];
  const bytes = new Uint8ClampedArray(words.buffer);
  context.putImageData(new ImageData(bytes, grid.width, grid.height), 0, 0);
}

/** Paint the colour bar: all 256 colours from left to right. */
export function paintBar(canvas, colours) {
  paintMap(canvas, colours.map((_, i) => i), { width: 256, height: 1 }, 255, colours);
}

/** Put an element exactly over a cell of a grid. */
export function coverCell(element, cell, grid) {
  element.style.left = `${(100 * cell.col) / grid.width}%`;
  element.style.top = `${(100 * cell.row) / grid.height}%`;
  element.style.width = `${100 / grid.width}%`;
  element.style.height = `${100 / grid.height}%`;
}

function resized(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  return canvas.getContext("2d", { willReadFrequently: true }); // kept in memory: many small writes
}
