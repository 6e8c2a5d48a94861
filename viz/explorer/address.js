// The address bar holds what is shown, so that a reload or a shared link shows it again.

import { CHOICES, LOOK, RANGES, wholeSource } from "./state.js";

const FLAGS = ["all_layers", "log", "smooth", "arrows"];
const NAMES = { baseline: "compare", all_layers: "all" }; // the address's own word, where it differs
const LONGEST = 20_000;
const BESIDE = ["lang", "lesson"]; // what the address may hold beside the state

/** The query string of a state. */
export function queryString(state) {
  const query = new URLSearchParams();
  writeSource(query, state.source, "");
  if (state.other) {
    query.set("other", 1);
    writeSource(query, state.other, "other.");
    if (state.other_layer) query.set("other.layer", state.other_layer);
  }
  query.set("layer", state.layer);
  query.set("pins", state.pins.map((cell) => cell.join(".")).join(","));
  for (const [name, usual] of Object.entries(LOOK)) {
    if (state[name] !== usual) query.set(NAMES[name] ?? name, FLAGS.includes(name) ? 1 : state[name]);
  }
  return query.toString();
}

function writeSource(query, source, prefix) {
  const set = (name, value) => query.set(prefix + name, value);
  const whole = wholeSource(source);
  if (whole.checkpoint) set("checkpoint", whole.checkpoint);
  if (whole.weights !== "trained") set("weights", whole.weights);
  if (typeof whole.label === "number") set("class", whole.label);
  set("seed", whole.seed);
  if (whole.truncation !== 1) set("truncation", whole.truncation);
  if (whole.toward) {
    set("toward", [whole.toward.seed, whole.toward.label].filter((part) => typeof part === "number").join("."));
    set("at", whole.at);
  }
  for (const [layer, factor] of Object.entries(whole.gamma)) if (factor !== 1) query.append(`${prefix}gamma`, `${layer}~${factor}`);
  for (const [layer, cells] of Object.entries(whole.without)) if (cells.length) query.append(`${prefix}without`, `${layer}~${spans(cells)}`);
  if (whole.image) set("image", whole.image);
}

/** [3, 4, 5, 9] -> "3-5.9" */
export function spans(cells) {
  const parts = [];
  for (const cell of [...new Set(cells)].sort((a, b) => a - b)) {
    const last = parts.at(-1);
    if (last && last[1] === cell - 1) last[1] = cell;
    else parts.push([cell, cell]);
  }
  return parts.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(".");
}

/** "3-5.9" -> [3, 4, 5, 9]; no more than `most`. */
export function cellsOf(text, most = 4096) {
  const cells = new Set();
  for (const part of text.split(".")) {
    const found = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(part);
    if (!found) continue;
    for (let cell = Number(found[1]); cell <= Number(found[2] ?? found[1]) && cells.size < most; cell++) cells.add(cell);
  }
  return [...cells];
}

/** Does the address say what to show? */
export function addressIsSet(search = window.location.search) {
  const query = new URLSearchParams(search);
  return [...query.keys()].some((key) => !key.startsWith("__") && !BESIDE.includes(key));
}

/**
 * The state that an address asks for; what is missing or makes no sense is as in `usual`, and
 * numbers out of range go to the nearest end. `lab` says what there is.
 */
export function readAddress(search, usual, lab) {
  const query = new URLSearchParams(search.slice(0, LONGEST));
  const state = { ...usual, source: readSource(query, "", usual.source, lab) };
  if (query.has("other")) {
    const { checkpoint, seed, label } = usual.source;
    state.other = readSource(query, "other.", wholeSource({ checkpoint, seed, label }), lab);
    state.other_layer = query.get("other.layer");
  }
  for (const name of Object.keys(LOOK)) {
    const text = query.get(NAMES[name] ?? name);
    if (text === null) continue;
    if (FLAGS.includes(name)) state[name] = text === "1";
    else if (CHOICES[name]?.includes(text)) state[name] = text;
    else if (RANGES[name]) state[name] = within(text, ...RANGES[name]) ?? state[name];
  }
  if (query.has("layer")) state.layer = query.get("layer").slice(0, 200);
  if (query.has("pins")) state.pins = readPins(query.get("pins"), lab.pin_colours.length);
  else if (asksForAnother(query)) state.pins = null; // those of the opening image mean nothing here
  return state;
}

