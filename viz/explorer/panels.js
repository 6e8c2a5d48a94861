// The small panels beside the image: one per pin, the image under that pin's map.

import { coverCell, paintBar, paintImage, paintMap } from "./draw.js";
import { largest } from "./maths.js";
import { inkOn } from "./markers.js";
import { formatMultiple } from "./words.js";

/** `actions` are called with the pin's index: removed(index), entered(index), left(). */
export class Panels {
  constructor(parent, actions) {
    this.parent = parent;
    this.actions = actions;
  }

  /**
   * Show one panel per pin.
   * scene: what `readScene` gives; layer: one of its layers; top: the scale's upper end;
   * pins: [{cell, map, colour, name}], `map` in multiples.
   */
  show(scene, layer, top, pins) {
    while (this.parent.childElementCount > pins.length) this.parent.lastElementChild.remove();
    while (this.parent.childElementCount < pins.length) this.parent.append(this.make());
    this.parent.dataset.many = pins.length > 6;
    pins.forEach((pin, index) => fill(this.parent.children[index], index, scene, layer, top, pin));
  }

  make() {
    const panel = document.createElement("li");
    panel.className = "panel";
    panel.innerHTML = `
      <div class="title"><span class="badge"></span><span class="where"></span>
        <span class="peak"></span><button class="remove" type="button"></button></div>
      <div class="thumbnail"><canvas class="pixels image"></canvas><canvas class="pixels map"></canvas>
        <div class="cell"></div></div>
      <div class="bar"><canvas class="colours" aria-hidden="true"></canvas><span class="mark"></span>
        <span class="tick zero">0</span><span class="tick one">1×</span><span class="tick top"></span></div>`;
    const index = () => [...this.parent.children].indexOf(panel);
    panel.querySelector(".remove").addEventListener("click", () => this.actions.removed(index()));
    panel.querySelector(".thumbnail").addEventListener("pointerenter", (event) => {
      if (event.pointerType !== "touch") this.actions.entered(index());
    });
    panel.querySelector(".thumbnail").addEventListener("pointerleave", () => this.actions.left());
    return panel;
  }
}

function fill(panel, index, scene, layer, top, { cell, map, colour, name }) {
  const find = (selector) => panel.querySelector(selector);
  panel.style.setProperty("--pin", colour);
  find(".badge").textContent = index + 1;
  find(".badge").dataset.ink = inkOn(colour);
  find(".where").textContent = `(${cell.row}, ${cell.col})`;
  find(".where").title = `Row ${cell.row}, column ${cell.col}`;
  find(".peak").textContent = `max ${formatMultiple(largest(map))}`;
  find(".remove").setAttribute("aria-label", `Remove pin ${index + 1}`);
  find(".thumbnail").style.aspectRatio = `${scene.image.width} / ${scene.image.height}`;
  const picture = find(".image");
  if (picture.scene !== scene) {
    paintImage(picture, scene.image);
    paintBar(find(".colours"), scene.colours);
    picture.scene = scene;
  }
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `Map of pin ${index + 1}, ${name}, on a scale from 0 to ${formatMultiple(top)}`);
  paintMap(find(".map"), map, layer.keyGrid, top, scene.colours);
  coverCell(find(".cell"), cell, layer.queryGrid);
  find(".bar").style.setProperty("--one", `${100 / top}%`);
  find(".tick.zero").hidden = top > 5; // 1× stands too close to it
  const beyond = largest(map) > 1.001 * top ? "≥" : "";
  find(".tick.top").textContent = `${beyond}${formatMultiple(top)}`;
}
