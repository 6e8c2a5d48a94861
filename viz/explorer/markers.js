// The pins on the image: buttons that can be dragged, and moved and removed with keys.

import { arrowStep } from "./pins.js";

const DRAG_STARTS = 4; // CSS pixels that a press must move before it counts as dragging

/**
 * Keeps one button per pin in `parent`. `actions` are called with the pin's index:
 * cellUnder(event), moved(index, cell), stepped(index, rows, cols), removed(index),
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
      marker.style.setProperty("--pin", colours[index].colour);
      marker.dataset.ink = inkOn(colours[index].colour);
      marker.textContent = index + 1;
      const name = `Pin ${index + 1}, ${colours[index].name}, row ${row}, column ${col}`;
      marker.setAttribute("aria-label", `${name}. Arrow keys move it, Delete removes it.`);
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
    const from = this.actions.cellOf(index);
    this.drag = { index, from, x: event.clientX, y: event.clientY, moving: false };
  }

  pull(event) {
    const { drag } = this;
    if (!drag || !event.isPrimary) return;
    drag.moving ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) >= DRAG_STARTS;
    if (drag.moving) this.actions.moved(drag.index, this.actions.cellUnder(event));
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
    else if (event.key === "Escape") this.release(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** "dark" or "light": the ink that reads better on a colour #rrggbb. */
export function inkOn(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "dark" : "light";
}
