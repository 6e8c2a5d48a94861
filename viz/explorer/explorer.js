// The explorer: an image on which attention follows the pointer, and pins that keep maps.
// `explorer.py` is its other half; maths.js, pins.js, draw.js, words.js know nothing of the page.

import { addressIsSet, showInAddress } from "./address.js";
import { coverCell, paintImage, paintMap } from "./draw.js";
import { Markers } from "./markers.js";
import { attentionRow, cellAt, multiples, readScene, scaleTop } from "./maths.js";
import { Panels } from "./panels.js";
import { arrowStep, Pins, stepped } from "./pins.js";
import { describeCell, describeMap, legend } from "./words.js";

const HINT = "Move over the image to see where each point looked. Click to pin a point, drag a pin to move it.";
const TOUCH_HINT = "Tap the image to pin a point, drag a pin to move it.";
const SPEAK_AFTER = 400; // milliseconds of rest before a changed pin is read aloud

/** Start on Gradio's element; `props.value` is a `scene_value`. */
export function start({ element, props, watch }) {
  const explorer = new Explorer(element);
  element.explorer = element.querySelector(".lens").explorer = explorer;
  watch("value", () => explorer.load(props.value));
  explorer.load(props.value);
  return explorer;
}

class Explorer {
  constructor(element) {
    const find = (selector) => element.querySelector(selector);
    this.root = find(".lens");
    this.picture = find(".picture");
    this.mapCanvas = find(".picture > .map");
    this.cell = find(".picture > .cell");
    this.find = find;
    this.scene = null;
    this.pins = null;
    this.maps = []; // per pin, in multiples
    this.top = 2;
    this.baseline = "uniform";
    this.opacity = 0.7;
    this.layerName = null;
    this.preview = null; // the cell whose map lies over the large image
    this.cursor = null; // the cell that the arrow keys reached on the image itself
    this.frame = 0;
    this.markers = new Markers(find(".markers"), this.markerActions());
    this.panels = new Panels(find(".panels"), {
      removed: (index) => this.remove(index),
      entered: (index) => this.hover(this.pinCells()[index]),
      left: () => this.hover(null),
    });
    this.listen();
  }

  // What is shown

  /** Fetch a value's file and show it. While it loads the former image stays; the newest wins. */
  async load(value) {
    if (!value?.file || (value.opening && addressIsSet())) return; // the address is being answered
    if (value.id === this.newest?.id && !value.view) return; // shown, or on its way
    this.newest = value;
    try {
      const response = await fetch(value.file.url);
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      const buffer = await response.arrayBuffer();
      if (this.newest === value) this.show(value, readScene(buffer, value));
    } catch (error) {
      if (this.newest !== value) return;
      this.newest = null;
      this.find(".readout").textContent = `The image could not be loaded: ${error.message}.`;
    }
  }

  show(value, scene) {
    this.value = value;
    this.scene = scene;
    this.pins ??= new Pins(value.pin_colours.length);
    if (value.view) this.open(value.view);
    if (!scene.layers.some(({ name }) => name === this.layerName)) this.layerName = scene.layers[0].name;
    paintImage(this.find(".picture > .image"), scene.image);
    this.picture.style.aspectRatio = `${scene.image.width} / ${scene.image.height}`;
    const { title, subtitle } = value.about;
    this.find(".subject").textContent = title;
    this.find(".origin").textContent = subtitle;
    this.find(".picture > .image").setAttribute("aria-label", `Generated image: ${title}`);
    this.render();
    this.root.dataset.state = "ready";
    this.root.dataset.sample = value.id;
    if (!this.opened) this.opened = true;
    else this.remember();
  }

  /** Take over layer, baseline, opacity and pins. */
  open(view) {
    this.layerName = view.layer;
    this.baseline = view.baseline;
    this.opacity = view.opacity;
    this.pins.setCells(view.pins, this.layer.queryGrid);
  }

  get layer() {
    return this.scene.layers.find(({ name }) => name === this.layerName);
  }

  pinCells() {
    return this.pins.cells(this.layer.queryGrid);
  }

  /** The attention of one query cell: Float32Array of weights that sum to 1. */
  rowAt(row, col, weights) {
    return attentionRow(this.layer, row * this.layer.queryGrid.width + col, weights);
  }

  /** The same in multiples of the baseline. */
  mapAt(row, col) {
    return multiples(this.layer, this.rowAt(row, col), this.baseline);
  }

  /** All that decides the picture, for the address and for saving. */
  state() {
    const { label, seed, truncation } = this.value.about;
    const { baseline, opacity } = this;
    const pins = this.pinCells().map(({ row, col }) => [row, col]);
    return { id: this.value.id, label, seed, truncation, layer: this.layerName, baseline, opacity, pins };
  }

  /** Change `layer`, `baseline` or `opacity`. */
  set({ layer = this.layerName, baseline = this.baseline, opacity = this.opacity }) {
    if (!this.scene) return;
    Object.assign(this, { layerName: layer, baseline, opacity });
    this.cursor = null;
    this.preview = null;
    this.changed();
  }

  // Painting

  /** Paint everything but the map under the pointer. */
  render() {
    const { layer, scene } = this;
    const cells = this.pinCells();
    const colours = this.value.pin_colours;
    this.maps = cells.map(({ row, col }) => this.mapAt(row, col));
    this.top = scaleTop(this.maps);
    this.root.style.setProperty("--opacity", this.opacity);
    this.markers.show(cells, layer.queryGrid, colours);
    this.panels.show(scene, layer, this.top, cells.map((cell, i) => ({ cell, map: this.maps[i], ...colours[i] })));
    this.find(".count").textContent = `${cells.length} of ${this.pins.most}`;
    this.find(".clear").disabled = cells.length === 0;
    this.find(".empty").hidden = cells.length > 0;
    this.find(".legend").textContent = legend(this.baseline);
    this.showNotes(layer.notes);
    this.paintPreview();
  }

