// The arithmetic of attention in the browser: pure functions on typed arrays, no document.
// `maps.py` is the same in Python.

const BYTES_PER_HALF = 2;

/** 16-bit floats -> Float32Array. `offset` is in bytes, `length` counts numbers. */
export function decodeHalf(buffer, offset, length) {
  const bits = new DataView(buffer, offset, length * BYTES_PER_HALF);
  const numbers = new Float32Array(length);
  for (let i = 0; i < length; i++) numbers[i] = halfToNumber(bits.getUint16(i * BYTES_PER_HALF, true));
  return numbers;
}

function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24; // zero and subnormal numbers
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The file that `packing.py` wrote, with its description -> images and layers with their numbers. */
export function readScene(buffer, description) {
  const pixels = (image) =>
    image && { ...image, pixels: new Uint8Array(buffer, image.offset, image.height * image.width * image.channels) };
  return {
    ...description,
    image: pixels(description.image),
    reference: pixels(description.reference),
    layers: description.layers.map((layer) => readLayer(buffer, layer)),
  };
}

function readLayer(buffer, description) {
  const [height, width] = description.query_grid;
  const [keyHeight, keyWidth] = description.key_grid;
  const queries = height * width;
  const keys = keyHeight * keyWidth;
  const floats = (name, count) => {
    const view = new DataView(buffer, description[name], 4 * count);
    return Float32Array.from({ length: count }, (_, i) => view.getFloat32(4 * i, true));
  };
  return {
    ...description,
    queryGrid: { height, width },
    keyGrid: { height: keyHeight, width: keyWidth },
    queries,
    keys,
    mean: floats("mean", keys),
    normaliser: floats("normaliser", queries),
    strength: floats("strength", keys),
    entropy: floats("entropy", queries),
    distance: floats("distance", queries),
    query: decodeHalf(buffer, description.query, description.channels * queries),
    key: decodeHalf(buffer, description.key, description.channels * keys),
  };
}

// What is asked of a layer: {direction, measure, baseline, temperature, without}

/** Key cells that may be looked at: null for all, else a Uint8Array of ones and zeros. */
export function allowedKeys(layer, without) {
  if (!without?.length) return null;
  const allowed = new Uint8Array(layer.keys).fill(1);
  for (const key of without) if (key < layer.keys) allowed[key] = 0;
  return allowed;
}

/**
 * Where query `index` looked: softmax over the allowed keys of query . key / temperature. The
 * paper's has temperature 1, and no 1/sqrt(channels). A row with nothing left is 0.
 * Fills and returns `weights` (layer.keys numbers that sum to 1).
 */
export function attentionRow(layer, index, weights = new Float32Array(layer.keys), temperature = 1, allowed = null) {
  const { query, key, queries, keys, channels } = layer;
  weights.fill(0);
  for (let c = 0; c < channels; c++) {
    const q = query[c * queries + index] / temperature;
    const start = c * keys;
    for (let k = 0; k < keys; k++) weights[k] += q * key[start + k];
  }
  let most = -Infinity;
  for (let k = 0; k < keys; k++) if (weights[k] > most && (!allowed || allowed[k])) most = weights[k];
  let sum = 0;
  for (let k = 0; k < keys; k++) sum += weights[k] = !allowed || allowed[k] ? Math.exp(weights[k] - most) : 0;
  if (sum > 0) for (let k = 0; k < keys; k++) weights[k] /= sum;
  return weights;
}

/** A row of attention times the length of what each key's value adds, made to sum to 1 again. */
export function valueWeighted(layer, weights) {
  let sum = 0;
  for (let k = 0; k < layer.keys; k++) sum += weights[k] *= layer.strength[k];
  if (sum > 0) for (let k = 0; k < layer.keys; k++) weights[k] /= sum;
  return weights;
}

/** A row as it is asked for: `ask` has measure, temperature and without. */
export function askedRow(layer, index, ask, weights = new Float32Array(layer.keys)) {
  attentionRow(layer, index, weights, ask.temperature, allowedKeys(layer, ask.without));
  return ask.measure === "value" ? valueWeighted(layer, weights) : weights;
}

const kept = new WeakMap(); // layer -> Map of what was asked -> {mean, share}

/**
 * What needs every row of a layer: `mean`, the average point's row (N_key), and `shares`, a function
 * from a key to how much every query gives it (N_query). Kept per layer, since it costs the matrix.
 */
