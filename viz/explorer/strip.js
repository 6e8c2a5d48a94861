// Lists of numbers as strips of colour, blue below zero and red above, on one scale for a group; a
// pointer or the arrow keys read the numbers out.

import { say } from "./language.js";

const BELOW = [33, 102, 172];
const NOTHING = [247, 247, 247];
const ABOVE = [178, 24, 43];

/** The colour of a number on a scale from -top to top: [red, green, blue]. */
export function signedColour(value, top) {
  const part = Math.max(-1, Math.min(1, top ? value / top : 0));
  const end = part < 0 ? BELOW : ABOVE;
  return NOTHING.map((from, c) => Math.round(from + Math.abs(part) * (end[c] - from)));
}

/** The largest size of any number in several lists. */
export function signedTop(lists) {
  let top = 0;
  for (const list of lists) for (const value of list) top = Math.max(top, Math.abs(value));
  return top;
}

/** Paint numbers, one pixel each, `width` to a row; `faint(k)` dims the k-th. */
export function paintSigned(canvas, values, width, top, faint = () => false) {
  const height = Math.ceil(values.length / width);
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const data = context.createImageData(width, height);
  values.forEach((value, k) => data.data.set([...signedColour(value, top), faint(k) ? 50 : 255], 4 * k));
  context.putImageData(data, 0, 0);
}

/** 0.04217 -> "0.0422", -3.2 -> "−3.2": three digits, a minus sign that is one. */
export function figure(value) {
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  return text.replaceAll("-", "−");
}

export class Strip {
  /** `name` is what the numbers are, such as "query"; `symbol` its letter. */
  constructor(name, symbol) {
    this.name = name;
    this.symbol = symbol;
    this.at = 0;
    this.element = document.createElement("div");
    this.element.className = "strip";
    this.element.innerHTML = `<span class="name"></span><div class="cells" role="slider" tabindex="0" aria-valuemin="1"><canvas class="pixels"></canvas><i class="here"></i></div><output></output>`;
    this.cells = this.element.querySelector(".cells");
    this.cells.addEventListener("pointermove", (event) => this.read(this.under(event)));
    this.cells.addEventListener("pointerdown", (event) => this.read(this.under(event)));
    this.cells.addEventListener("keydown", (event) => this.key(event));
  }

  under(event) {
    const { left, width } = this.cells.getBoundingClientRect();
    return Math.floor((this.values.length * (event.clientX - left)) / width);
  }

  key(event) {
    const to = { ArrowLeft: this.at - 1, ArrowDown: this.at - 1, ArrowRight: this.at + 1, ArrowUp: this.at + 1, Home: 0, End: this.values.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.read(to);
  }

  show(values, top, faint) {
    this.values = values;
    this.element.querySelector(".name").textContent = this.name;
    this.cells.setAttribute("aria-label", say("{name}: {count} numbers", { name: this.name, count: values.length }));
    this.cells.setAttribute("aria-valuemax", values.length);
    paintSigned(this.element.querySelector("canvas"), values, values.length, top, faint);
    this.read(Math.min(this.at, values.length - 1));
  }

  read(at) {
    this.at = Math.max(0, Math.min(this.values.length - 1, at));
    const here = this.element.querySelector(".here");
    here.style.left = `${(100 * this.at) / this.values.length}%`;
    here.style.width = `${100 / this.values.length}%`;
    const words = say("number {at} of {count}: {value}", { at: this.at + 1, count: this.values.length, value: figure(this.values[this.at]) });
    this.cells.setAttribute("aria-valuenow", this.at + 1);
    this.cells.setAttribute("aria-valuetext", words);
    this.element.querySelector("output").textContent = `${this.symbol}[${this.at + 1}] = ${figure(this.values[this.at])}`;
  }
}
