// The explorer: an image on which attention follows the pointer, pins that keep maps, and everything
// that can be asked and changed. It owns the state; the server only makes scenes and files.

import { About } from "./about.js";
import { addressIsSet, beside, putBeside, readAddress, showInAddress } from "./address.js";
import { paintOn, randomCells } from "./blocking.js";
import { another } from "./comparing.js";
import { Controls } from "./controls.js";
import { colourTable } from "./draw.js";
import { Given } from "./given.js";
import { Keeping } from "./keeping.js";
import { keepLanguage, language, say, speak, told, translate, wantedLanguage } from "./language.js";
import { Lesson } from "./lesson.js";
import { Loader } from "./loader.js";
import { arrowStep, stepped } from "./markers.js";
import { askedRow, cellAt, middleOf, scaleTop, UNIT } from "./maths.js";
import { Making } from "./making.js";
import { Openings } from "./openings.js";
import { Pane } from "./pane.js";
import { History, LOOK, sourceKey, valueAt, wholeSource, withValue } from "./state.js";
import { Timeline } from "./timeline.js";
import { Truth } from "./truth.js";
import { describeCell, whyValues } from "./words.js";

const SPEAK_AFTER = 400; // milliseconds of rest before a changed pin is read aloud

/** Start in Gradio's element, or in a page of its own: without `server` only what needs none is there. */
export function start({ element, props, server = null, upload = null }) {
  const explorer = new Explorer(element, props.value, server, upload);
  element.explorer = element.querySelector(".lens").explorer = explorer;
  explorer.open();
  return explorer;
}

class Explorer {
  constructor(element, value, server, upload) {
    this.root = element.querySelector(".lens");
    this.find = (selector) => this.root.querySelector(selector);
    this.value = value;
    this.upload = upload;
    this.labs = new Map([[value.lab.checkpoint, value.lab]]);
    this.loader = new Loader(server, value.module?.url.split("file=")[0] ?? "");
    this.tables = Object.fromEntries(Object.entries(value.lab.colours).map(([name, table]) => [name, colourTable(table)]));
    this.defaults = { ...LOOK, other: null, other_layer: null, ...value.state, source: wholeSource(value.state.source) };
    this.history = new History();
    this.pointer = null; // the point {x, y} whose map lies over the image
    this.cursor = null; // the point that the arrow keys reached on the image itself
    this.selected = null; // the pin that was touched last
    this.frame = 0;
    this.root.dataset.server = Boolean(server);
    speak(wantedLanguage());
    this.template = this.find(".pane").cloneNode(true);
    this.panes = [this.addPane(this.find(".pane"))];
    this.controls = new Controls(this.root, (path, content, by) => this.set(path, content, by));
    this.controls.defaults = this.defaults;
    const { page } = this;
    this.parts = [
      new Openings(this.find(".openings"), page),
      new Lesson(this.find("[data-part=lesson]"), page),
      new Truth(this.find("[data-part=truth]"), page),
      new Making(this.find("[data-part=making]"), page),
      new Timeline(this.find("[data-part=training]"), page),
      new About(this.find("[data-part=checkpoint]"), page),
    ];
    new Given(this.root, page);
    new Keeping(this.find("[data-part=keep]"), page);
    this.listen();
    this.translate();
  }

  /**
   * What the parts of the page may see and do. Each part has show(), called when the state, the
   * scene or the chosen pin changed.
   */
  get page() {
    return {
      loader: this.loader,
      plotly: () => this.loader.address(this.value.plotly),
      state: () => this.now && this.state(),
      lab: () => this.lab,
      scene: () => this.panes[0].scene,
      layer: () => this.panes[0].layer,
      rowAt: (row, col) => this.rowAt(row, col),
      pin: () => (this.now.points[this.selected] ? this.selected : this.now.points.length ? 0 : null),
      choose: (index) => this.choose(index),
      set: (path, content, by) => this.set(path, content, by),
      complain: (words) => this.complain(words),
      message: (words) => this.message(words),
      upload: this.upload,
      colours: () => ({ table: this.tables[this.now.colours], log: this.now.log, style: this.now.style }),
      light: (cell, grid) => this.panes[0].light(cell, grid),
    };
  }

