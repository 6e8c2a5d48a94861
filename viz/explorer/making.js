// Step by step: how the chosen pin's point was made, from its features to what the layer returns, in
// the numbers of this image. One key is lit in every step.

import { bytesOf, coverCell, paintImage, paintMap } from "./draw.js";
import { make, tableRow } from "./elements.js";
import { language, say } from "./language.js";
import { arrowStep, stepped } from "./markers.js";
import { cellAt, UNIT } from "./maths.js";
import { figure, paintSigned, Scale, signedTop, Strip } from "./strip.js";
import { sourceKey } from "./state.js";

const BARS = 32;
const TERMS = 3; // largest products that are written out
const COLOURED = ["x", "query", "key", "logits", "mixed", "out", "y"]; // steps with a scale of signed colours
const CALCULATED = 4; // keys in the table to check by hand

const letter = (name) => `<mi>${name}</mi>`;
const of = (name, argument) => `${letter(name)}<mo>(</mo>${argument}<mo>)</mo>`;
const sub = (name, index) => `<msub>${letter(name)}<mrow>${index}</mrow></msub>`;
const XI = sub("x", letter("i"));
const XJ = sub("x", letter("j"));
const BETA = sub("β", `${letter("j")}<mo>,</mo>${letter("i")}`);
const S = sub("s", letter("i") + letter("j"));
const SUM = `<munder><mo>∑</mo>${letter("i")}</munder>`;
const exp = (inner) => `<mi>exp</mi><mo>(</mo>${inner}<mo>)</mo>`;

/** Each step: its place in the code, the paper's formula, and what it is in plain words. */
const STEPS = [
  { name: "x", title: "The point", formula: XJ, words: "The network holds {channels} numbers for this point: its features. They go into the layer." },
  { name: "query", title: "Its query", formula: `${of("g", XJ)}<mo>=</mo>${sub("W", letter("g"))}${XJ}`, words: "A 1×1 convolution makes {width} numbers of them: what this point looks for." },
  { name: "key", title: "The keys", formula: `${of("f", XI)}<mo>=</mo>${sub("W", letter("f"))}${XI}`, words: "Another 1×1 convolution makes {width} numbers for every place: what can be found there. Point at a place to choose its key." },
  { name: "logits", title: "Query times key", formula: `${S}<mo>=</mo><msup><mrow>${of("f", XI)}</mrow><mi>T</mi></msup>${of("g", XJ)}`, words: "Each key is multiplied with the query, number by number, and added up: large (red) where they fit. Nothing is divided by √d here." },
  { name: "weights", title: "Softmax", formula: `${BETA}<mo>=</mo><mfrac><mrow>${exp(S)}</mrow><mrow>${SUM}${exp(S)}</mrow></mfrac>`, words: "The softmax makes shares of them that sum to 1: how much of its attention the point gives to each place. Uniform attention would give each of the {keys} places {share}." },
  { name: "mixed", title: "The weighted sum of values", formula: `${SUM}${BETA}${of("h", XI)}`, words: "A third 1×1 convolution gives every place {values} numbers, its value. Each is taken by its share, and they are added up." },
  { name: "out", title: "The output convolution", formula: `${sub("o", letter("j"))}<mo>=</mo>${letter("v")}<mrow><mo>(</mo>${SUM}${BETA}${of("h", XI)}<mo>)</mo></mrow>`, words: "A last 1×1 convolution makes {channels} numbers of the sum, as many as the point came with." },
  { name: "y", title: "Times gamma, plus the point", formula: `${sub("y", letter("j"))}<mo>=</mo><mi>γ</mi>${sub("o", letter("j"))}<mo>+</mo>${XJ}`, words: "What attention found is scaled by gamma, {gamma}, and added to what the point had. With gamma 0 the layer would change nothing." },
];