function wholeLayer(layer, ask) {
  const plain = ask.temperature === 1 && !ask.without?.length;
  if (plain && ask.measure === "attention") return { mean: layer.mean, shares: (key) => plainColumn(layer, key) };
  const name = JSON.stringify([ask.measure, ask.temperature, ask.without ?? []]);
  if (!kept.has(layer)) kept.set(layer, new Map());
  const known = kept.get(layer);
  if (known.has(name)) return known.get(name);
  if (known.size > 3) known.clear();
  const { queries, keys } = layer;
  const matrix = new Float32Array(queries * keys);
  const mean = new Float64Array(keys);
  for (let q = 0; q < queries; q++) {
    const row = askedRow(layer, q, ask, matrix.subarray(q * keys, (q + 1) * keys));
    for (let k = 0; k < keys; k++) mean[k] += row[k];
  }
  const shares = (key) => Float32Array.from({ length: queries }, (_, q) => matrix[q * keys + key]);
  const whole = { mean: Float32Array.from(mean, (sum) => sum / queries), shares };
  known.set(name, whole);
  return whole;
}

/** A column of plain attention: exp(query . key - normaliser), exact without the other keys. */
function plainColumn(layer, index) {
  const { query, key, queries, keys, channels, normaliser } = layer;
  const column = new Float32Array(queries);
  for (let c = 0; c < channels; c++) {
    const k = key[c * keys + index];
    for (let q = 0; q < queries; q++) column[q] += k * query[c * queries + q];
  }
  for (let q = 0; q < queries; q++) column[q] = Math.exp(column[q] - normaliser[q]);
  return column;
}

/**
 * The map of a point {x, y} (0 to 1) of a layer: {cell, own, grid, weights, map}.
 * `cell` on grid `own` is the point's region, `weights` are attention, and `map` the same in
 * multiples of the baseline, both on `grid`. From the point: where its query looked, over keys. To
 * the point: how much every query looked at its key. A key at which no point looks counts as 1
 * against the average.
 */
export function pointMap(layer, point, ask) {
  const to = ask.direction === "to";
  const own = to ? layer.keyGrid : layer.queryGrid;
  const grid = to ? layer.queryGrid : layer.keyGrid;
  const cell = cellAt(point.x, point.y, UNIT, own);
  const index = cell.row * own.width + cell.col;
  const whole = to || ask.baseline === "average" ? wholeLayer(layer, ask) : null;
  const weights = to ? whole.shares(index) : askedRow(layer, index, ask);
  const map = new Float32Array(weights.length);
  for (let i = 0; i < map.length; i++) {
    const base = ask.baseline === "uniform" ? 1 / layer.keys : whole.mean[to ? index : i];
    map[i] = base > 0 ? weights[i] / base : 1;
  }
  return { cell, own, grid, weights, map };
}

export const UNIT = { left: 0, top: 0, width: 1, height: 1 };

// Scales

const PLEASANT = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];
const LEAST_TOP = 2;
const DECADES = 100; // a log scale begins at this part of its end

/**
 * The upper end of the scale that all panels share; the rule of `scale_top` in colour.py: the
 * smallest pleasant number that is at least 2 and at least the geometric mean of the maps' peaks.
 */
export function scaleTop(maps) {
  const logarithms = maps.map((map) => Math.log(Math.max(1, largest(map))));
  const mean = Math.exp(logarithms.reduce((sum, part) => sum + part, 0) / (maps.length || 1));
  const least = Math.max(LEAST_TOP, mean) / 1.001;
  const magnitude = 10 ** Math.floor(Math.log10(least));
  return Math.max(LEAST_TOP, magnitude * PLEASANT.find((step) => magnitude * step >= least));
}

/** Where a multiple stands on the scale up to `top`, from 0 to 1; a log scale starts at top / 100. */
export function onScale(multiple, top, log = false) {
  const place = log ? 1 + Math.log(multiple / top) / Math.log(DECADES) : multiple / top;
  return Math.min(1, Math.max(0, place)) || 0;
}

/** Index into a colour table, 0 to 255. */
export function colourIndex(multiple, top, log = false) {
  return Math.round(255 * onScale(multiple, top, log));
}

// Facts about a row

export function largest(values) {
  return values.reduce((most, value) => Math.max(most, value), -Infinity);
}

