// One picture with what is said of it: the image, the map under the pointer, pins, and their panels.

import { coverCell, drawArrows, paintBlocked, paintImage, paintMap } from "./draw.js";
import { say, told } from "./language.js";
import { cellAt, difference, largest, pointMap, uniformDistance, UNIT } from "./maths.js";
import { Markers } from "./markers.js";
import { Panels } from "./panels.js";
import { describeCell, describeMap, describeSpread, legend } from "./words.js";

export class Pane {
  /** `element` is a `.pane`; `actions` are those of Markers, and removed, entered, left, cleared. */
  constructor(element, actions) {
    this.element = element;
    this.actions = actions;
    this.find = (selector) => element.querySelector(selector);
    this.picture = this.find(".picture");
    this.markers = new Markers(this.find(".markers"), actions.markers(this));
    this.whole = new Panels(this.find(".whole .panels"));
    this.find(".whole").addEventListener("toggle", () => this.scene && this.paintWhole());
    this.find(".clear").addEventListener("click", () => actions.cleared());
    this.lists = []; // a Panels per layer shown
    this.groups = []; // [{layer, ask, found}], found: a pointMap per pin
    this.scene = null;
    this.failed = "";
  }

  /** Take over a scene, what `readScene` gives. */
  show(scene) {
    this.scene = scene;
    this.failed = "";
    paintImage(this.find(".picture > .image"), scene.image);
    this.picture.style.aspectRatio = `${scene.image.width} / ${scene.image.height}`;
    const title = told(scene.title);
    this.find(".subject").textContent = this.find(".subject").title = title;
    this.find(".origin").textContent = this.find(".origin").title = scene.subtitle.split(", ").map(told).join(", ");
    this.find(".picture > .image").setAttribute("aria-label", say("Image: {title}", { title }));
    this.showChanges(scene);
  }

  get aspect() {
    return this.scene.image.width / this.scene.image.height;
  }

  /** The layer of that name, else the scene's last generator layer, else its first. */
  layerNamed(name) {
    const { layers } = this.scene;
    return layers.find((layer) => layer.name === name) ?? layers.findLast(({ network }) => network === "generator") ?? layers[0];
  }

  /**
   * Compute all maps: `points` are the pins', `look` the state, `name` the layer asked for, `without`
   * the blocked cells by layer, which the image may be about to follow.
   */
  prepare(points, look, name, without = {}) {
    this.look = look;
    this.without = without;
    this.layer = this.layerNamed(name);
    const layers = look.all_layers ? this.scene.layers : [this.layer];
    this.groups = layers.map((layer) => {
      const ask = this.askOf(layer);
      return { layer, ask, found: points.map((point) => pointMap(layer, point, ask)) };
    });
    return this.groups.flatMap(({ found }) => found.map(({ map }) => map));
  }

  askOf(layer) {
    const { direction, measure, baseline, temperature } = this.look;
    return { direction, measure, baseline, temperature, without: this.without[layer.name] };
  }

  /** The grid on which pins sit: of the cells that a point belongs to. */
  get ownGrid() {
    return this.look.direction === "to" ? this.layer.keyGrid : this.layer.queryGrid;
  }

  /** Paint everything but the map under the pointer; `top` is the shared scale's end. */
  paint(points, top, table, colours, most) {
    this.top = top;
    this.table = table;
    const cells = points.map(({ x, y }) => cellAt(x, y, UNIT, this.ownGrid));
    this.markers.show(cells, this.ownGrid, colours);
    this.element.classList.toggle("smooth", this.look.smooth);
    this.paintGroups(colours);
    this.find(".count").textContent = say("{count} of {most}", { count: points.length, most });
    this.find(".clear").disabled = points.length === 0;
    this.find(".empty").hidden = points.length > 0;
    this.find(".legend").textContent = legend(this.look);
    this.paintWords();
    paintBlocked(this.find(".picture > .blocked"), this.without[this.layer.name], this.layer.keyGrid);
    this.paintWhole();
  }

  scaleOf(map, mapTop = this.top) {
    const own = this.look.scale === "own";
    const top = own ? this.actions.topOf([map]) : mapTop;
    return { top, log: this.look.log, style: this.look.style, table: this.table, own };
  }

  paintGroups(colours) {
    const parent = this.find(".groups");
    while (parent.childElementCount > this.groups.length) parent.lastElementChild.remove();
    this.lists.length = Math.min(this.lists.length, this.groups.length);
    while (parent.childElementCount < this.groups.length) {
      const group = document.createElement("div");
      group.innerHTML = `<h3></h3><ol class="panels"></ol>`;
      parent.append(group);
      const { removed, entered, left } = this.actions;
      this.lists.push(new Panels(group.lastElementChild, { removed, entered, left }));
    }
    this.groups.forEach(({ layer, found }, at) => {
      const heading = parent.children[at].firstElementChild;
      heading.hidden = this.groups.length === 1;
      heading.textContent = told(layer.label);
      parent.children[at].lastElementChild.setAttribute("aria-label", say("Maps of the pins, {layer}", { layer: told(layer.label) }));
      this.lists[at].show(found.map((one, index) => ({
        title: `(${one.cell.row}, ${one.cell.col})`,
        tip: describeCell(one.cell),
        image: this.scene.image,
        map: one.map,
        grid: one.grid,
        scale: this.scaleOf(one.map),
        pin: colours[index],
        found: one,
        arrows: this.look.arrows ? this.look.direction : null,
      })));
    });
  }

