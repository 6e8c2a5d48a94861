// Painting. A canvas has one pixel per cell or image pixel; CSS enlarges it, with crisp edges or
// smoothly, so every zoom, window width and pixel ratio shows the same regions.

import { colourIndex, middleOf, onScale, peaks } from "./maths.js";

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

/**
 * Paint multiples, one per cell of `grid`. `scale` is {top, log, style, table}: style "overlay"
 * paints the colours of the table, "mask" a black that is the denser the less was attended.
 */
export function paintMap(canvas, values, grid, { top, log, style, table }) {
  const context = resized(canvas, grid.width, grid.height);
  const data = context.createImageData(grid.width, grid.height);
  if (style === "mask") {
    for (let k = 0; k < values.length; k++) data.data[4 * k + 3] = Math.round(255 * (1 - onScale(values[k], top, log)));
  } else {
    const words = new Uint32Array(data.data.buffer);
    for (let k = 0; k < values.length; k++) words[k] = table[colourIndex(values[k], top, log)];
  }
  context.putImageData(data, 0, 0);
}

/** Paint a scale from left to right: 256 colours, or for a mask from black to white. */
export function paintBar(canvas, { style, table }) {
  const values = Float32Array.from({ length: 256 }, (_, i) => i);
  const greys = Uint32Array.from({ length: 256 }, (_, i) => 0xff000000 | (i << 16) | (i << 8) | i);
  paintMap(canvas, values, { width: 256, height: 1 }, { top: 255, log: false, style: "overlay", table: style === "mask" ? greys : table });
}

/** What is written in base64, as a Uint8Array. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

/** 256 red, green, blue triples in base64 -> opaque pixels as a Uint32Array in the machine's byte order. */
export function colourTable(base64) {
  const table = bytesOf(base64);
  const bytes = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) bytes.set([table[3 * i], table[3 * i + 1], table[3 * i + 2], 255], 4 * i);
  return new Uint32Array(bytes.buffer);
}

/** Put an element exactly over a cell of a grid. */
export function coverCell(element, cell, grid) {
  element.style.left = `${(100 * cell.col) / grid.width}%`;
  element.style.top = `${(100 * cell.row) / grid.height}%`;
  element.style.width = `${100 / grid.width}%`;
  element.style.height = `${100 / grid.height}%`;
}

/** Paint blocked cells: `cells` are indices on the grid. */
export function paintBlocked(canvas, cells, grid) {
  canvas.hidden = !cells?.length;
  if (canvas.hidden) return;
  const context = resized(canvas, grid.width * 8, grid.height * 8);
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (const cell of cells) {
    const x = (cell % grid.width) * 8;
    const y = Math.floor(cell / grid.width) * 8;
    context.fillStyle = "rgb(120 120 120 / 0.75)";
    context.fillRect(x, y, 8, 8);
    context.strokeStyle = "#fff";
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x + 1.5, y + 1.5);
    context.lineTo(x + 6.5, y + 6.5);
    context.moveTo(x + 6.5, y + 1.5);
    context.lineTo(x + 1.5, y + 6.5);
    context.stroke();
  }
}

const SVG = "http://www.w3.org/2000/svg";
const LEAST_ARROW = 2; // multiples of the baseline

/** Draw arrows between the middle of a map's own cell and its most attended regions, as in the paper's figure 1. */
export function drawArrows(svg, { cell, own, grid, weights, map }, colour, to) {
  svg.replaceChildren();
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  const start = middleOf(cell, own);
  for (const peak of peaks(map, grid, LEAST_ARROW)) {
    const end = middleOf(peak, grid);
    if (Math.hypot(end.x - start.x, end.y - start.y) < 0.02) continue;
    const [from, until] = to ? [end, start] : [start, end];
    const share = weights[peak.row * grid.width + peak.col] / weights.reduce((most, part) => Math.max(most, part), 1e-9);
    for (const [ink, extra] of [["#000", 2.5], [colour, 0]]) {
      const line = document.createElementNS(SVG, "path");
      line.setAttribute("d", arrowPath(from, until));
      line.setAttribute("vector-effect", "non-scaling-stroke");
      line.setAttribute("style", `fill:none;stroke:${ink};stroke-width:${1.5 + 2.5 * share + extra}px;stroke-linejoin:round;stroke-linecap:round`);
      svg.append(line);
    }
  }
}

function arrowPath(from, to) {
  const angle = Math.atan2(to.y - from.y, to.x - from.x);
  const length = Math.min(0.05, Math.hypot(to.y - from.y, to.x - from.x) / 2);
  const wing = (turn) => [to.x - length * Math.cos(angle + turn), to.y - length * Math.sin(angle + turn)];
  const point = ([x, y]) => `${(100 * x).toFixed(2)} ${(100 * y).toFixed(2)}`;
  return `M${point([from.x, from.y])}L${point([to.x, to.y])}M${point(wing(0.5))}L${point([to.x, to.y])}L${point(wing(-0.5))}`;
}

function resized(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  return canvas.getContext("2d", { willReadFrequently: true }); // kept in memory: many small writes
}