export class Making {
  /** `element` is its part of the page; `page` is what the explorer lets its parts see and do. */
  constructor(element, page) {
    Object.assign(this, { element, page });
    this.find = (selector) => element.querySelector(selector);
    this.strips = new Map();
    element.addEventListener("toggle", () => (element.open ? this.show() : this.page.light(null, UNIT)));
  }

  /** Ask for the numbers of the chosen pin, unless they stand there. */
  async show() {
    if (!this.element.open) return;
    const index = this.page.pin();
    this.find(".status").textContent = index === null ? say("Pin a point first: its numbers appear here.") : "";
    this.find(".making").hidden = index === null;
    if (index === null) return;
    const { source, pins } = this.page.state();
    const layer = this.page.layer();
    const cell = pins[index];
    const wanted = JSON.stringify([sourceKey(source), layer.name, cell, language()]);
    if (this.wanted === wanted) return;
    if (this.asking) {
      this.again = true; // a pin that is dragged asks for where it comes to rest, not for its way
      return;
    }
    this.wanted = wanted;
    this.asking = true;
    try {
      const answer = await this.page.loader.ask("steps", { source, layer: layer.name, cell });
      if (!this.again) this.present(answer);
    } catch (error) {
      this.wanted = null;
      this.find(".making").hidden = true;
      this.find(".status").textContent = say("The numbers could not be had: {reason}", { reason: error.message });
    }
    this.asking = false;
    if (this.again) {
      this.again = false;
      this.wanted = null;
      await this.show();
    }
  }

  present(answer) {
    const arrays = Object.fromEntries(Object.entries(answer.arrays).map(([name, packed]) => [name, unpacked(packed)]));
    const [height, width] = answer.key_grid;
    Object.assign(this, { answer, arrays, grid: { height, width } });
    this.keys = arrays.logits.length;
    this.softmax = this.denominator(answer, arrays.logits);
    this.order = [...arrays.weights.keys()].sort((a, b) => arrays.weights[b] - arrays.weights[a]);
    this.build();
    this.fill();
    this.choose(this.order[0]);
  }

  /** The steps without numbers, once per language. */
  build() {
    const spoken = `${language()} ${this.answer.pooled} ${this.answer.centred} ${this.answer.scale}`;
    if (this.built === spoken) return;
    this.built = spoken;
    this.strips.clear();
    this.bodies = {};
    this.find(".making").replaceChildren(...STEPS.map(({ name, title, formula }) => {
      const item = document.createElement("li");
      item.dataset.step = name;
      item.innerHTML = `<div class="told"><h3></h3><p class="words"></p><p class="more" hidden></p>
        <p class="equation" translate="no"><math displaystyle="true">${formula}</math></p><p class="code" translate="no"></p></div><div class="body"></div>`;
      item.querySelector("h3").textContent = say(title);
      this.bodies[name] = item.querySelector(".body");
      return item;
    }));
    const { bodies } = this;
    this.addStrip(bodies.x, "x", say("features"), "x");
    if (this.answer.centred || this.answer.scale !== 1) this.addStrip(bodies.query, "mapped", say("as mapped"), "Wx");
    this.addStrip(bodies.query, "query", say("query"), "q");
    bodies.key.append(this.picture("places", say("Places: arrow keys choose one")), group());
    const corners = this.answer.pooled ? [say("top left"), say("top right"), say("bottom left"), say("bottom right")] : [];
    corners.forEach((corner, at) => this.addStrip(bodies.key.lastChild, `candidate${at}`, corner, "Wx"));
    this.addStrip(bodies.key.lastChild, "key", say("key"), "k");
    bodies.logits.append(this.picture("logits", say("Dot products: arrow keys choose a key")), paragraph("calculation"));
    bodies.weights.append(this.picture("weights", say("Attention: arrow keys choose a key")), group());
    bodies.weights.lastChild.append(bars(), paragraph("share"), table());
    this.addStrip(bodies.mixed, "value", say("its value"), "v");
    this.addStrip(bodies.mixed, "part", say("times its share"), "βv");
    this.addStrip(bodies.mixed, "mixed", say("the sum of all"), "Σβv");
    this.addStrip(bodies.out, "out", say("output"), "o");
    this.addStrip(bodies.y, "x again", say("features"), "x");
    this.addStrip(bodies.y, "scaled", say("gamma times output"), "γo");
    this.addStrip(bodies.y, "y", say("what comes out"), "y");
    this.scales = {};
    for (const name of COLOURED) {
      this.scales[name] = new Scale();
      (bodies[name].querySelector(".group-of") ?? bodies[name]).append(this.scales[name].element);
    }
  }

