// The pins on the image: buttons that can be dragged, and moved and removed with keys.

import { say, told } from "./language.js";

const DRAG_STARTS = 4; // CSS pixels that a press must move before it counts as dragging
export const SHAPES = ["circle", "square", "diamond", "triangle", "hexagon", "pentagon", "house", "plus"];

/**
 * Keeps one button per pin in `parent`. `actions` are called with the pin's index:
 * pointUnder(event), pointOf(index), moved(index, point), stepped(index, rows, cols), removed(index),
 * focused(index), blurred(index), settled(index).
 */
export class Markers {
  constructor(parent, actions) {
    this.parent = parent;
    this.actions = actions;
    this.drag = null; // {index, from, x, y, moving}
  }

  /** Show pins: [{row, col}] cells of a grid, and [{colour, name}] by index. */
  show(cells, grid, colours) {
    while (this.parent.childElementCount > cells.length) this.parent.lastElementChild.remove();
    while (this.parent.childElementCount < cells.length) this.parent.append(this.make());
    cells.forEach(({ row, col }, index) => {
      const marker = this.parent.children[index];
      marker.style.left = `${(100 * (col + 0.5)) / grid.width}%`;
      marker.style.top = `${(100 * (row + 0.5)) / grid.height}%`;
      dressPin(marker, index, colours[index]);
      const values = { number: index + 1, colour: told(colours[index].name), row, col };
      marker.setAttribute("aria-label", say("Pin {number}, {colour}, row {row}, column {col}. Arrow keys move it, Delete removes it.", values));
    });
  }

  focus(index) {
    this.parent.children[index]?.focus({ preventScroll: true });
  }

  make() {
    const marker = document.createElement("button");
    marker.type = "button";
    marker.className = "marker";
    const index = () => [...this.parent.children].indexOf(marker);
    marker.addEventListener("pointerdown", (event) => this.press(event, index()));
    marker.addEventListener("pointermove", (event) => this.pull(event));
    marker.addEventListener("pointerup", () => this.release(true));
    marker.addEventListener("pointercancel", () => this.release(false));
    marker.addEventListener("lostpointercapture", () => this.release(true));
    marker.addEventListener("keydown", (event) => this.key(event, index()));
    marker.addEventListener("focus", () => this.actions.focused(index()));
    marker.addEventListener("blur", () => this.actions.blurred(index()));
    return marker;
  }

  press(event, index) {
    if (event.button !== 0 || !event.isPrimary) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    const from = this.actions.pointOf(index);
    this.drag = { index, from, x: event.clientX, y: event.clientY, moving: false };
  }

  pull(event) {
    const { drag } = this;
    if (!drag || !event.isPrimary) return;
    drag.moving ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) >= DRAG_STARTS;
    if (drag.moving) this.actions.moved(drag.index, this.actions.pointUnder(event));
  }

  /** The drag ends: the pin stays where it is, or goes back to where it came from. */
  release(stays) {
    const { drag } = this;
    this.drag = null;
    if (!drag?.moving) return;
    if (!stays) this.actions.moved(drag.index, drag.from);
    this.actions.settled(drag.index);
  }

  key(event, index) {
    const step = arrowStep(event);
    if (step) this.actions.stepped(index, ...step);
    else if (event.key === "Delete" || event.key === "Backspace") this.actions.removed(index);
    else if (event.key === "Escape" && this.drag) this.release(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** Give an element a pin's number, colour and shape. */
export function dressPin(element, index, { colour }) {
  element.style.setProperty("--pin", colour);
  element.dataset.ink = inkOn(colour);
  element.dataset.shape = SHAPES[index];
  if (element.textContent !== String(index + 1)) element.textContent = index + 1;
}

/** "dark" or "light": the ink that reads better on a colour #rrggbb. */
export function inkOn(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "dark" : "light";
}

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** The step in [rows, cols] that an arrow key asks for, four cells with Shift; else null. */
export function arrowStep(event) {
  const arrow = ARROWS[event.key];
  if (!arrow || event.ctrlKey || event.metaKey || event.altKey) return null;
  return arrow.map((cells) => cells * (event.shiftKey ? 4 : 1));
}

/** The cell `rows` below and `cols` right of a cell, no further than the rim of the grid. */
export function stepped(cell, rows, cols, grid) {
  const within = (value, count) => Math.min(count - 1, Math.max(0, value));
  return { row: within(cell.row + rows, grid.height), col: within(cell.col + cols, grid.width) };
}
