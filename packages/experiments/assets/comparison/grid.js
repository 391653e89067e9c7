// The grid: only the cells that are seen are in the page, so ten thousand runs scroll like ten.

import { topRun } from "./arrange.js";
import { make } from "./elements.js";
import { fillCell, makeCell, makeHeads, makeRow } from "./grid-parts.js";

/** Widths of a picture; `fit` fills the width with the columns, within its bounds. */
const SIZES = { small: 104, medium: 168, large: 264 };
const FIT = { least: 120, leastNarrow: 78, most: 400 };
/** Below it a window is a phone's. */
const NARROW = 600;
/** Below it a picture has room for short marks only. */
const TINY = 120;
/** Height of a picture by its width, where a cell is not to become a stripe or a tower. */
const RATIO = { least: 0.5, most: 1.6 };
const HEAD_WIDTH = 150;
const HEAD_WIDTH_NARROW = 72;
const HEAD_HEIGHT = 48;
const CAPTION_HEIGHT = 44;
const GAP = 8;
/** Drawn beyond the edges, in pixels. */
const OVERSCAN = 400;

/** Cells of runs that scroll in both directions and are walked with the keyboard. */
export class Grid {
  #root;
  #does;
  #heads = make("div", "heads");
  #headGroup = make("div", "head-group", this.#heads);
  #body = make("div", "rows");
  #shown = { columns: [], rows: [], names: { columns: "", rows: "" }, cellOf: () => [] };
  #layout = { cell: 0, row: 0, head: 0, top: 0 };
  #size = "fit";
  /** Of the first picture that came; the others are mostly like it. */
  #ratio;
  #focus = { row: 0, column: 0 };
  /** Rows that are in the page: element, and cells by column. */
  #drawn = new Map();
  #isDrawing = false;

