// The comparison page of an experiment: reads the data in it, and shows it as a person chooses.

import {
  arrangeRuns,
  firstState,
  selectRuns,
  sortKeys,
  topRun,
  usedValues,
  valueText,
} from "./arrange.js";
import { createControls, showChosen } from "./controls.js";
import { Details } from "./details.js";
import {
  byId,
  countText,
  durationText,
  make,
  makeButton,
  numberText,
  timeText,
} from "./elements.js";
import { Grid } from "./grid.js";
import { showHealth } from "./health.js";
import { createPins } from "./pair.js";

const model = JSON.parse(byId("data").textContent);
const state = firstState(model);
let arranged;

const pins = createPins(model, () => grid.markPins());
const details = new Details(model, {
  arranged: () => arranged,
  pins,
  closed: (place) => place !== undefined && grid.moveTo(place.row, place.column),
});
const grid = new Grid(byId("grid"), {
  caption: captionOf,
  isPinned: (run) => pins.has(run),
  open: (place) => details.show(topRun(arranged.cellOf(place.row, place.column)), place),
  pin: (run) => pins.toggle(run),
});
createControls(model, state, () => {
  show();
  grid.toTop();
});

function show() {
  let runs = selectRuns(model, state);
  const fitting = runs.length;
  runs = showTabs(runs);
  arranged = arrangeRuns(model, state, runs, grid.perRow(state.size));
  grid.show(arranged, state.size);
  showChosen(state);
  const inTab = runs.length === fitting ? "" : `, ${runs.length.toLocaleString("en")} in this tab`;
  byId("shown").textContent =
    `${fitting.toLocaleString("en")} of ${countText(model.runs.length, "run")}${inTab}`;
  byId("nothing").hidden = fitting > 0;
}

/** Shows the tabs' values, and returns the runs of the chosen one. */
function showTabs(runs) {
  const bar = byId("tab-values");
  bar.hidden = state.view === "wall" || state.tabs === -1 || runs.length === 0;
  if (bar.hidden) return runs;
  const used = usedValues(runs, state.tabs);
  const chosen = used.includes(state.tabValue) ? state.tabValue : used[0];
  const { name, values } = model.dimensions[state.tabs];
  bar.setAttribute("aria-label", name);
  const hadFocus = bar.contains(document.activeElement);
  bar.replaceChildren(
    make("span", "quiet", name),
    ...used.map((value) => {
      const button = makeButton(values[value] ?? "not set", () => {
        state.tabValue = value;
        show();
      });
      button.setAttribute("aria-pressed", String(value === chosen));
      return button;
    }),
  );
  if (hadFocus) bar.querySelector("[aria-pressed=true]").focus();
  return runs.filter((run) => run.values[state.tabs] === chosen);
}

/** What runs are sorted by, or else their title. */
function captionOf(run) {
  if (!/^[dm]/.test(state.sort)) return run.title;
  const [id, name, of] = sortKeys(model).find(([key]) => key === state.sort);
  if (id.startsWith("d")) return `${name} ${valueText(model, run, Number(id.slice(1)))}`;
  if (name === "duration") return durationText(run.durationMs);
  const value = of(run);
  return `${name} ${value === undefined ? "–" : numberText(value)}`;
}

/** Opens a run by its number: in its cell when that is shown, else by itself. */
function openIndex(index) {
  const run = model.runs.find((one) => one.index === index);
  if (run === undefined) return;
  details.show(run, arranged.placeOf(run));
}

function showHeader() {
  byId("name").textContent = model.name;
  byId("facts").textContent = `spec ${model.specHash} · ${timeText(model.writtenAt)}`;
  const { planned, completed, failed, repeated } = model.counts;
  byId("counts").replaceChildren(
    ...[
      ["planned", planned, ""],
      ["completed", completed, "good"],
      ["failed", failed, failed > 0 ? "bad" : ""],
      ["repeated", repeated, ""],
    ].map(([name, count, className]) =>
      make("div", "", make("dt", "", name), make("dd", className, count.toLocaleString("en"))),
    ),
  );
  byId("left-out").hidden = model.leftOut === 0;
  byId("left-out").textContent =
    `${countText(model.leftOut, "run")} more than this page holds; results.ndjson has all of them.`;
  const best = model.runs.filter((run) => run.best !== undefined);
  byId("best").hidden = best.length === 0;
  byId("best").replaceChildren(
    make("span", "quiet", "Best"),
    ...best
      .slice(0, 20)
      .map((run) => makeButton(`★ ${run.name} · ${run.best}`, () => openIndex(run.index))),
  );
}

showHeader();
showHealth(model, openIndex);
show();
let width = window.innerWidth;
window.addEventListener("resize", () => {
  // A phone's bars come and go while it scrolls: only another width changes anything.
  if (window.innerWidth === width) return;
  width = window.innerWidth;
  show();
});
const asked = model.runs.find((run) => `#${run.name}` === location.hash);
if (asked !== undefined) openIndex(asked.index);
