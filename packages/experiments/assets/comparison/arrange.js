// Which runs are shown, in what order, and in which cell: no element of the page in here.

/** Most checkboxes that a dimension gets; the search finds the other values. */
export const CHOICES_MAX = 200;

/** Conditions that are no dimension: name and question. */
export const CONDITIONS = [
  ["completed", (run) => run.status === "completed"],
  ["failed", (run) => run.status === "failed"],
  ["failed, a service was down", (run) => run.status === "down"],
  ["repeated", (run) => run.attempts > 1],
  ["recovered", (run) => (run.recovery ?? []).length > 0],
  ["marked as best", (run) => run.best !== undefined],
];

/** Measures of a run: name, and value or undefined. */
export function measures(model) {
  return [
    ["duration", (run) => run.durationMs / 1000],
    ["starts", (run) => run.attempts],
    ["loss", (run) => run.loss ?? 0],
    ...model.metrics.map((name) => [
      name,
      (run) => (Object.hasOwn(run.metrics ?? {}, name) ? run.metrics[name] : undefined),
    ]),
  ];
}

/** What runs can be sorted by: id, name, value. */
export function sortKeys(model) {
  return [
    ["number", "number", (run) => run.index],
    ["status", "status", (run) => ["completed", "failed", "down"].indexOf(run.status)],
    ...model.dimensions.map(({ name }, at) => [`d${at}`, name, (run) => run.values[at]]),
    ...measures(model).map(([name, of], at) => [`m${at}`, name, of]),
  ];
}

/** What is shown before anybody chose. */
export function firstState(model) {
  return {
    view: model.axes.columns === null ? "wall" : "grid",
    columns: model.axes.columns ?? -1,
    rows: model.axes.rows ?? -1,
    tabs: -1,
    tabValue: -1,
    sort: "number",
    isDescending: false,
    size: "fit",
    search: "",
    ...noFilters(),
  };
}

/** Filters that let everything through: chosen values by dimension, conditions, a range of a measure. */
export function noFilters() {
  return { chosen: new Map(), conditions: new Set(), measure: "", least: "", most: "" };
}

/** How many filters are set. */
export function filterCount({ chosen, conditions, measure, least, most }) {
  return chosen.size + (conditions.size > 0 ? 1 : 0) + (measure !== "" && least + most ? 1 : 0);
}

/** The runs that fit, in the order that was asked for; those without a value come last either way. */
export function selectRuns(model, state) {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const conditions = CONDITIONS.filter(([name]) => state.conditions.has(name));
  const [, measure] = measures(model).find(([name]) => name === state.measure) ?? [];
  const [least, most] = [state.least, state.most].map((text) => (text === "" ? NaN : Number(text)));
  const fits = (run) =>
    [...state.chosen].every(([dimension, values]) => values.has(run.values[dimension])) &&
    (conditions.length === 0 || conditions.some(([, holds]) => holds(run))) &&
    (measure === undefined || isWithin(measure(run), least, most)) &&
    (words.length === 0 || hasWords(textOf(model, run), words));
  const [, , key] = sortKeys(model).find(([id]) => id === state.sort) ?? sortKeys(model)[0];
  const sign = state.isDescending ? -1 : 1;
  return model.runs
    .filter(fits)
    .map((run) => [key(run) ?? NaN, run])
    .sort(([a, one], [b, other]) => {
      if (Number.isNaN(a) || Number.isNaN(b)) {
        return Number(Number.isNaN(a)) - Number(Number.isNaN(b)) || one.index - other.index;
      }
      return sign * (a - b) || one.index - other.index;
    })
    .map(([, run]) => run);
}

function isWithin(value, least, most) {
  if (Number.isNaN(least) && Number.isNaN(most)) return true;
  return value !== undefined && !(value < least) && !(value > most);
}

function hasWords(text, words) {
  return words.every((word) => text.includes(word));
}

