// Blocked places: key cells that the layer may not look at, painted or boxed on the image.

import { cellAt } from "./maths.js";

/** All cells of a grid between two cells, as indices. */
export function boxCells(from, to, grid) {
  const cells = [];
  for (let row = Math.min(from.row, to.row); row <= Math.max(from.row, to.row); row++) {
    for (let col = Math.min(from.col, to.col); col <= Math.max(from.col, to.col); col++) cells.push(row * grid.width + col);
  }
  return cells;
}

/** Cells of the straight line between two cells, so that a fast stroke leaves no gaps. */
export function strokeCells(from, to, grid) {
  const steps = Math.max(Math.abs(to.row - from.row), Math.abs(to.col - from.col), 1);
  const cells = new Set();
  for (let step = 0; step <= steps; step++) {
    const row = Math.round(from.row + ((to.row - from.row) * step) / steps);
    const col = Math.round(from.col + ((to.col - from.col) * step) / steps);
    cells.add(row * grid.width + col);
  }
  return [...cells];
}

/** As many cells as `count`, drawn at random from a grid, ascending. */
export function randomCells(count, grid) {
  const all = Array.from({ length: grid.height * grid.width }, (_, cell) => cell);
  for (let i = 0; i < count; i++) {
    const other = i + Math.floor(Math.random() * (all.length - i));
    [all[i], all[other]] = [all[other], all[i]];
  }
  return all.slice(0, count).sort((a, b) => a - b);
}

/**
 * Painting on a pane's picture while `active()`; `tool()` is "paint", "box" or "erase".
 * `changed(cells, done)` gets the new blocked cells, at the end of a stroke with `done`.
 */
export function paintOn(pane, { active, tool, blocked, changed }) {
  const { picture } = pane;
  let stroke = null; // {from, last, before, cells}
  const cellOf = (event) => cellAt(event.clientX, event.clientY, picture.getBoundingClientRect(), pane.layer.keyGrid);
  const result = () => {
    const cells = new Set(stroke.before);
    for (const cell of stroke.cells) if (tool() === "erase") cells.delete(cell);
      else cells.add(cell);
    return [...cells].sort((a, b) => a - b);
  };
  picture.addEventListener("pointerdown", (event) => {
    if (!active() || event.button !== 0 || !event.isPrimary || event.target.closest(".marker")) return;
    picture.setPointerCapture(event.pointerId);
    const from = cellOf(event);
    stroke = { from, last: from, before: blocked(), cells: new Set(strokeCells(from, from, pane.layer.keyGrid)) };
    changed(result(), false);
    event.preventDefault();
  });
  picture.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    const cell = cellOf(event);
    const grid = pane.layer.keyGrid;
    if (tool() === "box") stroke.cells = new Set(boxCells(stroke.from, cell, grid));
    else for (const one of strokeCells(stroke.last, cell, grid)) stroke.cells.add(one);
    stroke.last = cell;
    changed(result(), false);
  });
  const end = () => {
    if (!stroke) return;
    const cells = result();
    stroke = null;
    changed(cells, true);
  };
  picture.addEventListener("pointerup", end);
  picture.addEventListener("pointercancel", end);
}
