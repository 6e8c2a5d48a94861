// Small panels beside the image: the image under a map, with its title and its scale.

import { coverCell, drawArrows, paintBar, paintImage, paintMap } from "./draw.js";
import { say, told } from "./language.js";
import { largest, onScale } from "./maths.js";
import { dressPin } from "./markers.js";
import { formatMultiple } from "./words.js";

/** A list of panels in `parent`. `actions`: removed(index), entered(index), left(), each may be missing. */
export class Panels {
  constructor(parent, actions = {}) {
    this.parent = parent;
    this.actions = actions;
  }

  /**
   * Show panels: [{title, image, map, grid, scale, pin: {index, colour, name}, found, tip}].
   * `map` in the scale's unit on `grid`; `scale` is what `paintMap` takes and {own, unit}; `found`, a
   * `pointMap`, is there for a pin's panel and brings its cell and arrows.
   */
  show(panels) {
    while (this.parent.childElementCount > panels.length) this.parent.lastElementChild.remove();
    while (this.parent.childElementCount < panels.length) this.parent.append(this.make());
    this.parent.dataset.many = panels.length > 6;
    panels.forEach((panel, index) => fill(this.parent.children[index], panel, index));
  }

  make() {
    const panel = document.createElement("li");
    panel.className = "panel";
    panel.innerHTML = `
      <div class="title"><span class="badge"></span><span class="where"></span><span class="own" hidden></span>
        <span class="peak"></span><button class="remove" type="button"></button></div>
      <div class="thumbnail"><canvas class="pixels image"></canvas><canvas class="pixels map"></canvas>
        <svg class="arrows" aria-hidden="true"></svg><div class="cell"></div></div>
      <div class="bar"><canvas class="colours" aria-hidden="true"></canvas><span class="mark"></span>
        <span class="tick zero">0</span><span class="tick one">1×</span><span class="tick top"></span></div>`;
    const index = () => [...this.parent.children].indexOf(panel);
    const { removed, entered, left } = this.actions;
    panel.querySelector(".remove").addEventListener("click", () => removed?.(index()));
    panel.querySelector(".thumbnail").addEventListener("pointerenter", (event) => {
      if (event.pointerType !== "touch") entered?.(index());
    });
    panel.querySelector(".thumbnail").addEventListener("pointerleave", () => left?.());
    panel.querySelector(".remove").hidden = !removed;
    return panel;
  }
}

function fill(panel, { title, image, map, grid, scale, pin, found, arrows, tip }, index) {
  const find = (selector) => panel.querySelector(selector);
  const { top, log, unit = formatMultiple } = scale;
  find(".badge").hidden = !pin;
  if (pin) {
    dressPin(find(".badge"), index, pin);
    panel.style.setProperty("--pin", pin.colour);
    find(".remove").setAttribute("aria-label", say("Remove pin {number}", { number: index + 1 }));
  }
  panel.dataset.plain = !pin;
  find(".where").textContent = title;
  find(".where").title = tip ?? "";
  find(".peak").textContent = say("max {value}", { value: unit(largest(map)) });
  find(".own").hidden = !scale.own;
  find(".own").textContent = say("own scale");
  find(".thumbnail").style.aspectRatio = `${image.width} / ${image.height}`;
  const picture = find(".image");
  if (picture.source !== image) paintImage(picture, image);
  picture.source = image;
  picture.setAttribute("role", "img");
  const name = pin ? say("Map of pin {number}, {colour}", { number: index + 1, colour: told(pin.name) }) : title;
  const values = { name, top: unit(top) };
  picture.setAttribute("aria-label", log ? say("{name}, on a scale in logarithms up to {top}", values) : say("{name}, on a scale up to {top}", values));
  paintMap(find(".map"), map, grid, scale);
  paintBar(find(".colours"), scale);
  find(".cell").hidden = !found;
  if (found) coverCell(find(".cell"), found.cell, found.own);
  find(".arrows").toggleAttribute("hidden", !arrows);
  if (arrows) drawArrows(find(".arrows"), found, pin.colour, arrows === "to");
  const one = 100 * onScale(1, top, log);
  find(".bar").style.setProperty("--one", `${one}%`);
  find(".tick.zero").textContent = log ? unit(top / 100) : "0";
  find(".tick.zero").hidden = Boolean(scale.unit) ? false : one < 20;
  find(".tick.one").hidden = find(".mark").hidden = Boolean(scale.unit);
  const beyond = largest(map) > 1.001 * top ? "≥" : "";
  find(".tick.top").textContent = `${beyond}${unit(top)}`;
}
