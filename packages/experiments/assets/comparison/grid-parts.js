// What the grid is made of.

import { topRun } from "./arrange.js";
import { make, makePicture } from "./elements.js";

/** The corner with the dimensions' names, and the heads of the columns that are seen. */
export function makeHeads(names, columns, seen, leftOf) {
  const corner = makePart("corner quiet", "columnheader", 1);
  if (names.columns !== "") corner.append(make("span", "across", `${names.columns} →`));
  if (names.rows !== "") corner.append(make("span", "", `${names.rows} ↓`));
  const heads = [...seen].map((column) => {
    const head = makePart("column-head", "columnheader", column + 2);
    head.append(make("span", "", columns[column]));
    head.title = columns[column];
    head.style.left = leftOf(column);
    return head;
  });
  return [corner, ...heads];
}

/** A row without its cells; with a head, unless that is empty. */
export function makeRow(row, text) {
  const element = make("div", "row");
  element.setAttribute("role", "row");
  element.setAttribute("aria-rowindex", String(row + 2));
  if (text !== "") {
    const head = makePart("row-head", "rowheader", 1);
    head.append(make("span", "", text));
    head.title = text;
    element.append(head);
  }
  return element;
}

/** A cell that knows its place. */
export function makeCell(row, column) {
  const cell = makePart("cell", "gridcell", column + 2);
  cell.dataset.row = row;
  cell.dataset.column = column;
  return cell;
}

/** Puts a cell's runs into it: the top one, and how many there are below it. */
export function fillCell(cell, runs, { caption, isPinned }) {
  if (runs.length === 0) {
    cell.classList.add("empty");
    cell.append(make("span", "", "no run"));
    return;
  }
  const top = topRun(runs);
  cell.classList.toggle("stacked", runs.length > 1);
  cell.classList.toggle("failed", top.status !== "completed");
  cell.classList.toggle("pinned", runs.some(isPinned));
  const picture = makePicture(top, top.images?.[0], "picture");
  cell.append(
    make("div", "frame", picture, marksOf(runs)),
    make("div", "caption", make("b", "", top.name), make("span", "", caption(top))),
  );
}

function marksOf(runs) {
  const marks = make("div", "marks");
  if (runs.some((run) => run.best !== undefined)) {
    marks.append(make("span", "star", "★", make("span", "unseen", " best")));
  }
  if (runs.length === 1) return marks;
  marks.append(make("span", "", `× ${runs.length}`));
  const failed = runs.filter((run) => run.status !== "completed").length;
  if (failed === 0) return marks;
  const mark = make("span", "bad-mark", failed === runs.length ? "all" : String(failed));
  // Where there is little room the colour has to say it.
  mark.append(make("span", "word", " failed"));
  marks.append(mark);
  return marks;
}

function makePart(className, role, columnIndex) {
  const part = make("div", className);
  part.setAttribute("role", role);
  part.setAttribute("aria-colindex", String(columnIndex));
  return part;
}
