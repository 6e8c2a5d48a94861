// Everything that decides what is shown: a plain object that the browser owns, saves, puts into the
// address and sends to the server. Changes make a new object, so that undoing is going back.

export const LOOK = {
  all_layers: false,
  direction: "from",
  measure: "attention",
  baseline: "uniform",
  temperature: 1,
  scale: "shared",
  log: false,
  colours: "inferno",
  opacity: 0.7,
  style: "overlay",
  smooth: false,
  arrows: false,
};

export const CHOICES = {
  direction: ["from", "to"],
  measure: ["attention", "value"],
  baseline: ["uniform", "average"],
  scale: ["shared", "own"],
  colours: ["inferno", "viridis", "cividis"],
  style: ["overlay", "mask"],
};

export const RANGES = { temperature: [0.1, 10], opacity: [0, 1] };

const SOURCE = { weights: "trained", truncation: 1, toward: null, at: 0, gamma: {}, without: {}, image: null };

/** A source with nothing missing that has a default. */
export function wholeSource(source) {
  return { ...SOURCE, ...source };
}

/** The value at a path such as "source.truncation" or "source.gamma/blocks.1.attention". */
export function valueAt(state, path) {
  return steps(path).reduce((value, step) => value?.[step], state);
}

/** A copy of the state with another value at a path; objects on the way are copied, not shared. */
export function withValue(state, path, value) {
  const [step, ...rest] = steps(path);
  const inner = rest.length ? withValue(state?.[step] ?? {}, rest, value) : value;
  return { ...state, [step]: inner };
}

/** A slash begins a name that may itself have dots. */
function steps(path) {
  if (Array.isArray(path)) return path;
  const [dotted, ...names] = path.split("/");
  return [...dotted.split("."), ...names];
}

/** Do two sources make the same picture? */
export function sourceKey(source) {
  const whole = wholeSource(source);
  const sorted = (object) => Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)));
  const gamma = Object.fromEntries(Object.entries(whole.gamma).filter(([, factor]) => factor !== 1));
  const without = Object.fromEntries(Object.entries(whole.without).filter(([, cells]) => cells.length));
  return JSON.stringify(sorted({ ...whole, gamma: sorted(gamma), without: sorted(without) }));
}

const REST = 800; // milliseconds within which changes by one control are one step back

/** The states before and after, for undo and redo. */
export class History {
  constructor() {
    this.past = [];
    this.future = [];
    this.last = { by: null, at: -Infinity };
  }

  /** A change `by` a control replaced `former`. */
  changed(former, by) {
    const now = performance.now();
    const same = by !== null && by === this.last.by && now - this.last.at < REST;
    this.last = { by, at: now };
    this.future = [];
    if (!same) this.past.push(former);
    if (this.past.length > 200) this.past.shift();
  }

  undo(present) {
    return this.step(this.past, this.future, present);
  }

  redo(present) {
    return this.step(this.future, this.past, present);
  }

  step(from, to, present) {
    if (!from.length) return null;
    to.push(present);
    this.last = { by: null, at: -Infinity };
    return from.pop();
  }
}