  /**
   * `caption(run)` is what stands below a picture, `isPinned(run)` whether it is marked; `open(place)`
   * and `pin(run)` are told what a person does.
   */
  constructor(root, does) {
    this.#root = root;
    this.#does = does;
    this.#heads.setAttribute("role", "row");
    this.#heads.setAttribute("aria-rowindex", "1");
    for (const group of [this.#headGroup, this.#body]) group.setAttribute("role", "rowgroup");
    root.append(this.#headGroup, this.#body);
    root.addEventListener("click", (event) => this.#clicked(event));
    root.addEventListener("focusin", (event) => this.#focused(event));
    root.addEventListener("keydown", (event) => this.#pressed(event));
    root.addEventListener("load", ({ target }) => this.#loaded(target), { capture: true });
    root.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }

  /** Shows runs as `arrangeRuns` gives them, in a size. */
  show(arranged, size) {
    this.#shown = arranged;
    this.#size = size;
    const { columns, rows, names } = arranged;
    const root = this.#root;
    root.hidden = rows.length === 0;
    const isNarrow = root.clientWidth < NARROW;
    const head = names.rows === "" ? 0 : isNarrow ? HEAD_WIDTH_NARROW : HEAD_WIDTH;
    const width = SIZES[size] ?? fitting(root.clientWidth - head, columns.length, isNarrow);
    const height = Math.round(width * (this.#ratio ?? 1));
    const top = names.rows + names.columns === "" ? 0 : HEAD_HEIGHT;
    this.#layout = { cell: width + GAP, row: height + CAPTION_HEIGHT + GAP, head, top };
    this.#focus = this.#within(this.#focus);
    const hadFocus = this.#body.contains(document.activeElement);
    for (const { element } of this.#drawn.values()) element.remove();
    this.#drawn.clear();
    root.setAttribute("aria-rowcount", String(rows.length + 1));
    root.setAttribute("aria-colcount", String(columns.length + 1));
    root.classList.toggle("tiny", width < TINY);
    this.#headGroup.hidden = top === 0;
    this.#headGroup.style.height = `${top}px`;
    this.#body.style.height = `${rows.length * this.#layout.row}px`;
    for (const group of [this.#headGroup, this.#body]) {
      group.style.width = `${head + columns.length * this.#layout.cell}px`;
    }
    for (const [name, value] of Object.entries({
      picture: width,
      "picture-height": height,
      head,
    })) {
      root.style.setProperty(`--${name}`, `${value}px`);
    }
    root.style.scrollPaddingLeft = `${head}px`;
    root.style.scrollPaddingTop = `${top}px`;
    this.#draw();
    if (hadFocus) this.#cellAt(this.#focus)?.focus({ preventScroll: true });
  }

  /** Moves the focus, draws what it leads to and shows it. */
  moveTo(row, column) {
    if (this.#shown.rows.length === 0) return;
    this.#cellAt(this.#focus)?.setAttribute("tabindex", "-1");
    this.#focus = this.#within({ row, column });
    this.#draw();
    const cell = this.#cellAt(this.#focus);
    cell.tabIndex = 0;
    cell.focus({ preventScroll: true });
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** How many cells of a size a row of a wall holds. */
  perRow(size) {
    const width = this.#root.parentElement.clientWidth;
    const picture = SIZES[size] ?? (width < NARROW ? SIZES.small : SIZES.medium);
    return Math.max(1, Math.floor((width - 2 * GAP) / (picture + GAP)));
  }

  toTop() {
    this.#root.scrollTo(0, 0);
  }

  /** Marks pinned runs, after one was pinned or let go. */
  markPins() {
    for (const { cells } of this.#drawn.values()) {
      for (const cell of cells.values()) {
        const { row, column } = placeOf(cell);
        const runs = this.#shown.cellOf(row, column);
        cell.classList.toggle("pinned", runs.some(this.#does.isPinned));
      }
    }
  }

  #within({ row, column }) {
    const { rows, columns } = this.#shown;
    return {
      row: Math.max(0, Math.min(row, rows.length - 1)),
      column: Math.max(0, Math.min(column, columns.length - 1)),
    };
  }

  #cellAt({ row, column }) {
    return this.#drawn.get(row)?.cells.get(column);
  }

  #draw() {
    const { scrollTop, scrollLeft, clientHeight, clientWidth } = this.#root;
    const { row: rowHeight, cell: cellWidth, head } = this.#layout;
    const { rows, columns, names } = this.#shown;
    const seenRows = range(scrollTop, clientHeight, rowHeight, rows.length, this.#focus.row);
    const seenColumns = range(
      scrollLeft,
      clientWidth,
      cellWidth,
      columns.length,
      this.#focus.column,
    );
    const leftOf = (column) => `${head + column * cellWidth}px`;
    this.#heads.replaceChildren(...makeHeads(names, columns, seenColumns, leftOf));
    for (const [row, { element }] of this.#drawn) {
      if (seenRows.has(row)) continue;
      element.remove();
      this.#drawn.delete(row);
    }
    for (const row of seenRows) {
      const kept = this.#drawn.get(row) ?? this.#addRow(row);
      for (const [column, cell] of kept.cells) {
        if (seenColumns.has(column)) continue;
        cell.remove();
        kept.cells.delete(column);
      }
      for (const column of seenColumns) {
        if (!kept.cells.has(column)) this.#addCell(kept, row, column, leftOf(column));
      }
    }
  }

  #addRow(row) {
    const element = makeRow(row, this.#shown.names.rows === "" ? "" : this.#shown.rows[row]);
    element.style.top = `${row * this.#layout.row}px`;
    const following = firstAfter(row, this.#drawn.keys());
    this.#body.insertBefore(element, this.#drawn.get(following)?.element ?? null);
    const kept = { element, cells: new Map() };
    this.#drawn.set(row, kept);
    return kept;
  }

  #addCell({ element, cells }, row, column, left) {
    const cell = makeCell(row, column);
    cell.style.left = left;
    const isFocused = row === this.#focus.row && column === this.#focus.column;
    cell.tabIndex = isFocused ? 0 : -1;
    fillCell(cell, this.#shown.cellOf(row, column), this.#does);
    element.insertBefore(cell, cells.get(firstAfter(column, cells.keys())) ?? null);
    cells.set(column, cell);
  }

  #clicked({ target }) {
    const place = placeOf(target);
    if (place === undefined) return;
    this.moveTo(place.row, place.column);
    if (this.#shown.cellOf(place.row, place.column).length > 0) this.#does.open(place);
  }

  #focused({ target }) {
    const place = placeOf(target);
    if (place === undefined) return;
    this.#cellAt(this.#focus)?.setAttribute("tabindex", "-1");
    this.#focus = place;
    this.#cellAt(this.#focus)?.setAttribute("tabindex", "0");
  }

  #pressed(event) {
    if (event.altKey || event.metaKey || placeOf(event.target) === undefined) return;
    const { row, column } = this.#focus;
    const top = topRun(this.#shown.cellOf(row, column));
    const move = this.#moves(event.ctrlKey)[event.key];
    if (move !== undefined) this.moveTo(...move);
    else if (top === undefined) return;
    else if (event.key === "Enter" || event.key === " ") this.#does.open({ row, column });
    else if (event.key.toLowerCase() === "p" && !event.ctrlKey) this.#does.pin(top);
    else return;
    event.preventDefault();
  }

  /** Where the keys lead. */
  #moves(hasControl) {
    const { row, column } = this.#focus;
    const { rows, columns } = this.#shown;
    const page = Math.max(1, Math.floor(this.#root.clientHeight / this.#layout.row));
    return {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      PageUp: [row - page, column],
      PageDown: [row + page, column],
      Home: [hasControl ? 0 : row, 0],
      End: [hasControl ? rows.length - 1 : row, columns.length - 1],
    };
  }

  #loaded({ naturalWidth, naturalHeight }) {
    if (this.#ratio !== undefined || !naturalWidth) return;
    this.#ratio = Math.max(RATIO.least, Math.min(RATIO.most, naturalHeight / naturalWidth));
    this.show(this.#shown, this.#size);
  }

  #scrolled() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      this.#draw();
    });
  }
}

/** Numbers of what is seen along a direction, in order; the one with the focus among them. */
function range(from, length, unit, count, focused) {
  if (count === 0) return new Set();
  const first = Math.max(0, Math.floor((from - OVERSCAN) / unit));
  const last = Math.min(count - 1, Math.floor((from + length + OVERSCAN) / unit));
  const numbers = new Set([focused]);
  for (let at = first; at <= last; at += 1) numbers.add(at);
  return new Set([...numbers].sort((a, b) => a - b));
}

/** So that what is read aloud comes in the order in which it is seen; undefined after the last one. */
function firstAfter(number, numbers) {
  let first;
  for (const one of numbers) if (one > number && !(one >= first)) first = one;
  return first;
}

function placeOf(target) {
  const cell = target.closest?.("[role=gridcell]");
  return cell ? { row: Number(cell.dataset.row), column: Number(cell.dataset.column) } : undefined;
}

function fitting(width, columns, isNarrow) {
  // One pixel less on each side: a bar to scroll with would come by rounding.
  const each = Math.floor((width - 2) / Math.max(1, columns)) - GAP;
  return Math.max(isNarrow ? FIT.leastNarrow : FIT.least, Math.min(FIT.most, each));
}