  showNotes(notes) {
    const items = notes.map(({ text, warning }) => {
      const item = document.createElement("li");
      item.textContent = text;
      item.classList.toggle("warning", warning);
      return item;
    });
    this.find(".notes").replaceChildren(...items);
  }

  /** Paint the map of the previewed cell over the large image, or take it away. */
  paintPreview() {
    const cell = this.preview;
    this.mapCanvas.hidden = this.cell.hidden = !cell;
    if (!cell) {
      const touch = window.matchMedia("(hover: none)").matches;
      this.find(".readout").textContent = touch ? TOUCH_HINT : HINT;
      return;
    }
    const { layer, scene } = this;
    const weights = this.rowAt(cell.row, cell.col);
    const map = multiples(layer, weights, this.baseline);
    paintMap(this.mapCanvas, map, layer.keyGrid, this.top, scene.colours);
    coverCell(this.cell, cell, layer.queryGrid);
    const words = describeMap(layer, weights, map, this.baseline, this.top);
    this.find(".readout").textContent = `${describeCell(cell)}: ${words}`;
  }

  /** Show the map of a cell {row, col} on the large image from the next frame on; null for none. */
  hover(cell) {
    if (!this.scene) return;
    this.preview = cell ?? this.cursor;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paintPreview();
    });
  }

  /** Something that the address holds has changed. */
  changed() {
    this.render();
    this.remember();
  }

  remember() {
    showInAddress(this.state());
  }

  // Pins

  add(cell) {
    const index = this.pins.add(cell, this.layer.queryGrid);
    if (index < 0) {
      const full = `There are ${this.pins.most} pins already. Remove one first.`;
      cancelAnimationFrame(this.frame); // a paint still due would write over the words
      this.frame = 0;
      this.say(full);
      this.find(".readout").textContent = full;
      return;
    }
    this.changed();
    this.speak(index);
  }

  remove(index) {
    this.pins.remove(index);
    this.cursor = this.preview = null;
    this.changed();
    this.say(`Pin ${index + 1} removed.`);
    if (this.pins.count) this.markers.focus(Math.min(index, this.pins.count - 1));
    else this.picture.focus({ preventScroll: true });
  }

  clear() {
    this.pins.clear();
    this.cursor = this.preview = null;
    this.changed();
    this.say("All pins removed.");
    this.picture.focus({ preventScroll: true });
  }

  markerActions() {
    const moved = (index, move) => {
      move();
      this.preview = this.pinCells()[index];
      this.changed();
    };
    return {
      cellUnder: (event) => this.cellUnder(event),
      cellOf: (index) => this.pinCells()[index],
      moved: (index, cell) => moved(index, () => this.pins.move(index, cell, this.layer.queryGrid)),
      stepped: (index, rows, cols) => {
        moved(index, () => this.pins.step(index, rows, cols, this.layer.queryGrid));
        this.cursor = this.preview;
        this.speak(index);
      },
      removed: (index) => this.remove(index),
      focused: (index) => {
        if (!this.markers.parent.children[index].matches(":focus-visible")) return;
        this.cursor = this.pinCells()[index];
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

  // Pointer and keys on the image

  listen() {
    const { picture } = this;
    picture.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch" && this.scene) this.hover(this.cellUnder(event));
    });
    picture.addEventListener("pointerleave", () => this.hover(null));
    picture.addEventListener("click", (event) => {
      if (this.scene && !event.target.closest(".marker")) this.add(this.cellUnder(event));
    });
    picture.addEventListener("keydown", (event) => this.key(event));
    picture.addEventListener("blur", () => {
      this.cursor = null;
      this.hover(null);
    });
    this.find(".clear").addEventListener("click", () => this.clear());
  }

  cellUnder(event) {
    return cellAt(event.clientX, event.clientY, this.picture.getBoundingClientRect(), this.layer.queryGrid);
  }

  key(event) {
    if (!this.scene || event.target !== this.picture) return;
    const { queryGrid } = this.layer;
    const step = arrowStep(event);
    if (step) {
      const middle = { row: queryGrid.height >> 1, col: queryGrid.width >> 1 };
      this.cursor = this.cursor ? stepped(this.cursor, ...step, queryGrid) : middle;
      this.hover(this.cursor);
      this.sayLater(() => this.sentence(describeCell(this.cursor), this.cursor));
    } else if (this.cursor && (event.key === "Enter" || event.key === " ")) {
      this.add(this.cursor);
    } else if (event.key === "Escape") {
      this.cursor = null;
      this.hover(null);
    } else return;
    event.preventDefault();
  }

  // Words for screen readers

  speak(index) {
    this.sayLater(() => {
      const cell = this.pinCells()[index];
      const name = `Pin ${index + 1}, ${this.value.pin_colours[index].name}`;
      return cell && this.sentence(`${name}, ${describeCell(cell).toLowerCase()}`, cell);
    });
  }

  sentence(start, { row, col }) {
    const weights = this.rowAt(row, col);
    const map = multiples(this.layer, weights, this.baseline);
    return `${start}: ${describeMap(this.layer, weights, map, this.baseline, this.top)}`;
  }

  sayLater(sentence) {
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => this.say(sentence() ?? ""), SPEAK_AFTER);
  }

  say(sentence) {
    clearTimeout(this.speaking);
    this.find(".spoken").textContent = sentence;
    // With a finger nothing is ever under the pointer: there the sentence is shown, too.
    if (sentence && !this.preview) this.find(".readout").textContent = sentence;
  }
}
