// What a person chooses: axes, order, filters.

import { CHOICES_MAX, CONDITIONS, filterCount, measures, noFilters, sortKeys } from "./arrange.js";
import { byId, fillSelect, make } from "./elements.js";

/** Typing is over when nothing was typed for so long. */
const TYPING_MS = 150;

const ORDERS = [
  ["up", "rising"],
  ["down", "falling"],
];
const SIZE_NAMES = [
  ["fit", "Fit"],
  ["small", "Small"],
  ["medium", "Medium"],
  ["large", "Large"],
];
const VIEWS = [
  ["grid", "Grid"],
  ["wall", "All runs"],
];
const AXES = ["columns", "rows", "tabs"];

/** Makes the controls for a state, which they change; `changed()` is told each time. */
export function createControls(model, state, changed) {
  const choose = (id, options, chosen, take) => {
    fillSelect(byId(id), options, String(chosen));
    byId(id).addEventListener("change", () => {
      take(byId(id).value);
      changed();
    });
  };
  const keys = sortKeys(model).map(([id, name]) => [id, name]);
  choose("view", VIEWS, state.view, (value) => (state.view = value));
  choose("sort", keys, state.sort, (value) => (state.sort = value));
  choose("order", ORDERS, "up", (value) => (state.isDescending = value === "down"));
  choose("size", SIZE_NAMES, state.size, (value) => (state.size = value));
  const dimensions = model.dimensions.map(({ name }, at) => [String(at), name]);
  for (const axis of AXES) {
    choose(axis, [["-1", "none"], ...dimensions], state[axis], (value) =>
      takeAxis(state, axis, Number(value)),
    );
  }
  const search = afterTyping(() => {
    state.search = byId("search").value;
    changed();
  });
  byId("search").addEventListener("input", search);
  for (const id of ["controls", "filter-fields"]) {
    byId(id).addEventListener("submit", (event) => event.preventDefault());
  }
  byId("clear").addEventListener("click", () => {
    Object.assign(state, noFilters(), { search: "" });
    byId("search").value = "";
    makeFilters(model, state, changed);
    changed();
    byId("search").focus();
  });
  makeFilters(model, state, changed);
}

/** Tells what is chosen in the places that are not chosen at. */
export function showChosen(state) {
  const count = filterCount(state);
  byId("filters-summary").textContent = count === 0 ? "Filters" : `Filters (${count} set)`;
  byId("clear").hidden = count === 0 && state.search === "";
  document.body.classList.toggle("is-wall", state.view === "wall");
}

/** A dimension is on one axis: the axis that had it takes what this one had before. */
function takeAxis(state, axis, dimension) {
  const before = state[axis];
  state[axis] = dimension;
  state.tabValue = -1;
  for (const other of AXES) {
    if (other === axis || dimension === -1 || state[other] !== dimension) continue;
    state[other] = before;
    byId(other).value = String(before);
  }
}

function makeFilters(model, state, changed) {
  byId("filter-fields").replaceChildren(
    conditionField(state, changed),
    measureField(model, state, changed),
    ...model.dimensions.map((dimension, at) => valueField(state, dimension, at, changed)),
  );
}

function conditionField(state, changed) {
  const boxes = CONDITIONS.map(([name]) =>
    checkbox(name, (isChecked) => {
      if (isChecked) state.conditions.add(name);
      else state.conditions.delete(name);
      changed();
    }),
  );
  return field("Status", boxes);
}

function valueField(state, { name, values }, at, changed) {
  const boxes = values.slice(0, CHOICES_MAX).map((text, value) =>
    checkbox(text, (isChecked) => {
      const chosen = state.chosen.get(at) ?? new Set();
      if (isChecked) chosen.add(value);
      else chosen.delete(value);
      if (chosen.size > 0) state.chosen.set(at, chosen);
      else state.chosen.delete(at);
      changed();
    }),
  );
  const more = values.length - CHOICES_MAX;
  if (more > 0) boxes.push(make("p", "quiet", `and ${more} more: use the search`));
  return field(name, boxes);
}

function measureField(model, state, changed) {
  const select = make("select");
  select.setAttribute("aria-label", "Measure");
  fillSelect(
    select,
    [["", "any"], ...measures(model).map(([name]) => [name, name])],
    state.measure,
  );
  const inputs = ["least", "most"].map((end) => {
    const input = make("input");
    input.type = "number";
    input.step = "any";
    input.placeholder = end;
    input.setAttribute("aria-label", end === "least" ? "At least" : "At most");
    input.addEventListener(
      "input",
      afterTyping(() => {
        state[end] = input.value;
        changed();
      }),
    );
    return input;
  });
  select.addEventListener("change", () => {
    state.measure = select.value;
    changed();
  });
  return field("Measure", [make("div", "measure", select, ...inputs)]);
}

function field(title, children) {
  return make("fieldset", "", make("legend", "", title), make("div", "choices", ...children));
}

function checkbox(text, changed) {
  const input = make("input");
  input.type = "checkbox";
  input.addEventListener("change", () => changed(input.checked));
  return make("label", "", input, make("span", "", text));
}

function afterTyping(act) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => act(), TYPING_MS);
  };
}
