// Two figures of the lesson: how far convolution reaches, and a softmax to check by hand.

import { paintImage } from "./draw.js";
import { say } from "./language.js";
import { make, tableRow } from "./elements.js";
import { attentionRow, largest } from "./maths.js";
import { signed } from "./words.js";

const CLOSE = 0.04; // of the right answer, for numbers that were rounded on the way
const BELOW = -0.8; // of the largest dot product: where key B is looked for

/** The image, the pixel in its middle, and what it can draw on: `reached`, as the server counts it. */
export function drawReach(image, { top, left, rows, cols, grid }) {
  const figure = document.createElement("figure");
  figure.className = "reach";
  figure.innerHTML = `<div class="scene"><canvas class="pixels"></canvas><div class="sees"></div><div class="pixel"></div></div><figcaption></figcaption>`;
  const canvas = figure.querySelector("canvas");
  paintImage(canvas, image);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", say("The image, with the part that the middle pixel can draw on"));
  figure.querySelector(".scene").style.aspectRatio = `${image.width} / ${image.height}`;
  const part = (count, of) => `${(100 * count) / of}%`;
  Object.assign(figure.querySelector(".sees").style, {
    top: part(top, grid[0]), left: part(left, grid[1]), height: part(rows, grid[0]), width: part(cols, grid[1]),
  });
  figure.querySelector("figcaption").textContent =
    say("Frame: what the pixel in the middle can draw on after this layer, by convolution. By attention: the whole image.");
  return figure;
}

/** Three keys of the chosen pin's row, one of whose weights a person computes. */
export class SoftmaxTable {
  /** `solved` is called when the number is right. */
  constructor(solved) {
    this.solved = solved;
    this.element = document.createElement("div");
    this.element.className = "softmax";
    this.element.innerHTML = `<table><thead><tr></tr></thead><tbody></tbody></table><p class="sum"></p>
      <form><label><span></span> <input type="text" inputmode="decimal" autocomplete="off" size="7"> %</label> <button type="submit"></button></form><p class="hint" role="status"></p>`;
    this.find = (selector) => this.element.querySelector(selector);
    this.find("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.judge();
    });
  }

  show(layer, page) {
    const pin = page.pin();
    this.find("table").hidden = this.find(".sum").hidden = this.find("form").hidden = pin === null;
    if (pin === null) {
      this.find(".hint").textContent = say("Pin a point first.");
      return;
    }
    const [row, col] = page.state().pins[pin];
    const asked = `${page.scene().id} ${layer.name} ${row} ${col}`;
    if (this.asked === asked) return;
    this.asked = asked;
    this.find(".hint").textContent = "";
    const weights = attentionRow(layer, row * layer.queryGrid.width + col);
    const most = largest(weights);
    const order = [...weights.keys()].sort((a, b) => weights[b] - weights[a]);
    const below = (key) => Math.log(weights[key] / most);
    const second = order.find((key) => below(key) <= BELOW) ?? order[1];
    this.keys = [order[0], second, order[Math.floor(order.length / 2)]];
    this.rows = this.keys.map((key) => ({ below: below(key), weight: weights[key], row: Math.floor(key / layer.keyGrid.width), col: key % layer.keyGrid.width }));
    this.sum = 1 / most;
    this.count = layer.keys;
    this.paint();
  }

  /** With the answer, once the step is done. */
  reveal(complete) {
    if (this.complete === complete) return;
    this.complete = complete;
    if (this.rows) this.paint();
  }

  paint() {
    this.find("thead tr").replaceChildren(...[say("Key"), say("Row, column"), say("Dot product, less the largest"), say("e to that power"), say("Attention")].map((text) => make("th", text)));
    this.find("tbody").replaceChildren(...this.rows.map(({ below, weight, row, col }, index) => {
      const hidden = index === 1 && !this.complete;
      const power = hidden ? "?" : Number(Math.exp(below).toPrecision(3));
      const share = hidden ? "?" : `${Number((100 * weight).toPrecision(3))}%`;
      return tableRow(["ABC"[index], `(${row}, ${col})`, signed(below), power, share]);
    }));
    this.find(".sum").textContent = say("Sum of e to that power over all {keys} keys: {sum}", { keys: this.count, sum: Number(this.sum.toPrecision(4)) });
    this.find("label span").textContent = say("Attention of key B:");
    this.find("button").textContent = say("Check");
  }

  judge() {
    const given = Number(this.find("input").value.replace(",", ".").replace("%", ""));
    const right = 100 * this.rows[1].weight;
    const close = (value) => Math.abs(value - right) <= CLOSE * right;
    if (given > 0 && (close(given) || close(100 * given))) {
      this.find(".hint").textContent = say("That is it: {percent}%.", { percent: Number(right.toPrecision(3)) });
      this.solved();
      return;
    }
    this.find(".hint").textContent = say("Not yet. Compute e to the power of {below}, then divide it by {sum}.", { below: signed(this.rows[1].below), sum: Number(this.sum.toPrecision(4)) });
  }
}
