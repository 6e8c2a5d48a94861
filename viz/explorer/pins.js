// The list of pins: up to eight points of the image, each kept as a place from 0 to 1 so that it
// stays where it is when a layer with another grid is chosen.

import { cellAt } from "./maths.js";

const UNIT = { left: 0, top: 0, width: 1, height: 1 };

export class Pins {
  /** `most`: how many pins there may be. */
  constructor(most) {
    this.most = most;
    this.places = []; // {x, y}
  }

  get count() {
    return this.places.length;
  }

  /** The pins' cells in a grid, in order: [{row, col}]. */
  cells(grid) {
    return this.places.map(({ x, y }) => cellAt(x, y, UNIT, grid));
  }

  /** Replace all pins by [row, col] cells of a grid; what lies outside moves to the rim. */
  setCells(cells, grid) {
    this.places = cells.slice(0, this.most).map(([row, col]) => place({ row, col }, grid));
  }

  /** Add a pin on a cell; returns its index, that of the pin already there, or -1 when full. */
  add(cell, grid) {
    const there = this.cells(grid).findIndex(({ row, col }) => row === cell.row && col === cell.col);
    if (there >= 0) return there;
    if (this.count >= this.most) return -1;
    return this.places.push(place(cell, grid)) - 1;
  }

  move(index, cell, grid) {
    this.places[index] = place(cell, grid);
  }

  /** Move a pin by whole cells, no further than the rim. */
  step(index, rows, cols, grid) {
    this.move(index, stepped(this.cells(grid)[index], rows, cols, grid), grid);
  }

  remove(index) {
    this.places.splice(index, 1);
  }

  clear() {
    this.places = [];
  }
}

/** The cell `rows` below and `cols` right of a cell, no further than the rim of the grid. */
export function stepped(cell, rows, cols, grid) {
  const within = (value, count) => Math.min(count - 1, Math.max(0, value));
  return { row: within(cell.row + rows, grid.height), col: within(cell.col + cols, grid.width) };
}

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** The step in [rows, cols] that an arrow key asks for, four cells with Shift; else null. */
export function arrowStep(event) {
  const arrow = ARROWS[event.key];
  if (!arrow || event.ctrlKey || event.metaKey || event.altKey) return null;
  return arrow.map((cells) => cells * (event.shiftKey ? 4 : 1));
}

function place(cell, grid) {
  return { x: (cell.col + 0.5) / grid.width, y: (cell.row + 0.5) / grid.height };
}