const texts = new WeakMap();

function textOf(model, run) {
  const known = texts.get(run);
  if (known !== undefined) return known;
  const text = [
    run.name,
    run.title,
    run.seed,
    run.error ?? "",
    run.best ?? "",
    ...model.dimensions.map((_, at) => valueText(model, run, at)),
    ...(run.recovery ?? []),
  ]
    .join("\n")
    .toLowerCase();
  texts.set(run, text);
  return text;
}

/** A run's value of a dimension. */
export function valueText(model, run, dimension) {
  return model.dimensions[dimension].values[run.values[dimension]] ?? "not set";
}

/**
 * Runs as rows and columns: `{columns, rows, names, cellOf, placeOf}` with the values of both, their
 * dimensions' names, the runs of a cell, and the cell of a run, undefined for one that is not shown.
 * Values that no shown run has get no row. `perRow` is what a wall's width holds.
 */
export function arrangeRuns(model, state, runs, perRow) {
  if (state.view === "wall") {
    return {
      columns: Array(Math.min(perRow, runs.length)).fill(""),
      rows: Array(Math.ceil(runs.length / perRow)).fill(""),
      names: { columns: "", rows: "" },
      cellOf: (row, column) => runs.slice(row * perRow + column, row * perRow + column + 1),
      placeOf(run) {
        const at = runs.indexOf(run);
        return at === -1 ? undefined : { row: Math.floor(at / perRow), column: at % perRow };
      },
    };
  }
  const columns = axis(model, runs, state.columns);
  const rows = axis(model, runs, state.rows);
  const cells = new Map();
  for (const run of runs) {
    const place = rows.place(run) * columns.names.length + columns.place(run);
    const cell = cells.get(place);
    if (cell === undefined) cells.set(place, [run]);
    else cell.push(run);
  }
  return {
    columns: columns.names,
    rows: rows.names,
    names: {
      columns: model.dimensions[state.columns]?.name ?? "",
      rows: model.dimensions[state.rows]?.name ?? "",
    },
    cellOf: (row, column) => cells.get(row * columns.names.length + column) ?? [],
    placeOf: (run) =>
      runs.includes(run) ? { row: rows.place(run), column: columns.place(run) } : undefined,
  };
}

/** Numbers of a dimension's values that the runs have, in their order; -1 for runs without one last. */
export function usedValues(runs, dimension) {
  const used = [...new Set(runs.map((run) => run.values[dimension]))].sort((a, b) => a - b);
  return used[0] === -1 ? [...used.slice(1), -1] : used;
}

function axis(model, runs, dimension) {
  if (dimension === -1) return { names: [""], place: () => 0 };
  const used = usedValues(runs, dimension);
  const places = new Map(used.map((value, place) => [value, place]));
  return {
    names: used.map((value) => model.dimensions[dimension].values[value] ?? "not set"),
    place: (run) => places.get(run.values[dimension]),
  };
}

/** The run that stands for its cell: one with a picture, or else one that completed. */
export function topRun(runs) {
  return (
    runs.find((run) => run.images !== undefined) ??
    runs.find((run) => run.status === "completed") ??
    runs[0]
  );
}

/** The next cell in a direction that has runs; undefined at the end. */
export function nextCell(arranged, row, column, down, right) {
  for (
    let [y, x] = [row + down, column + right];
    y >= 0 && y < arranged.rows.length && x >= 0 && x < arranged.columns.length;
    y += down, x += right
  ) {
    const runs = arranged.cellOf(y, x);
    if (runs.length > 0) return { row: y, column: x, runs };
  }
  return undefined;
}

/** Of a cell's runs the one that has most in common with another run. */
export function nearestRun(runs, run) {
  const shared = (one) => one.values.filter((value, at) => value === run.values[at]).length;
  let nearest = runs[0];
  for (const one of runs) if (shared(one) > shared(nearest)) nearest = one;
  return nearest;
}
