// Is it true? The map of the chosen pin, tested when a person asks for it; nothing is computed before.

import { Finding } from "./finding.js";
import { language, say, told } from "./language.js";
import { arrowStep, dressPin, stepped } from "./markers.js";
import { cellAt, scaleTop } from "./maths.js";
import { preparePlot } from "./plot.js";
import { sourceKey } from "./state.js";

const KEPT = 16; // tests that are shown again without asking
const CONTROLS = ["none", "random", "shuffled"];

export class Truth {
  /** `element` is its part of the page; `page` is what the explorer lets its parts see and do. */
  constructor(element, page) {
    Object.assign(this, { element, page });
    this.find = (selector) => element.querySelector(selector);
    this.buttons = [...element.querySelectorAll("[data-control]")];
    this.tests = new Map(); // key -> {asked, found: control -> evidence, open: Set of controls}
    this.shown = null; // the test whose results stand there
    this.findings = [];
    element.addEventListener("toggle", () => element.open && this.open());
    this.find(".test").addEventListener("click", () => this.test("none"));
    for (const button of this.buttons) button.addEventListener("click", () => this.choose(button.dataset.control));
  }

  /** What a test now would be about; null without a pin. */
  asked() {
    const state = this.page.state();
    const index = this.page.pin();
    if (!state || index === null) return null;
    const cell = state.pins[index];
    const layer = this.page.layer();
    const key = JSON.stringify([sourceKey(state.source), layer.name, cell]);
    const colour = this.page.lab().pin_colours[index];
    return { key, state, index, cell, layer, colour, scene: this.page.scene() };
  }

  /** The server makes itself ready while a person reads. */
  async open() {
    this.show();
    const asked = this.asked();
    if (!asked || this.prepared) return;
    this.prepared = true;
    try {
      await Promise.all([this.ask(asked, { prepare: true }), preparePlot(this.page.plotly())]);
    } catch {
      this.prepared = false; // the test will say what is wrong
    }
  }

  ask({ state, index }, more) {
    return this.page.loader.ask("evidence", { state, pin: index, pane: 0, ...more });
  }

  show() {
    if (!this.element.open) return;
    const asked = this.asked();
    this.find(".test").disabled = !asked || this.busy === asked.key;
    this.find(".whose").hidden = !asked;
    if (asked) {
      dressPin(this.find(".badge"), asked.index, asked.colour);
      this.find(".whose .name").textContent = whose(asked);
    } else this.find(".status").textContent = say("Pin a point first: its map is what is tested.");
    if (asked && this.complained !== asked.key && this.busy === undefined) this.find(".status").textContent = "";
    const known = asked && this.tests.get(asked.key);
    if (known) {
      known.asked = asked; // its number may have changed
      this.shown = known;
    }
    this.present(Boolean(known));
  }

  /** Test what is shown now, or one of its controls. */
  async test(control, asked = this.asked()) {
    if (!asked) return;
    const status = this.find(".status");
    this.busy = asked.key;
    status.textContent = say("Testing …");
    this.find(".test").disabled = true;
    for (const button of this.buttons) button.disabled = true;
    try {
      const evidence = await this.ask(asked, { control: control === "none" ? null : control });
      const test = this.tests.get(asked.key) ?? { asked, found: new Map(), open: new Set(["none"]) };
      test.found.set(control, evidence);
      test.open.add(control);
      this.tests.delete(asked.key);
      this.tests.set(asked.key, test);
      while (this.tests.size > KEPT) this.tests.delete(this.tests.keys().next().value);
      this.shown = test;
      status.textContent = say("Tested in {seconds} seconds.", { seconds: evidence.seconds.toFixed(1) });
      this.complained = asked.key; // the line belongs to this test
    } catch (error) {
      this.complained = asked.key;
      status.textContent = say("This map cannot be tested: {reason}", { reason: error.message });
    }
    this.busy = undefined;
    for (const button of this.buttons) button.disabled = false;
    this.show();
  }

  /** Show a control beside the test, or take it away. */
  choose(control) {
    const { shown } = this;
    if (shown.open.delete(control)) this.show();
    else if (shown.found.has(control)) {
      shown.open.add(control);
      this.show();
    } else this.test(control, shown.asked);
  }

  /** Paint the test that is shown; `current` if it is about the chosen pin as it is now. */
  present(current) {
    const { shown } = this;
    this.find(".tested").hidden = !shown;
    if (!shown) return;
    const { asked } = shown;
    this.current = current;
    this.find(".former").hidden = current;
    this.find(".former").textContent = current ? "" : say("These results are about something else: {whose}. Test again for what is shown now.", { whose: whose(asked, true) });
    this.find(".findings").dataset.former = !current;
    const open = CONTROLS.filter((control) => shown.open.has(control));
    for (const button of this.buttons) {
      button.setAttribute("aria-pressed", shown.open.has(button.dataset.control));
      button.disabled = !current || this.busy !== undefined;
    }
    const { colours, log, style } = this.page.state();
    const painted = JSON.stringify([asked.key, asked.index, open, colours, log, style, language()]);
    if (this.painted !== painted) this.paint(asked, open);
    this.painted = painted;
    this.light(null);
  }

  paint(asked, open) {
    const { shown } = this;
    const all = open.map((control) => shown.found.get(control));
    const parent = this.find(".findings");
    while (this.findings.length > open.length) this.findings.pop().element.remove();
    while (this.findings.length < open.length) {
      const finding = new Finding(this);
      this.findings.push(finding);
      parent.append(finding.element);
    }
    const scale = { ...this.page.colours(), top: scaleTop(all.flatMap(({ maps }) => Object.values(maps))) };
    const height = Math.max(...all.map(highest));
    parent.dataset.count = open.length; // the width of the diagrams follows
    all.forEach((evidence, at) => this.findings[at].show(asked, evidence, scale, 1.08 * height));
  }

  // One place, lit in all maps and in the image

  light(cell) {
    const { shown } = this;
    this.lit = cell;
    for (const finding of this.findings) finding.light(cell);
    const [height, width] = shown.found.get("none").grid;
    this.page.light(this.current ? cell : null, { height, width });
  }

  pointed(event, grid) {
    const cell = cellAt(event.clientX, event.clientY, event.currentTarget.getBoundingClientRect(), grid);
    if (cell.row !== this.lit?.row || cell.col !== this.lit?.col) this.light(cell);
  }

  key(event, grid) {
    const step = arrowStep(event);
    if (step) this.light(this.lit ? stepped(this.lit, ...step, grid) : { row: 0, col: 0 });
    else if (event.key === "Escape") this.light(null);
    else return;
    event.preventDefault();
  }
}

/** Where the vertical axis of a finding should end: not so low that nothing looks like something. */
function highest({ curve: { top, nearest, random, spread }, verdict }) {
  const least = verdict.kind === "hardly" ? verdict.least_effect : 0;
  const seen = Math.max(...(top ?? []), ...(nearest ?? []), ...random.map((mean, at) => mean + spread[at]));
  return Math.max(least, seen) || verdict.least_effect;
}

/** Whose map it is, in words; with `image` also of which image. */
function whose({ index, cell, colour, layer, scene }, image = false) {
  const words = say("Pin {number}, {colour}, row {row}, column {col}, in {layer}", { number: index + 1, colour: told(colour.name), row: cell[0], col: cell[1], layer: told(layer.label) });
  return image ? `${words}, ${scene.title}, ${scene.subtitle}` : words;
}