  showParts() {
    for (const part of this.parts) part.show();
  }

  // Opening

  /** Show the scene that came with the page, or what the address asks for. */
  async open() {
    const { value } = this;
    try {
      const asked = this.loader.server && addressIsSet();
      const state = asked ? readAddress(window.location.search, this.defaults, value.lab) : this.defaults;
      const lab = state.source.checkpoint === value.lab.checkpoint ? value.lab : await this.fetchLab(state.source.checkpoint);
      const first = sourceKey(state.source) === sourceKey(this.defaults.source);
      const scene = first ? await this.loader.adopt(value.scene) : await this.loader.scene(state.source, 0);
      this.panes[0].show(scene);
      this.lab = lab;
      const { pins, ...rest } = state;
      this.now = { ...rest, source: scene.source };
      this.now.points = this.pointsOf(pins ?? this.panes[0].layerNamed(rest.layer).suggested ?? [], rest.layer);
      this.defaults.points = this.pointsOf(this.defaults.pins, this.defaults.layer);
      await this.showState();
      if (state.other) await this.follow();
    } catch (error) {
      if (addressIsSet() && !this.now) return this.recover(error);
      this.complain(say("The image could not be loaded: {reason}.", { reason: error.message }));
    }
    return undefined;
  }

  /** An address that cannot be answered: say so, and open as without it. */
  async recover(error) {
    const scene = await this.loader.adopt(this.value.scene);
    this.panes[0].show(scene);
    this.lab = this.value.lab;
    const { pins, ...rest } = this.defaults;
    this.now = { ...rest, points: this.pointsOf(pins, rest.layer) };
    this.defaults.points = this.now.points;
    await this.showState();
    this.complain(say("The link could not be opened: {reason}. This is the opening image.", { reason: error.message }));
  }

  /** [row, col] cells of a layer's query grid as points; what lies outside moves to the rim. */
  pointsOf(pins, name) {
    const { queryGrid } = this.panes[0].layerNamed(name);
    const within = (at, count) => Math.min(count - 1, Math.max(0, at));
    return pins.slice(0, this.most).map(([row, col]) =>
      middleOf({ row: within(row, queryGrid.height), col: within(col, queryGrid.width) }, queryGrid));
  }

  get most() {
    return this.value.lab.pin_colours.length;
  }

  async fetchLab(checkpoint) {
    if (!this.labs.has(checkpoint)) this.labs.set(checkpoint, await this.loader.ask("lab", checkpoint));
    return this.labs.get(checkpoint);
  }

  // The language

  /** Put what the template says, and the page's title above it, into the language spoken. */
  translate() {
    const title = document.querySelector("#title");
    if (title) translate(title);
    translate(this.root);
    for (const button of this.root.querySelectorAll("[data-language]")) button.setAttribute("aria-pressed", button.dataset.language === language());
  }

  /** Say everything again in another language, and keep the choice. */
  async setLanguage(code) {
    speak(code);
    keepLanguage(code);
    if (this.loader.server && beside("lang")) putBeside("lang", code);
    this.translate();
    if (!this.now) return;
    for (const pane of this.panes) if (pane.scene) pane.show(pane.scene);
    await this.showState();
  }

  // The state

  /** All that decides the picture, for the address and for saving. */
  state() {
    const { points, ...rest } = this.now;
    const { layer } = this.panes[0];
    const pins = points.map(({ x, y }) => cellAt(x, y, UNIT, layer.queryGrid)).map(({ row, col }) => [row, col]);
    return { ...rest, layer: layer.name, pins };
  }

  /** A query's attention in the first pane's layer, as it is asked for. */
  rowAt(row, col) {
    const { layer } = this.panes[0];
    return askedRow(layer, row * layer.queryGrid.width + col, this.panes[0].askOf(layer));
  }

