// The column of controls: each is bound to a place in the state by `data-bind`, a path such as
// "source.truncation". What a person changes goes to `change(path, value, by)`; `show` sets them all.

import { say, told } from "./language.js";
import { valueAt } from "./state.js";

const SEARCHED = 40; // more classes than this are found by typing

export class Controls {
  /** `element` is the explorer's root; `change` is called with what a person sets. */
  constructor(element, change) {
    this.element = element;
    this.change = change;
    this.defaults = null;
    this.unique = `lens-${Math.random().toString(36).slice(2)}`;
    for (const control of element.querySelectorAll("[data-bind]")) this.bind(control);
  }

  bind(control) {
    const path = control.dataset.bind;
    if (control.type === "radio") control.name = `${this.unique}-${path}`;
    const event = control.type === "range" ? "input" : "change";
    control.addEventListener(event, () => {
      const value = read(control);
      if (value === undefined) return this.set(control, this.state);
      this.change(path, value, path);
    });
    if (control.type === "range") this.addReset(control, path);
  }

  /** A range gets a button that sets it back to how the page opens. */
  addReset(control, path) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "back";
    button.textContent = "↺";
    button.hidden = true;
    button.addEventListener("click", () => {
      this.change(path, this.usual(path), null);
      control.focus();
    });
    control.closest("label").after(button);
    control.back = button;
  }

  /** Name what a label's text alone does not name, in the language spoken. */
  name() {
    for (const control of this.element.querySelectorAll("[data-bind]")) {
      const label = labelOf(control);
      // The text of a list's label has the options in it, too.
      if (control.type === "select-one") control.setAttribute("aria-label", label);
      if (!control.back) continue;
      control.back.title = say("Reset: {label}", { label });
      control.back.setAttribute("aria-label", control.back.title);
    }
    for (const slot of this.element.querySelectorAll("[data-class]")) slot.firstElementChild?.setAttribute("aria-label", labelOf(slot));
  }

  usual(path) {
    return valueAt(this.defaults, path) ?? (path.includes("gamma/") ? 1 : 0);
  }

  /** What there is to choose from, for lists and for parts that a model lacks. */
  offer(lab, state, scene) {
    this.lab = lab;
    const has = {
      classes: lab.class_names.length > 0,
      checkpoints: lab.checkpoints.length > 1 || !lab.checkpoints.includes(lab.checkpoint),
      snapshots: lab.snapshots.length > 1,
      discriminator: lab.discriminator,
      layers: scene.layers.length > 1,
      generated: !state.source.image,
      uploads: Boolean(lab.uploads),
    };
    for (const part of this.element.querySelectorAll("[data-needs]")) part.hidden = !has[part.dataset.needs];
    const layers = scene.layers.map(({ name, label, gamma }) => [name, say("{layer}, gamma {gamma}", { layer: told(label), gamma: Number(gamma.toPrecision(2)) })]);
    const snapshots = lab.snapshots.map((images) => [String(images), say("after {images} images", { images: images.toLocaleString("en") })]);
    const real = Array.from({ length: lab.real }, (_, i) => [`real-${i}`, say("real image {number}", { number: i + 1 })]);
    const dropped = state.source.image?.startsWith("dropped") ? [[state.source.image, say("the dropped image")]] : [];
    const lists = {
      layers,
      otherlayers: [["", say("the same layer")], ...layers],
      checkpoints: [...new Set([...lab.checkpoints, lab.checkpoint])].map((name) => [name, name]),
      weights: [["trained", say("trained")], ["random", say("random")], ...snapshots],
      images: [["", say("the generated one")], ...real, ...dropped],
    };
    for (const select of this.element.querySelectorAll("select[data-list]")) fillSelect(select, lists[select.dataset.list]);
    for (const slot of this.element.querySelectorAll("[data-class]")) this.offerClasses(slot, lab.class_names);
    for (const seed of this.element.querySelectorAll("input[type=number]")) seed.max = lab.max_seed;
    this.name();
  }

  /** A list of classes, or for many a field in which to search. */
  offerClasses(slot, names) {
    if (slot.names === names) return;
    slot.names = names;
    const path = `${slot.dataset.class}.label`;
    if (names.length <= SEARCHED) {
      const select = document.createElement("select");
      fillSelect(select, names.map((name, index) => [String(index), name]));
      select.addEventListener("change", () => this.change(path, Number(select.value), path));
      slot.replaceChildren(select);
      slot.show = (label) => { select.value = String(label ?? ""); };
      return;
    }
    const input = document.createElement("input");
    const list = document.createElement("datalist");
    list.id = `${this.unique}-${path}`;
    input.setAttribute("list", list.id);
    input.autocomplete = "off";
    input.spellcheck = false;
    list.replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { value: name })));
    const shown = () => names[valueAt(this.state, path)] ?? "";
    input.addEventListener("focus", () => { input.placeholder = shown(); input.value = ""; }); // or only the present one is offered
    input.addEventListener("blur", () => { input.value = shown(); });
    input.addEventListener("change", () => {
      const found = names.indexOf(input.value);
      if (found >= 0) this.change(path, found, path);
    });
    slot.replaceChildren(input, list);
    slot.show = () => { if (document.activeElement !== input) input.value = shown(); };
  }

  /** Set every control to the state. */
  show(state) {
    this.state = state;
    for (const control of this.element.querySelectorAll("[data-bind]")) this.set(control, state);
    for (const slot of this.element.querySelectorAll("[data-class]")) slot.show?.(valueAt(state, `${slot.dataset.class}.label`));
  }

  set(control, state) {
    const path = control.dataset.bind;
    const value = valueAt(state, path) ?? (control.type === "range" ? this.usual(path) : "");
    if (control.type === "checkbox") control.checked = Boolean(value);
    else if (control.type === "radio") control.checked = control.value === value;
    else if (control.dataset.scale === "log") control.value = Math.log10(value);
    else if (control !== document.activeElement || control.type !== "number" || Number(control.value) !== value) control.value = String(value);
    if (control.type === "range") {
      const shown = control.closest("label").querySelector(".amount-now");
      if (shown) shown.textContent = control.dataset.unit ? `${Number(value.toFixed(2))}${control.dataset.unit}` : Number(value.toPrecision(3));
      if (control.back) control.back.hidden = value === this.usual(path);
    }
  }
}

const labelOf = (control) => control.closest("label").firstChild.textContent.trim();

/** The value that a control holds; undefined where it is not one. */
function read(control) {
  if (control.type === "checkbox") return control.checked;
  if (control.dataset.scale === "log") return Number((10 ** Number(control.value)).toPrecision(3));
  if (control.type === "range") return Number(control.value);
  if (control.type === "number") {
    const value = Number(control.value);
    if (control.value === "" || !Number.isInteger(value)) return undefined;
    return Math.min(Number(control.max), Math.max(0, value));
  }
  if (control.dataset.bind.endsWith(".weights") && /^\d/.test(control.value)) return Number(control.value);
  return control.value === "" ? null : control.value;
}

function fillSelect(select, options) {
  const key = JSON.stringify(options);
  if (select.offered === key) return;
  select.offered = key;
  const { value } = select;
  select.replaceChildren(...options.map(([value, text]) => Object.assign(document.createElement("option"), { value, textContent: text })));
  select.value = value;
}
