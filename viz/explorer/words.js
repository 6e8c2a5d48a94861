// What a map shows, in words: for the line under the image and for screen readers.

import { cellsForHalf, largest } from "./maths.js";

const REGIONS = [
  ["top left", "top", "top right"],
  ["left", "centre", "right"],
  ["bottom left", "bottom", "bottom right"],
];
const WORTH_NAMING = 0.1; // of the attention
const FLAT = 1.2; // below this multiple everywhere, a map counts as flat

/** Attention in each ninth of the image, largest first: [{name, share}]. */
export function regionShares(weights, grid) {
  const shares = new Map(REGIONS.flat().map((name) => [name, 0]));
  const third = (at, count) => Math.floor((3 * (at + 0.5)) / count);
  for (let row = 0; row < grid.height; row++) {
    for (let col = 0; col < grid.width; col++) {
      const name = REGIONS[third(row, grid.height)][third(col, grid.width)];
      shares.set(name, shares.get(name) + weights[row * grid.width + col]);
    }
  }
  return [...shares].map(([name, share]) => ({ name, share })).sort((a, b) => b.share - a.share);
}

/** One or two sentences on where a point looked; `top` is the upper end of the scale of colours. */
export function describeMap(layer, weights, map, baseline, top) {
  const peak = largest(map);
  const beyond = peak > 1.001 * top ? ", beyond the colours" : "";
  const strongest = `up to ${formatMultiple(peak)} ${baseline === "uniform" ? "uniform" : "the average point"}${beyond}`;
  if (largest(weights) * layer.keys < FLAT) return `looks everywhere about alike, ${strongest}.`;
  const named = regionShares(weights, layer.keyGrid).filter(({ share }) => share >= WORTH_NAMING).slice(0, 3);
  const regions = named.map(({ name, share }) => `${name} (${Math.round(100 * share)}%)`);
  const where = regions.length ? `looks most at the ${listed(regions)}` : "looks at many places";
  return `${where}. Half falls on ${cellsForHalf(weights)} of ${layer.keys} cells, ${strongest}.`;
}

function listed(words) {
  return words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : words[0];
}

export function describeCell({ row, col }) {
  return `Row ${row}, column ${col}`;
}

/** 6.24 -> "6.2×", 31.7 -> "32×". */
export function formatMultiple(value) {
  return `${Number(value.toPrecision(value >= 10 ? 3 : 2)).toString()}×`;
}

/** What 1× stands for. */
export function legend(baseline) {
  return baseline === "uniform"
    ? "Colours show multiples of uniform attention: at 1× a point looks everywhere alike."
    : "Colours show multiples of the average point's attention: at 1× a point looks like the others.";
}
