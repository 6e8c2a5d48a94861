// What a map shows, in words: for the line under the image and for screen readers.

import { say, told } from "./language.js";
import { cellsForHalf, effectiveKeys, largest, meanDistance } from "./maths.js";

const REGIONS = [
  ["top left", "top", "top right"],
  ["left", "centre", "right"],
  ["bottom left", "bottom", "bottom right"],
];
const WORTH_NAMING = 0.1; // of the attention
const FLAT = 1.2; // below this multiple everywhere, a map counts as flat

/** Attention in each ninth of the image, largest first: [{name, share}]; shares sum to 1. */
export function regionShares(weights, grid) {
  const shares = new Map(REGIONS.flat().map((name) => [name, 0]));
  const total = weights.reduce((sum, part) => sum + part, 0) || 1;
  const third = (at, count) => Math.floor((3 * (at + 0.5)) / count);
  for (let row = 0; row < grid.height; row++) {
    for (let col = 0; col < grid.width; col++) {
      const name = REGIONS[third(row, grid.height)][third(col, grid.width)];
      shares.set(name, shares.get(name) + weights[row * grid.width + col] / total);
    }
  }
  return [...shares].map(([name, share]) => ({ name, share })).sort((a, b) => b.share - a.share);
}

/** One or two sentences on a `pointMap`; `top` is the upper end of the scale of colours. */
export function describeMap({ weights, map, grid }, ask, top) {
  const strongest = strongestOf(largest(map), ask, top);
  const to = ask.direction === "to";
  const total = weights.reduce((sum, part) => sum + part, 0);
  if (total === 0) return to ? say("nobody looks here.") : say("may look nowhere.");
  if ((largest(weights) / total) * weights.length < FLAT) {
    return to
      ? say("is looked at from everywhere about alike, {strongest}.", { strongest })
      : say("looks everywhere about alike, {strongest}.", { strongest });
  }
  const named = regionShares(weights, grid).filter(({ share }) => share >= WORTH_NAMING).slice(0, 3);
  const regions = listed(named.map(({ name, share }) => say("{region} ({percent}%)", { region: told(name), percent: Math.round(100 * share) })));
  const values = { regions, count: cellsForHalf(weights), cells: weights.length, strongest };
  if (to) {
    return regions
      ? say("is looked at most from the {regions}. Half falls on {count} of {cells} cells, {strongest}.", values)
      : say("is looked at from many places. Half falls on {count} of {cells} cells, {strongest}.", values);
  }
  return regions
    ? say("looks most at the {regions}. Half falls on {count} of {cells} cells, {strongest}.", values)
    : say("looks at many places. Half falls on {count} of {cells} cells, {strongest}.", values);
}

function strongestOf(peak, ask, top) {
  const multiple = formatMultiple(peak);
  const beyond = peak > 1.001 * top;
  if (ask.baseline === "uniform") {
    return beyond ? say("up to {multiple} uniform, beyond the colours", { multiple }) : say("up to {multiple} uniform", { multiple });
  }
  return beyond
    ? say("up to {multiple} the average point, beyond the colours", { multiple })
    : say("up to {multiple} the average point", { multiple });
}

/** How spread out and how far a row looks, against uniform attention. */
export function describeSpread({ cell, own, weights, grid }, ask, aspect) {
  if (ask.direction === "to") return "";
  const uniform = new Float32Array(weights.length).fill(1 / weights.length);
  const far = (row) => meanDistance(cell, own, row, grid, aspect).toFixed(2);
  const keys = effectiveKeys(weights);
  return say("As spread out as {keys} of {cells} cells alike; {far} image heights away on average (uniform: {uniform}).", {
    keys: keys < 10 ? keys.toFixed(1) : Math.round(keys), cells: weights.length, far: far(weights), uniform: far(uniform),
  });
}

function listed(words) {
  return words.length > 1 ? say("{list} and {last}", { list: words.slice(0, -1).join(", "), last: words.at(-1) }) : words[0];
}

export function describeCell({ row, col }) {
  return say("Row {row}, column {col}", { row, col });
}

/** -0.8 -> "−0.80", with a minus sign that is one. */
export function signed(value) {
  return value.toFixed(2).replace("-", "−");
}

/** 6.24 -> "6.2×", 31.7 -> "31.7×". */
export function formatMultiple(value) {
  return `${Number(value.toPrecision(value >= 10 ? 3 : 2)).toString()}×`;
}

/** What the panels show and what 1× stands for. */
export function legend(ask) {
  const uniform = ask.baseline === "uniform";
  if (ask.measure === "value") {
    return uniform
      ? say("Attention times the length of what it adds, in multiples of uniform attention: at 1× a point looks everywhere alike.")
      : say("Attention times the length of what it adds, in multiples of the average point's attention: at 1× a point looks like the others.");
  }
  return uniform
    ? say("Colours show multiples of uniform attention: at 1× a point looks everywhere alike.")
    : say("Colours show multiples of the average point's attention: at 1× a point looks like the others.");
}

export function whyValues() {
  return say("A place can be looked at a lot and still add little: attention says how much of its value is taken, not how large that value is.");
}