const asksForAnother = (query) => ["class", "seed", "truncation", "layer", "checkpoint", "weights", "image"].some((name) => query.has(name));

function readSource(query, prefix, usual, lab) {
  const get = (name) => query.get(prefix + name);
  const checkpoint = get("checkpoint")?.slice(0, 200) || usual.checkpoint; // one that was uploaded is on no list
  // Another checkpoint has other classes, layers and snapshots.
  const source = checkpoint === usual.checkpoint ? { ...usual } : wholeSource({ checkpoint, seed: usual.seed });
  const classes = source.checkpoint === lab.checkpoint ? lab.class_names.length : Infinity;
  source.seed = whole(get("seed"), lab.max_seed) ?? source.seed;
  if (classes) source.label = whole(get("class"), classes - 1) ?? source.label;
  source.truncation = within(get("truncation"), 0, 1) ?? source.truncation;
  if (/^(trained|random|\d{1,12})$/.test(get("weights") ?? "")) {
    source.weights = /^\d/.test(get("weights")) ? Number(get("weights")) : get("weights");
  }
  if (/^\d+(\.\d+)?$/.test(get("toward") ?? "")) {
    const [seed, label] = get("toward").split(".");
    source.toward = { seed: whole(seed, lab.max_seed), label: label === undefined ? null : whole(label, classes - 1) };
    source.at = within(get("at"), 0, 1) ?? 0;
  }
  const named = (name, read) =>
    Object.fromEntries(query.getAll(prefix + name).slice(0, 16).map((text) => text.split("~")).filter((parts) => parts.length === 2)
      .map(([layer, text]) => [layer, read(text)]).filter(([, value]) => value !== null));
  source.gamma = named("gamma", (text) => within(text, -2, 2));
  source.without = named("without", (text) => cellsOf(text));
  if (/^(real-\d{1,4}|dropped-[\w-]{1,64})$/.test(get("image") ?? "")) source.image = get("image");
  return source;
}

function within(text, least, most) {
  const number = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isNaN(number) ? null : Math.min(most, Math.max(least, number));
}

function whole(text, most) {
  const number = within(text, 0, most);
  return number === null ? null : Math.trunc(number);
}

/** "3.5,0.12" -> [[3, 5], [0, 12]], the first ones where there are too many, none twice. */
function readPins(text, most) {
  const cells = text.slice(0, 1000).split(",").map((part) => /^(\d{1,7})\.(\d{1,7})$/.exec(part)).filter(Boolean);
  const unique = new Map(cells.map(([whole, row, col]) => [whole, [Number(row), Number(col)]]));
  return [...unique.values()].slice(0, most);
}

let waiting = 0;

/** Put a state into the address bar, at most every quarter of a second: browsers limit the rate. */
export function showInAddress(state) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const query = new URLSearchParams(queryString(state));
    for (const [key, value] of new URLSearchParams(window.location.search)) {
      if (key.startsWith("__") || BESIDE.includes(key)) query.append(key, value); // Gradio's own, such as __theme
    }
    window.history.replaceState(window.history.state, "", `?${query}${window.location.hash}`);
    // On a Hugging Face Space the page sits in a frame; its host shows the same query.
    if (window.parent !== window) window.parent.postMessage({ queryString: query.toString() }, "https://huggingface.co");
  }, 250);
}

/** What the address says beside the state: "lang" or "lesson"; null where it says nothing. */
export function beside(name) {
  return new URLSearchParams(window.location.search).get(name);
}

/** Have the address say it; null takes it away. */
export function putBeside(name, value) {
  const query = new URLSearchParams(window.location.search);
  if (value === null) query.delete(name);
  else query.set(name, value);
  const search = query.size ? `?${query}` : window.location.pathname;
  window.history.replaceState(window.history.state, "", `${search}${window.location.hash}`);
}

/** The whole link to a state. */
export function linkTo(state) {
  const { origin, pathname } = window.location;
  return `${origin}${pathname}?${queryString(state)}`;
}