  addStrip(parent, key, name, symbol) {
    const strip = new Strip(name, symbol);
    this.strips.set(key, strip);
    parent.append(strip.element);
  }

  /** A small picture of the key grid, in which a key can be chosen. */
  picture(kind, label) {
    const frame = document.createElement("div");
    frame.className = "keys";
    frame.dataset.kind = kind;
    frame.tabIndex = 0;
    frame.setAttribute("role", "application");
    frame.setAttribute("aria-label", label);
    frame.innerHTML = `<canvas class="pixels"></canvas><div class="lit"></div>`;
    const under = ({ clientX, clientY }) => {
      const box = frame.getBoundingClientRect();
      const { row, col } = cellAt((clientX - box.left) / box.width, (clientY - box.top) / box.height, UNIT, this.grid);
      return row * this.grid.width + col;
    };
    frame.addEventListener("pointermove", (event) => this.point(under(event)));
    frame.addEventListener("pointerdown", (event) => this.point(under(event)));
    frame.addEventListener("pointerleave", () => this.page.light(null, this.grid));
    frame.addEventListener("blur", () => this.page.light(null, this.grid));
    frame.addEventListener("focus", () => this.page.light(this.cell(this.key), this.grid));
    frame.addEventListener("keydown", (event) => {
      const step = arrowStep(event);
      if (!step) return;
      event.preventDefault();
      const { row, col } = stepped(this.cell(this.key), ...step, this.grid);
      this.point(row * this.grid.width + col);
    });
    return frame;
  }

  cell(key) {
    return { row: Math.floor(key / this.grid.width), col: key % this.grid.width };
  }

  /** Everything that does not depend on the chosen key. */
  fill() {
    const { answer, arrays } = this;
    const [channels, width, values] = [arrays.x.length, arrays.query.length, arrays.mixed.length];
    const figures = { channels, width, values, keys: this.keys, share: figure(1 / this.keys), gamma: figure(answer.gamma) };
    for (const { name, words } of STEPS) {
      const item = this.bodies[name].parentElement;
      item.querySelector(".words").textContent = say(words, figures);
      const more = this.more(name).filter(Boolean).join(" ");
      item.querySelector(".more").hidden = !more;
      item.querySelector(".more").textContent = more;
      const [file, line, code] = answer.places[name];
      item.querySelector(".code").innerHTML = `<span></span> <code></code>`;
      item.querySelector(".code span").textContent = `${file}:${line}`;
      item.querySelector(".code code").textContent = code;
    }
    const scaled = arrays.out.map((value) => answer.gamma * value);
    this.tops = {
      x: signedTop([arrays.x]),
      query: signedTop([arrays.mapped, arrays.query]),
      key: signedTop([arrays.key, arrays.key_candidates ?? []]),
      logits: signedTop([arrays.logits]),
      mixed: signedTop([arrays.value]), // no weighted sum is larger
      out: signedTop([arrays.out]),
      y: signedTop([arrays.x, scaled, arrays.y]),
    };
    for (const [name, top] of Object.entries(this.tops)) this.scales[name].show(top);
    const { tops } = this;
    this.strip("x", arrays.x, tops.x);
    this.strip("mapped", arrays.mapped, tops.query);
    this.strip("query", arrays.query, tops.query);
    this.strip("out", arrays.out, tops.out);
    this.strip("x again", arrays.x, tops.y);
    this.strip("scaled", scaled, tops.y);
    this.strip("y", arrays.y, tops.y);
    const scene = this.page.scene();
    paintImage(this.canvas("places"), scene.image);
    paintSigned(this.canvas("logits"), arrays.logits, this.grid.width, tops.logits);
    const multiples = arrays.weights.map((weight) => weight * this.keys);
    const top = multiples.reduce((most, value) => Math.max(most, value), 1);
    paintMap(this.canvas("weights"), multiples, this.grid, { ...this.page.colours(), top, log: false, style: "overlay" });
    this.drawBars();
  }