/** The smallest number of cells that hold at least half of the attention. */
export function cellsForHalf(weights) {
  const sorted = Float32Array.from(weights).sort();
  const half = sorted.reduce((sum, part) => sum + part, 0) / 2;
  let sum = 0;
  let count = 0;
  while (sum < half && count < sorted.length) sum += sorted[sorted.length - ++count];
  return count;
}

/** exp(entropy) of a row: as many keys as would be looked at alike to be as spread out. */
export function effectiveKeys(weights) {
  let entropy = 0;
  for (const part of weights) if (part > 0) entropy -= part * Math.log(part);
  return Math.exp(entropy);
}

/** The mean distance from a cell of `own` that a row on `grid` looks over, in image heights. */
export function meanDistance(cell, own, weights, grid, aspect = 1) {
  const y = (cell.row + 0.5) / own.height;
  const x = (cell.col + 0.5) / own.width;
  let sum = 0;
  for (let row = 0; row < grid.height; row++) {
    for (let col = 0; col < grid.width; col++) {
      const down = (row + 0.5) / grid.height - y;
      const right = ((col + 0.5) / grid.width - x) * aspect;
      sum += weights[row * grid.width + col] * Math.hypot(down, right);
    }
  }
  return sum;
}

const uniformDistances = new WeakMap();

/** The mean over all queries of the distance that uniform attention would look over. */
export function uniformDistance(layer, aspect) {
  if (!uniformDistances.has(layer)) {
    const { queryGrid, keyGrid, queries, keys } = layer;
    const row = new Float32Array(keys).fill(1 / keys);
    let sum = 0;
    for (let q = 0; q < queries; q++) {
      const cell = { row: Math.floor(q / queryGrid.width), col: q % queryGrid.width };
      sum += meanDistance(cell, queryGrid, row, keyGrid, aspect);
    }
    uniformDistances.set(layer, sum / queries);
  }
  return uniformDistances.get(layer);
}

/**
 * The most attended regions of a map: up to `count` local maxima of at least `least`, the largest
 * first: [{row, col, value}]. Of a plateau the first cell counts; `targets` in maps.py is the same.
 */
export function peaks(values, grid, least, count = 3) {
  const found = [];
  for (let row = 0; row < grid.height; row++) {
    for (let col = 0; col < grid.width; col++) {
      const at = row * grid.width + col;
      const value = values[at];
      const highest = value >= least && neighbours(row, col, grid).every((other) =>
        other < at ? values[other] < value : values[other] <= value);
      if (highest) found.push({ row, col, value });
    }
  }
  return found.sort((a, b) => b.value - a.value).slice(0, count);
}

function neighbours(row, col, grid) {
  const around = [];
  for (let r = Math.max(0, row - 1); r <= Math.min(grid.height - 1, row + 1); r++) {
    for (let c = Math.max(0, col - 1); c <= Math.min(grid.width - 1, col + 1); c++) {
      if (r !== row || c !== col) around.push(r * grid.width + c);
    }
  }
  return around;
}

/** How two images of one size differ, in grey levels: {mean, most, pixels}, `pixels` 0 to 255 each. */
export function difference(image, reference) {
  const count = image.height * image.width;
  const pixels = new Uint8Array(count);
  let sum = 0;
  let most = 0;
  for (let i = 0; i < count; i++) {
    let part = 0;
    for (let c = 0; c < image.channels; c++) {
      part += Math.abs(image.pixels[i * image.channels + c] - reference.pixels[i * image.channels + c]);
    }
    pixels[i] = Math.round(part / image.channels);
    sum += part / image.channels;
    most = Math.max(most, part / image.channels);
  }
  return { mean: sum / count, most, pixels };
}

/** The cell of a grid under a point of a rectangle on the screen; points outside count as its rim. */
export function cellAt(x, y, rectangle, grid) {
  const part = (at, start, size, count) =>
    Math.min(count - 1, Math.max(0, Math.floor(((at - start) / size) * count)));
  return {
    row: part(y, rectangle.top, rectangle.height, grid.height),
    col: part(x, rectangle.left, rectangle.width, grid.width),
  };
}

/** The middle of a cell as a point of the image, from 0 to 1. */
export function middleOf({ row, col }, grid) {
  return { x: (col + 0.5) / grid.width, y: (row + 0.5) / grid.height };
}
