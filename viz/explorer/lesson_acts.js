// What completes a step of the lesson, read off the explorer's state, and how a step finds the page.

import { LOOK, wholeSource } from "./state.js";

const FAR = 0.5; // of the image's height or width, between two pins
const SHARP = 0.5;
const FLAT = 2;

const same = ([row, col]) => ([otherRow, otherCol]) => row === otherRow && col === otherCol;
const added = (now, before) => now.pins.filter((pin) => !before.pins.some(same(pin)));

function farthest(pins, { height, width }) {
  const apart = pins.flatMap(([row, col]) => pins.map((other) => Math.max(Math.abs(row - other[0]) / height, Math.abs(col - other[1]) / width)));
  return Math.max(0, ...apart);
}

/**
 * Is an act done? By the name of an act: a function of `now`, the explorer's state, `before`, the state
 * when the step began, `layer`, the one that is shown, and `seen`: {opened(part), links, calculated}.
 */
export const ACTS = {
  far: ({ now, before, layer }) => added(now, before).length >= 1 && farthest(now.pins, layer.queryGrid) >= FAR,
  three: ({ now, before }) => now.pins.length >= 3 && added(now, before).length >= 2,
  calculated: ({ seen }) => seen.calculated,
  sharp: ({ now }) => now.temperature <= SHARP,
  flat: ({ now }) => now.temperature >= FLAT,
  zero: ({ now, layer }) => now.source.gamma?.[layer.name] === 0,
  training: ({ seen }) => seen.opened("training"),
  tested: ({ now, seen }) => seen.opened("truth") || Boolean(now.other && Object.keys(now.source.without ?? {}).length),
  link: ({ seen }) => seen.links.size >= 1,
  second: ({ seen }) => seen.links.size >= 2,
};

/** Where on the page an act is done: the name of a part, or "picture". */
export const PLACES = {
  far: "picture", three: "picture", sharp: "change", flat: "change", zero: "change",
  training: "training", tested: "truth", link: "keep", second: "image",
};

const SETUPS = {
  reach: { pins: 1 },
  pins: { pins: 0 },
  softmax: { pins: 1 },
  temperature: { pins: 2, open: "change" },
  gamma: { pins: 2, open: "change" },
  truth: { pins: 1 },
  claim: { pins: 3, open: "keep" },
};

/** The state that a step starts from, of the checkpoint that is open; `open` is a part to unfold. */
export function setupOf(name, lab) {
  const { pins, open } = SETUPS[name];
  const { source, layer, pins: suggested } = lab.defaults;
  return { state: { ...LOOK, source: wholeSource(source), other: null, other_layer: null, layer, pins: suggested.slice(0, pins) }, open };
}
