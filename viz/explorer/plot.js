// Plotly's figures. The script is large, so it is loaded when the first figure is drawn.

import { say } from "./language.js";

let loading = null;

/** Load what draws figures, before one is wanted; `address` is where plotly.js is. */
export function preparePlot(address) {
  loading ??= script(address);
  return loading;
}

/**
 * Draw a figure {data, layout} in an element. `address` is where plotly.js is. Letters get the
 * colour of the element's text.
 */
export async function plot(element, address, { data, layout }) {
  await preparePlot(address);
  const font = { ...layout.font, color: getComputedStyle(element).color };
  await window.Plotly.react(element, data, { ...layout, font }, { displayModeBar: false, responsive: true });
  window.Plotly.Plots.resize(element); // it measured before it had its place
}

/** Load a classic script. */
function script(address) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement("script"), { src: address });
    element.addEventListener("load", resolve);
    element.addEventListener("error", () => {
      loading = null;
      reject(new Error(say("plotly could not be loaded")));
    });
    document.head.append(element);
  });
}