  /** What is not as in the paper, or not as a person may expect. */
  more(name) {
    const { answer } = this;
    const mean = answer.centred && say("This model then takes off the mean query of all points, so that only how a point differs from the others counts.");
    const scale = answer.scale !== 1 && say("It multiplies queries by {scale}.", { scale: figure(answer.scale) });
    const pooled = answer.pooled && say("Of each 2×2 places the largest number is kept, in every channel by itself (max pooling, as in the released code): pale numbers lost.");
    const blocked = answer.blocked.length > 0 && say("Blocked places get nothing; the others share what is left.");
    return { query: [mean, scale], key: [pooled], weights: [blocked] }[name] ?? [];
  }

  canvas(kind) {
    return this.element.querySelector(`[data-kind=${kind}] canvas`);
  }

  strip(key, values, top, faint) {
    this.strips.get(key)?.show(values, top, faint);
  }

  /** Light a key in all steps and its place in the image. */
  point(key) {
    this.page.light(this.cell(key), this.grid);
    if (key !== this.key) this.choose(key);
  }

  /** Light one key in all steps, and say what it came to. */
  choose(key) {
    this.key = key;
    const { arrays, keys, tops } = this;
    const cell = this.cell(key);
    for (const lit of this.element.querySelectorAll(".keys .lit")) coverCell(lit, cell, this.grid);
    const column = (array) => Float32Array.from({ length: array.length / keys }, (_, d) => array[d * keys + key]);
    const own = column(arrays.key);
    const candidates = arrays.key_candidates && column(arrays.key_candidates);
    if (candidates) {
      for (let at = 0; at < candidates.length / own.length; at++) {
        const values = candidates.subarray(at * own.length, (at + 1) * own.length);
        this.strip(`candidate${at}`, values, tops.key, (d) => values[d] < own[d]);
      }
    }
    this.strip("key", own, tops.key);
    this.calculate(own, cell);
    const value = column(arrays.value);
    const part = value.map((number) => number * arrays.weights[key]);
    this.strip("value", value, tops.mixed);
    this.strip("part", part, tops.mixed);
    this.strip("mixed", arrays.mixed, tops.mixed);
    this.element.querySelectorAll(".bar").forEach((bar, at) => bar.classList.toggle("chosen", this.order[at] === key));
    this.element.dataset.key = key;
  }

  /** The dot product and the softmax of the chosen key, written out. */
  calculate(own, cell) {
    const { arrays, keys, key } = this;
    const products = [...own].map((number, d) => ({ number, query: arrays.query[d], product: number * arrays.query[d] }));
    products.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
    const shown = products.slice(0, TERMS).map(({ query, number }) => `${bracketed(query)} × ${bracketed(number)}`).join(" + ");
    const rest = products.slice(TERMS).reduce((sum, { product }) => sum + product, 0);
    const more = products.length > TERMS ? say(" + {rest} from {count} more", { rest: bracketed(rest), count: products.length - TERMS }) : "";
    const place = say("row {row}, column {col}", cell);
    this.find(".calculation").textContent = say("Key at {place}: {terms} = {sum}", { place, terms: shown + more, sum: figure(arrays.logits[key]) });
    const weight = arrays.weights[key];
    this.find(".share").textContent = say("Key at {place}: {weight} of the attention, {multiple} uniform.", { place, weight: figure(weight), multiple: `${figure(weight * keys)}×` });
    this.tabulate();
  }