  /**
   * Change the value at a path, or several as an object; `by` names the control, so that one drag is
   * one step back. An object may have `pins`, cells of the layer, or null for those of its image.
   */
  set(path, content, by = null) {
    if (!this.now) return;
    if (typeof path === "object") {
      this.become({ ...this.now, ...path, source: wholeSource(path.source ?? this.now.source) });
      return;
    }
    if (valueAt(this.now, path) === content) return;
    let state = withValue(this.now, path, content);
    if (path === "source.checkpoint") state = { ...state, source: { checkpoint: content, seed: state.source.seed, truncation: state.source.truncation } };
    if (path === "other.checkpoint") state = { ...state, other: { checkpoint: content, seed: state.other.seed } };
    if (path === "source.seed" && this.now.source.label === undefined) state.source.label = null;
    this.become(state, by);
  }

  /** Replace the state by another, which can be undone. */
  become(state, by = null) {
    this.history.changed(this.now, by);
    this.now = state;
    this.cursor = this.pointer = null;
    this.follow();
  }

  /** Show the state: at once what the browser can, and the rest when the server has answered. */
  async follow() {
    this.message("");
    const { now: state } = this;
    const sources = [state.source, state.other].filter(Boolean);
    const missing = sources.some((source) => !this.loader.known(source));
    if (missing) {
      this.controls.show(state);
      if (this.now.source === state.source && this.panes[0].scene) this.render();
      this.root.dataset.waiting = true;
    }
    try {
      const [lab, ...scenes] = await Promise.all([
        this.fetchLab(state.source.checkpoint ?? this.value.lab.checkpoint),
        ...sources.map((source, lane) => this.loader.scene(source, lane)),
      ]);
      if (this.now !== state || scenes.includes(null)) return;
      this.lab = lab;
      while (this.panes.length < scenes.length) this.panes.push(this.addPane(this.template.cloneNode(true)));
      while (this.panes.length > scenes.length) this.panes.pop().element.remove();
      scenes.forEach((scene, at) => { if (this.panes[at].scene !== scene) this.panes[at].show(scene); });
      const { pins, ...rest } = state;
      this.now = { ...rest, source: scenes[0].source, other: state.other && scenes[1].source };
      if (pins !== undefined) this.now.points = this.pointsOf(pins ?? this.panes[0].layerNamed(rest.layer).suggested ?? [], rest.layer);
      await this.showState();
    } catch (error) {
      if (this.now === state) this.complain(error.message);
    }
    if (this.now === state || !this.pending()) this.root.dataset.waiting = false;
  }

  pending() {
    return [this.now.source, this.now.other].some((source) => source && !this.loader.known(source));
  }

  async showState() {
    this.root.dataset.panes = this.panes.length;
    this.root.dataset.waiting = false;
    this.controls.offer(this.lab, this.now, this.panes[0].scene);
    this.offerGammas();
    this.render();
    this.controls.show({ ...this.now, layer: this.panes[0].layer.name, other_layer: this.now.other_layer });
    this.showParts();
    this.root.dataset.state = "ready";
    this.root.dataset.sample = this.panes[0].scene.id;
    if (this.opened && this.loader.server) showInAddress(this.state());
    this.opened = true;
  }

  /** Paint everything but the map under the pointer. */
  render() {
    const { now: state, panes } = this;
    const names = [state.layer, state.other_layer ?? state.layer];
    const blocked = [state.source, state.other].map((source) => source?.without);
    const maps = panes.flatMap((pane, at) => pane.prepare(state.points, state, names[at], blocked[at]));
    const top = scaleTop(maps);
    this.root.style.setProperty("--opacity", state.opacity);
    for (const pane of panes) pane.paint(state.points, top, this.tables[state.colours], this.value.lab.pin_colours, this.most);
    this.showTools();
    this.paintPointer();
  }

  /** A change that asks the server for nothing. */
  change(part, by = null) {
    this.history.changed(this.now, by);
    this.now = { ...this.now, ...part };
    this.message("");
    this.render();
    this.controls.show({ ...this.now, layer: this.panes[0].layer.name });
    this.showParts();
    if (this.loader.server) showInAddress(this.state());
  }

  travel(state) {
    if (!state) return;
    this.now = state;
    this.cursor = this.pointer = this.selected = null;
    this.follow();
  }

