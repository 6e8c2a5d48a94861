// The arithmetic of attention in the browser: pure functions on typed arrays, no document.

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

/** The file that `packing.py` wrote, with its description -> image, colours and layers. */
export function readScene(buffer, description) {
  const { image, colours } = description;
  const pixels = new Uint8Array(buffer, image.offset, image.height * image.width * image.channels);
  return {
    image: { ...image, pixels },
    colours: colourWords(new Uint8Array(buffer, colours, 256 * 3)),
    layers: description.layers.map((layer) => readLayer(buffer, layer)),
  };
}

function readLayer(buffer, description) {
  const [height, width] = description.query_grid;
  const [keyHeight, keyWidth] = description.key_grid;
  const queries = height * width;
  const keys = keyHeight * keyWidth;
  return {
    ...description,
    queryGrid: { height, width },
    keyGrid: { height: keyHeight, width: keyWidth },
    queries,
    keys,
    mean: Float32Array.from({ length: keys }, ((view) => (_, i) => view.getFloat32(4 * i, true))(
      new DataView(buffer, description.mean, 4 * keys))),
    query: decodeHalf(buffer, description.query, description.channels * queries),
    key: decodeHalf(buffer, description.key, description.channels * keys),
  };
}

/** 256 red, green, blue triples -> opaque pixels as a Uint32Array in the machine's byte order. */
function colourWords(table) {
  const bytes = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) bytes.set([table[3 * i], table[3 * i + 1], table[3 * i + 2], 255], 4 * i);
  return new Uint32Array(bytes.buffer);
}

/**
 * Where query `index` looked: softmax over keys of query . key, without 1/sqrt(channels).
 * Fills and returns `weights` (layer.keys numbers that sum to 1).
 */
export function attentionRow(layer, index, weights = new Float32Array(layer.keys)) {
  const { query, key, queries, keys, channels } = layer;
  weights.fill(0);
  for (let c = 0; c < channels; c++) {
    const q = query[c * queries + index];
    const start = c * keys;
    for (let k = 0; k < keys; k++) weights[k] += q * key[start + k];
  }
  let largest = -Infinity;
  for (let k = 0; k < keys; k++) if (weights[k] > largest) largest = weights[k];
  let sum = 0;
  for (let k = 0; k < keys; k++) sum += weights[k] = Math.exp(weights[k] - largest);
  for (let k = 0; k < keys; k++) weights[k] /= sum;
  return weights;
}

/**
 * Weights as multiples of a baseline: "uniform" attention, or the "average" point's row.
 * A key at which no point looks counts as 1 against the average: this point looks like the others.
 */
export function multiples(layer, weights, baseline, result = new Float32Array(layer.keys)) {
  for (let k = 0; k < layer.keys; k++) {
    if (baseline === "uniform") result[k] = weights[k] * layer.keys;
    else result[k] = layer.mean[k] > 0 ? weights[k] / layer.mean[k] : 1;
  }
  return result;
}

const PLEASANT = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];
const LEAST_TOP = 2;

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

/** Index into the colour table, 0 to 255, of a multiple on the scale from 0 to `top`. */
export function colourIndex(multiple, top) {
  return Math.round(255 * Math.min(1, Math.max(0, multiple / top)));
}

export function largest(values) {
  return values.reduce((most, value) => Math.max(most, value), -Infinity);
}

/** The smallest number of cells that hold at least half of the attention. */
export function cellsForHalf(weights) {
  const sorted = Float32Array.from(weights).sort();
  let sum = 0;
  let count = 0;
  while (sum < 0.5 && count < sorted.length) sum += sorted[sorted.length - ++count];
  return count;
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