  /** The softmax of a few keys, to be checked with a calculator. */
  tabulate() {
    const { arrays, key, order } = this;
    const { blocked, count, most, total } = this.softmax;
    const chosen = [...new Set([...order.slice(0, CALCULATED - 1), key])];
    const rows = chosen.map((k) => {
      const { row, col } = this.cell(k);
      const power = blocked.has(k) ? 0 : Math.exp(arrays.logits[k] - most);
      const line = tableRow([`(${row}, ${col})`, figure(arrays.logits[k]), figure(arrays.logits[k] - most), figure(power), figure(arrays.weights[k])]);
      line.classList.toggle("chosen", k === key);
      return line;
    });
    const body = this.find(".bycalculator tbody");
    body.replaceChildren(...rows, ...this.rest(chosen.filter((k) => !blocked.has(k))));
    this.find(".bycalculator caption").textContent = say("Check it with a calculator: take the largest s from all, exp, and divide by the sum over all {count} keys, {total}.", { count, total: figure(total) });
  }

  /** The lines below the keys that are listed: the others together, and what all of them come to. */
  rest(listed) {
    const { count, most, total } = this.softmax;
    if (!count) return [];
    const { logits, weights } = this.arrays;
    const power = total - listed.reduce((sum, k) => sum + Math.exp(logits[k] - most), 0);
    const share = weights.reduce((sum, weight) => sum + weight, 0) - listed.reduce((sum, k) => sum + weights[k], 0);
    const others = tableRow([say("the other {count}", { count: count - listed.length }), "", "", figure(Math.max(0, power)), figure(Math.max(0, share))]);
    return [others, tableRow([say("all {count}", { count }), "", "", figure(total), "1"])];
  }

  /** What the softmax of all keys that may be looked at has in common. */
  denominator({ blocked: cells }, logits) {
    const blocked = new Set(cells);
    const allowed = [...logits.keys()].filter((k) => !blocked.has(k));
    const most = allowed.reduce((top, k) => Math.max(top, logits[k]), -Infinity);
    const total = allowed.reduce((sum, k) => sum + Math.exp(logits[k] - most), 0);
    return { blocked, count: allowed.length, most, total };
  }

  drawBars() {
    const { arrays, keys, order } = this;
    const shown = order.slice(0, BARS);
    const top = Math.max(arrays.weights[order[0]], 1.5 / keys);
    this.find(".bars .row").replaceChildren(...shown.map((key) => {
      const bar = document.createElement("div");
      bar.className = "bar";
      bar.style.setProperty("--part", `${(100 * arrays.weights[key]) / top}%`);
      bar.addEventListener("pointerenter", () => this.point(key));
      return bar;
    }));
    this.find(".bars .uniform").style.bottom = `${100 / keys / top}%`;
    this.find(".bars figcaption").textContent = say("The {count} largest of {keys} shares, up to {top}; the line is uniform attention, {share}.", { count: shown.length, keys, top: figure(arrays.weights[order[0]]), share: figure(1 / keys) });
  }
}

const bracketed = (value) => (value < 0 ? `(${figure(value)})` : figure(value));

const unpacked = ({ data }) => new Float32Array(bytesOf(data).buffer);
const paragraph = (className) => make("p", "", { className });
const group = () => make("div", "", { className: "group-of" });

function bars() {
  const element = document.createElement("figure");
  element.className = "bars";
  element.innerHTML = `<div class="plot"><div class="row"></div><div class="uniform"></div></div><figcaption></figcaption>`;
  return element;
}

function table() {
  const element = document.createElement("table");
  element.className = "bycalculator";
  element.innerHTML = `<caption></caption><thead></thead><tbody></tbody>`;
  element.querySelector("thead").append(tableRow([say("place"), "s", say("s − largest"), "exp", "β"], "th"));
  return element;
}