  paintWords() {
    const remarks = [...(this.scene.remarks ?? []), ...this.judgement()].map((text) => ({ text, warning: false }));
    const items = [...this.layer.notes, ...remarks].map(({ text, warning }) => {
      const item = document.createElement("li");
      item.textContent = told(text);
      item.classList.toggle("warning", warning);
      return item;
    });
    this.find(".notes").replaceChildren(...items);
    const { temperature, measure } = this.look;
    const parts = [];
    if (temperature !== 1) parts.push(say("What if the softmax had temperature {temperature}? The image is the unchanged one.", { temperature: Number(temperature.toPrecision(2)) }));
    if (measure === "value") parts.push(say("Maps show attention times the length of what it adds."));
    this.find(".whatif").textContent = parts.join(" ");
    this.find(".whatif").hidden = parts.length === 0;
  }

  /** What the discriminator says of the image, beside one of its layers. */
  judgement() {
    const { logit, plain_logit: plain } = this.scene;
    if (typeof logit !== "number" || this.layer.network !== "discriminator") return [];
    const changed = typeof plain === "number" && plain !== logit;
    const values = { logit: logit.toFixed(2), plain: plain?.toFixed(2) };
    return [changed
      ? say("The discriminator scores the image {logit}, {plain} unchanged: the higher, the more real to it.", values)
      : say("The discriminator scores the image {logit}: the higher, the more real to it.", values)];
  }

  /** Three maps of the layer as a whole, when they are asked for. */
  paintWhole() {
    if (!this.find(".whole").open) return;
    const { layer, scene } = this;
    const { queryGrid, keyGrid, keys } = layer;
    const base = { image: scene.image };
    const scale = (top, unit) => ({ top, unit, log: false, style: this.look.style, table: this.table });
    const received = layer.mean.map((share) => share * keys);
    const effective = layer.entropy.map(Math.exp);
    const far = largest(layer.distance) || 1;
    const keyUnit = (value) => say("{count} keys", { count: value < 10 ? value.toFixed(1) : Math.round(value) });
    this.whole.show([
      { ...base, title: say("Received"), tip: say("How much attention each place gets, over all points"), map: received, grid: keyGrid, scale: { ...scale(this.actions.topOf([received])), unit: undefined } },
      { ...base, title: say("Spread"), tip: say("As many keys as each point would look at if it looked at them alike"), map: effective, grid: queryGrid, scale: scale(keys, keyUnit) },
      { ...base, title: say("Distance"), tip: say("How far away each point looks on average, in image heights"), map: layer.distance, grid: queryGrid, scale: scale(far, (value) => value.toFixed(2)) },
    ]);
    const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    this.find(".facts").textContent =
      say("On average a point's attention is as spread out as {effective} of {keys} (entropy {entropy} of {most} nats) and falls {far} image heights away; uniform attention: {uniform}.", {
        effective: keyUnit(mean(effective)), keys, entropy: mean(layer.entropy).toFixed(2), most: Math.log(keys).toFixed(2),
        far: mean(layer.distance).toFixed(2), uniform: uniformDistance(layer, this.aspect).toFixed(2),
      });
  }

  /** The unchanged image and the difference, where gamma or blocked places changed it. */
  showChanges({ image, reference }) {
    this.find(".changes").hidden = !reference;
    if (!reference) return;
    const { mean, most, pixels } = difference(image, reference);
    paintImage(this.find(".plain"), reference);
    const bright = Uint8Array.from(pixels, (value) => Math.min(255, value * (255 / Math.max(32, most))));
    paintImage(this.find(".difference"), { ...image, channels: 1, pixels: bright });
    this.changed = { mean, most };
    const values = { mean: mean.toFixed(1), most: Math.round(most), white: Math.round(Math.max(32, most)) };
    this.find(".amount").textContent = most
      ? say("Pixels differ by {mean} of 255 on average, {most} at most (white: {white}).", values)
      : say("Not a single pixel differs.");
  }

  // Under the pointer

  /** Show the map of a point over the image, or of none. Returns its words. */
  preview(point, words) {
    const map = this.find(".picture > .map");
    const cell = this.find(".picture > .cell");
    const arrows = this.find(".picture > .arrows");
    map.hidden = cell.hidden = !point;
    arrows.toggleAttribute("hidden", !point || !this.look.arrows);
    this.find(".readout").textContent = point ? this.previewed(point, map, cell, arrows) : words;
  }

  previewed(point, canvas, cell, arrows) {
    const ask = this.askOf(this.layer);
    const found = pointMap(this.layer, point, ask);
    const scale = this.scaleOf(found.map);
    paintMap(canvas, found.map, found.grid, scale);
    coverCell(cell, found.cell, found.own);
    if (this.look.arrows) drawArrows(arrows, found, "#fff", this.look.direction === "to");
    return say("{point}: {description}", { point: describeCell(found.cell), description: describeMap(found, ask, scale.top) });
  }

  /** Light up a cell of a grid in the image; null for none. */
  light(cell, grid) {
    const lit = this.find(".picture > .lit");
    lit.hidden = !cell;
    if (cell) coverCell(lit, cell, grid);
  }

  /** A point's map in words, for a pin that is selected: what a screen reader hears. */
  sentence(start, point) {
    const ask = this.askOf(this.layer);
    const found = pointMap(this.layer, point, ask);
    const spread = describeSpread(found, ask, this.aspect);
    const description = describeMap(found, ask, this.scaleOf(found.map).top);
    return `${say("{point}: {description}", { point: start, description })} ${spread}`.trim();
  }

  /** The point of the image under a pointer, in the middle of its cell: {x, y}. */
  pointUnder(event, grid = this.ownGrid) {
    const cell = cellAt(event.clientX, event.clientY, this.picture.getBoundingClientRect(), grid);
    return { x: (cell.col + 0.5) / grid.width, y: (cell.row + 0.5) / grid.height };
  }
}
