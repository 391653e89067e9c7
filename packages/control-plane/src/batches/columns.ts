/** What the columns of a table are: variables, inputs of the graph, the page's number. Pure. */
import type { CreateBatch } from "@holdfast/contract";
import { findPositiveTexts } from "@holdfast/recovery";
import { nearestName } from "@holdfast/yaml-file";
import { explainMiss } from "../jobs/overrides.ts";
import { refuse, type Refusal } from "../jobs/submission.ts";
import { kindOfColumn, type ColumnKind } from "./cell-values.ts";
import type { SetValues } from "./set-values.ts";
import type { Table } from "./table.ts";
import type { TemplatePlaces } from "./template-places.ts";

/** One column, by where its values go. */
export interface Column {
  readonly name: string;
  readonly isPage: boolean;
  readonly isVariable: boolean;
  /** Inputs that its values are put into as a whole, as `node.input`. */
  readonly inputs: readonly string[];
  readonly kind: ColumnKind;
}

/** Inputs of a graph that a wrong column is compared with. */
const INPUTS_COMPARED = 2_000;
/** Columns that a message lists. */
const COLUMNS_NAMED = 20;

/** Reads the columns of a table; a column that goes nowhere, or a place without one, is refused. */
export function readColumns(
  table: Table,
  request: Pick<CreateBatch, "bind">,
  places: TemplatePlaces,
  common: SetValues,
): { readonly kind: "columns"; readonly columns: readonly Column[] } | Refusal {
  const bind = readBind(request.bind, table, places);
  if (bind.kind === "refused") return bind;
  const columns: Column[] = [];
  const taken = new Map<string, string>();
  for (const [index, name] of table.columns.entries()) {
    const bound = bind.inputs.get(name) ?? [];
    const isInput = places.has(name);
    const isVariable = places.variables.has(name);
    const isPage = name === "page" && bound.length === 0 && !isVariable;
    if (bound.length === 0 && !isInput && !isVariable && !isPage) {
      return refuseColumn(name, unknownText(name, places));
    }
    const inputs = isInput ? [...new Set([name, ...bound])] : bound;
    for (const input of inputs) {
      const other = taken.get(input);
      if (other !== undefined) return refuseColumn(name, `sets ${input}, and so does "${other}"`);
      taken.set(input, name);
    }
    const kind = table.isTyped ? "text" : kindOfColumn(cellsOf(table, index));
    columns.push({ name, isPage, isVariable, inputs, kind });
  }
  return findMissing(table, places, common, taken) ?? { kind: "columns", columns };
}

function* cellsOf(table: Table, index: number): Generator<unknown, void, void> {
  for (const { cells } of table.rows) yield cells[index];
}

function readBind(
  bind: CreateBatch["bind"],
  table: Table,
  places: TemplatePlaces,
): { readonly kind: "bind"; readonly inputs: ReadonlyMap<string, readonly string[]> } | Refusal {
  const inputs = new Map<string, readonly string[]>();
  for (const [column, given] of Object.entries(bind ?? {})) {
    if (!table.columns.includes(column)) {
      const near = nearestName(column, table.columns);
      const meant = near === undefined ? "" : `; did you mean "${near}"?`;
      return refuseBind(column, `the table has no column "${column}"; ${listed(table)}${meant}`);
    }
    const names = typeof given === "string" ? [given] : given;
    const wrong = names.find((name) => !places.has(name));
    if (wrong !== undefined) return refuseBind(column, explainMiss(places.graph, wrong));
    if (names.length === 0) return refuseBind(column, "names no input");
    inputs.set(column, [...new Set(names)]);
  }
  return { kind: "bind", inputs };
}

/** A variable that no column and no `set` gives a value, and that no value for its input hides. */
function findMissing(
  table: Table,
  places: TemplatePlaces,
  common: SetValues,
  taken: ReadonlyMap<string, string>,
): Refusal | undefined {
  for (const [variable, inputs] of places.variables) {
    if (table.columns.includes(variable) || common.variables.has(variable)) continue;
    const open = inputs.find(({ name }) => !common.direct.has(name) && !taken.has(name));
    if (open === undefined) continue;
    return refuse(
      "invalid_request",
      `table has no column "${variable}" for {{${variable}}} of ${open.name}; ${listed(table)}, and set gives one value to all pages`,
      { field: "table", missing: variable },
    );
  }
  return undefined;
}

function unknownText(name: string, places: TemplatePlaces): string {
  const inputs = name.includes(".")
    ? Object.entries(places.graph).flatMap(([id, node]) =>
        Object.keys(node.inputs).map((input) => `${id}.${input}`),
      )
    : [];
  const compared = [...places.variables.keys(), "page", ...inputs.slice(0, INPUTS_COMPARED)];
  const near = nearestName(name, compared);
  const variables = [...places.variables.keys()].slice(0, COLUMNS_NAMED).map((one) => `{{${one}}}`);
  const has = variables.length === 0 ? "the graph has none" : `it has ${variables.join(", ")}`;
  const words = [
    `is neither a variable of the graph (${has}), nor node.input, nor "page"`,
    ...(near === undefined ? [bindHint(name, places)] : [`did you mean "${near}"?`]),
  ];
  return words.join("; ");
}

function bindHint(name: string, places: TemplatePlaces): string {
  const [text] = name === "prompt" ? findPositiveTexts(places.graph) : [];
  const example = text === undefined ? "6.text" : `${text.nodeId}.${text.input}`;
  return `bind says which inputs it sets, such as {${JSON.stringify(name)}: "${example}"}`;
}

function listed({ columns }: Table): string {
  const named = columns.slice(0, COLUMNS_NAMED).join(", ");
  return `its columns are ${named}${columns.length > COLUMNS_NAMED ? `, … (${columns.length})` : ""}`;
}

function refuseColumn(column: string, what: string): Refusal {
  return refuse("invalid_request", `table: column "${column.slice(0, 80)}" ${what}`, {
    field: "table",
    column,
  });
}

function refuseBind(column: string, what: string): Refusal {
  return refuse("invalid_request", `bind of "${column.slice(0, 80)}": ${what}`, {
    field: "bind",
    column,
  });
}