  showTools() {
    this.find(".undo").disabled = !this.history.past.length;
    this.find(".redo").disabled = !this.history.future.length;
    this.find(".why").textContent = this.now.measure === "value" ? whyValues() : "";
    this.find(".second").hidden = !this.now.other;
    this.find(".fitted").textContent = (this.panes[0].scene.fitted ?? "").split("; ").map(told).join("; ");
    const { layer } = this.panes[0];
    const blocked = this.blocked.length;
    const generator = layer.network === "generator";
    this.find(".blocking").toggleAttribute("inert", !generator);
    this.find(".blockedcount").textContent = !generator
      ? say("Choose a layer of the generator first.")
      : blocked ? say("{count} of {keys} places are blocked.", { count: blocked, keys: layer.keys }) : say("The layer may not look at blocked places.");
    this.find(".unblock").disabled = this.find(".chance").disabled = !blocked;
    this.root.dataset.blocking = this.find(".block").checked && generator;
  }

  // The pointer

  /** Show the map of a point {x, y} over the image from the next frame on; null for none. */
  hover(point) {
    if (!this.now) return;
    this.pointer = point ?? this.cursor;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paintPointer();
    });
  }

  paintPointer() {
    for (const pane of this.panes) pane.preview(this.pointer, this.restingWords(pane));
  }

  restingWords(pane) {
    if (this.root.dataset.blocking === "true") return say("Paint the places that the layer may not look at.");
    if (this.now.points[this.selected]) return this.pinWords(this.selected, pane);
    return window.matchMedia("(hover: none)").matches
      ? say("Tap the image to pin a point, drag a pin to move it.")
      : say("Move over the image to see where each point looked. Click to pin a point, drag a pin to move it.");
  }

  /** The cell {row, col} under the pointer, on the first pane's grid. */
  get preview() {
    return this.pointer && cellAt(this.pointer.x, this.pointer.y, UNIT, this.panes[0].ownGrid);
  }

  // Pins

  add(point, pane = this.panes[0]) {
    const grid = pane.ownGrid;
    const cellOf = ({ x, y }) => cellAt(x, y, UNIT, grid);
    const cell = cellOf(point);
    const there = this.now.points.map(cellOf).findIndex(({ row, col }) => row === cell.row && col === cell.col);
    if (there >= 0) return this.choose(there);
    if (this.now.points.length >= this.most) {
      return this.complain(say("There are {most} pins already. Remove one first.", { most: this.most }));
    }
    this.selected = this.now.points.length;
    this.change({ points: [...this.now.points, point] });
    return this.speak(this.selected);
  }

  choose(index) {
    this.selected = index;
    this.paintPointer();
    this.showParts();
    this.speak(index);
  }

  move(index, point, by) {
    this.selected = index;
    this.pointer = point;
    this.change({ points: this.now.points.map((other, at) => (at === index ? point : other)) }, by);
  }

  remove(index) {
    this.cursor = this.pointer = this.selected = null;
    this.change({ points: this.now.points.filter((_, at) => at !== index) });
    this.say(say("Pin {number} removed.", { number: index + 1 }));
    const left = this.now.points.length;
    if (left) this.panes[0].markers.focus(Math.min(index, left - 1));
    else this.panes[0].picture.focus({ preventScroll: true });
  }

  clear() {
    this.cursor = this.pointer = this.selected = null;
    this.change({ points: [] });
    this.say(say("All pins removed."));
    this.panes[0].picture.focus({ preventScroll: true });
  }

  markerActions(pane) {
    return {
      pointUnder: (event) => pane.pointUnder(event),
      pointOf: (index) => this.now.points[index],
      moved: (index, point) => this.move(index, point, `drag-${index}`),
      stepped: (index, rows, cols) => {
        const grid = pane.ownGrid;
        const { x, y } = this.now.points[index];
        this.move(index, middleOf(stepped(cellAt(x, y, UNIT, grid), rows, cols, grid), grid), `step-${index}`);
        this.cursor = this.pointer;
        this.speak(index);
      },
      removed: (index) => this.remove(index),
      focused: (index) => {
        this.selected = index;
        this.showParts();
        if (!pane.markers.parent.children[index].matches(":focus-visible")) return;
        this.cursor = this.now.points[index];
        this.hover(this.cursor);
        this.speak(index);
      },
      blurred: () => {
        this.cursor = null;
        this.hover(null);
      },
      settled: (index) => this.speak(index),
    };
  }

  // Listening

  addPane(element) {
    const pane = new Pane(element, {
      markers: (made) => this.markerActions(made),
      removed: (index) => this.remove(index),
      entered: (index) => this.hover(this.now.points[index]),
      left: () => this.hover(null),
      cleared: () => this.clear(),
      topOf: scaleTop,
    });
    if (!element.isConnected) this.find(".panes").append(element);
    translate(element);
    const { picture } = pane;
    const blocking = () => this.root.dataset.blocking === "true";
    picture.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch" && !blocking()) this.hover(pane.scene && pane.pointUnder(event));
    });
    picture.addEventListener("pointerleave", () => this.hover(null));
    picture.addEventListener("click", (event) => {
      if (this.now && !blocking() && !event.target.closest(".marker")) this.add(pane.pointUnder(event), pane);
    });
    picture.addEventListener("keydown", (event) => this.key(event, pane));
    picture.addEventListener("blur", () => {
      this.cursor = null;
      this.hover(null);
    });
    paintOn(pane, {
      active: () => blocking() && pane === this.panes[0],
      tool: () => this.find(".tool:checked").value,
      blocked: () => this.blocked,
      changed: (cells, done) => this.block(cells, done),
    });
    return pane;
  }

  key(event, pane) {
    if (!this.now || event.target !== pane.picture) return;
    const grid = pane.ownGrid;
    const step = arrowStep(event);
    if (step) {
      const { x, y } = this.cursor ?? { x: 0.5, y: 0.5 };
      const cell = cellAt(x, y, UNIT, grid);
      this.cursor = middleOf(this.cursor ? stepped(cell, ...step, grid) : cell, grid);
      this.hover(this.cursor);
      const { cursor } = this;
      this.sayLater(() => pane.sentence(describeCell(cellAt(cursor.x, cursor.y, UNIT, grid)), cursor));
    } else if (this.cursor && (event.key === "Enter" || event.key === " ")) {
      if (this.root.dataset.blocking === "true") this.toggleBlocked(this.cursor);
      else this.add(this.cursor, pane);
    } else if (event.key === "Escape") {
      this.cursor = null;
      this.hover(null);
    } else return;
    event.preventDefault();
  }

  shortcut(event) {
    const writing = event.target.closest?.("input:not([type=range],[type=checkbox],[type=radio]), textarea, select");
    if (writing || this.find(".help").open) return;
    const key = event.key.toLowerCase();
    const held = event.ctrlKey || event.metaKey;
    if (held && key === "z" && !event.shiftKey) this.undo();
    else if (held && (key === "y" || (key === "z" && event.shiftKey))) this.redo();
    else if (event.key === "?" && !held) this.find(".help").showModal();
    else return;
    event.preventDefault();
  }

  undo() {
    this.travel(this.history.undo(this.now));
  }

  redo() {
    this.travel(this.history.redo(this.now));
  }

  listen() {
    const on = (selector, work, kind = "click") => this.find(selector).addEventListener(kind, work);
    document.addEventListener("keydown", (event) => this.root.isConnected && this.shortcut(event));
    for (const button of this.root.querySelectorAll("[data-language]")) button.addEventListener("click", () => this.setLanguage(button.dataset.language));
    on(".undo", () => this.undo());
    on(".redo", () => this.redo());
    on(".reset", () => {
      const { pins, ...rest } = this.defaults;
      this.find(".block").checked = false;
      this.become(rest);
    });
    on(".keys", () => this.find(".help").showModal());
    on(".random", () => this.set("source.seed", this.anySeed()));
    on(".block", () => {
      this.find(".tools").hidden = !this.find(".block").checked;
      this.render();
    }, "change");
    for (const tool of this.root.querySelectorAll(".tool")) tool.name = `${this.controls.unique}-tool`;
    on(".unblock", () => this.block([], true));
    on(".chance", () => this.compareWithChance());
    for (const button of this.root.querySelectorAll("[data-compare]")) button.addEventListener("click", () => this.compare(button.dataset.compare));
    on(".single", () => this.become({ ...this.now, other: null, other_layer: null }));
    on(".swap", () => {
      const { source, other, layer, other_layer: otherLayer } = this.now;
      this.become({ ...this.now, source: other, other: source, layer: otherLayer ?? layer, other_layer: otherLayer && layer });
    });
    on(".towardseed", (event) => this.goToward(Number(event.target.value)), "change");
    on(".towardrandom", () => this.goToward(this.anySeed()));
  }

  anySeed() {
    return Math.floor(Math.random() * (this.lab.max_seed + 1));
  }

  // Changing the layer

  offerGammas() {
    const parent = this.find(".gammas");
    const layers = this.panes[0].scene.layers.filter(({ network }) => network === "generator" || this.now.source.image);
    const offered = [language(), ...layers.map(({ name, learnt_gamma: gamma }) => `${name}${gamma}`)].join();
    if (parent.dataset.offered === offered) return;
    parent.dataset.offered = offered;
    const sliders = layers.map(({ name, label, learnt_gamma: gamma }) => {
      const line = document.createElement("div");
      line.className = "line slider";
      line.innerHTML = `<label><span class="name"></span><span class="amount-now"></span><input type="range" min="-2" max="2" step="0.05" data-unit="×"></label>`;
      line.querySelector(".name").textContent = layers.length > 1 ? say("Gamma, {layer}", { layer: told(label) }) : say("Gamma");
      line.title = say("Learnt: {gamma}", { gamma: Number(gamma.toPrecision(3)) });
      const input = line.querySelector("input");
      input.dataset.bind = `source.gamma/${name}`;
      this.controls.bind(input);
      return line;
    });
    parent.replaceChildren(...sliders);
  }

  get blocked() {
    return this.now.source.without?.[this.panes[0].layer.name] ?? [];
  }

  /** Block exactly these cells of the layer; while a stroke goes on only the picture shows them. */
  block(cells) {
    this.set(`source.without/${this.panes[0].layer.name}`, cells, "block");
  }

  toggleBlocked({ x, y }) {
    const { keyGrid } = this.panes[0].layer;
    const { row, col } = cellAt(x, y, UNIT, keyGrid);
    const cells = new Set(this.blocked);
    const index = row * keyGrid.width + col;
    if (!cells.delete(index)) cells.add(index);
    this.block([...cells].sort((a, b) => a - b));
  }

  /** Beside the picture, the same with as many random places blocked. */
  compareWithChance() {
    const { layer } = this.panes[0];
    const other = withValue(this.now.source, `without/${layer.name}`, randomCells(this.blocked.length, layer.keyGrid));
    this.become({ ...this.now, other, other_layer: null });
  }

  // Comparing

  compare(kind) {
    this.become({ ...this.now, ...another(kind, this.now.source, this.lab, this.panes[0], () => this.anySeed()) });
  }

  goToward(seed) {
    if (!Number.isInteger(seed) || seed < 0 || seed > this.lab.max_seed) return;
    this.find(".towardseed").value = seed;
    const { source } = this.now;
    const label = source.toward?.label ?? source.label ?? null;
    this.become({ ...this.now, source: { ...source, toward: { seed, label }, at: source.at || 0.5 } });
  }

  // Words

  /** Something that a person should know; empty to take it away. */
  message(text) {
    this.find(".message").textContent = text;
    this.find(".message").hidden = !text;
  }

  complain(text) {
    this.message(text);
    this.root.dataset.waiting = false;
  }

  speak(index) {
    this.sayLater(() => this.now.points[index] && this.pinWords(index, this.panes[0]));
  }

  pinWords(index, pane) {
    const point = this.now.points[index];
    const colour = told(this.value.lab.pin_colours[index].name);
    const cell = cellAt(point.x, point.y, UNIT, pane.ownGrid);
    return pane.sentence(say("Pin {number}, {colour}, row {row}, column {col}", { number: index + 1, colour, ...cell }), point);
  }

  sayLater(sentence) {
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => this.say(sentence() ?? ""), SPEAK_AFTER);
  }

  say(sentence) {
    clearTimeout(this.speaking);
    this.find(".spoken").textContent = sentence;
  }
}
