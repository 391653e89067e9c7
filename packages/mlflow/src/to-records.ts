/** What callers log, as records of the journal: by MLflow's names and in portions that it takes. Pure. */
import { isAbsolute, relative, sep } from "node:path";
import { invariant } from "@holdfast/runtime";
import type { MetricValue } from "./client/client.ts";
import { RECORD_ENTRIES_MAX, RUN_KEY_MAX, type DataRecord } from "./journal/record.ts";
import { toMlflowKey, toParamValue, toTagValue } from "./names.ts";

/** Values by name. */
export interface RunData {
  readonly params?: Readonly<Record<string, string>>;
  readonly tags?: Readonly<Record<string, string>>;
  readonly metrics?: Readonly<Record<string, number>>;
}

/** When a metric was taken. */
export interface MetricInstant {
  readonly at: number;
  readonly step: number;
}

/** Texts of one record, characters: what is larger goes into several. */
const RECORD_CHARS_MAX = 200_000;

/** Records for values of a run; none for no values. */
export function toDataRecords(key: string, data: RunData, instant: MetricInstant): DataRecord[] {
  checkKey(key);
  const { at, step } = instant;
  invariant(Number.isSafeInteger(step), `the step of a metric is a whole number, not ${step}`);
  invariant(Number.isSafeInteger(at) && at >= 0, `the instant of a metric is epoch ms, not ${at}`);
  const params = Object.entries(data.params ?? {});
  const tags = Object.entries(data.tags ?? {});
  const metrics = Object.entries(data.metrics ?? {});
  const empty = { t: "data", key, params: [], tags: [], metrics: [] } as const;
  const paramRows = params.map(([name, value]): [string, string] => [
    toMlflowKey(name),
    toParamValue(value),
  ]);
  const tagRows = tags.map(([name, value]): [string, string] => [
    toMlflowKey(name),
    toTagValue(value),
  ]);
  const metricRows = metrics.map(([name, value]): DataRecord["metrics"][number] => [
    toMlflowKey(name),
    toMetricValue(value),
    at,
    step,
  ]);
  const whole = { ...empty, params: paramRows, tags: tagRows, metrics: metricRows };
  if (isSmall(paramRows) && isSmall(tagRows) && isSmall(metricRows)) {
    return params.length + tags.length + metrics.length === 0 ? [] : [whole];
  }
  return [
    ...portions(paramRows).map((rows) => ({ ...empty, params: rows, tags: [], metrics: [] })),
    ...portions(tagRows).map((rows) => ({ ...empty, params: [], tags: rows, metrics: [] })),
    ...portions(metricRows).map((rows) => ({ ...empty, params: [], tags: [], metrics: rows })),
  ];
}

/** The path of a file as the journal keeps it: relative where the folder is moved together with it. */
export function toFileReference(folder: string, file: string): string {
  const path = relative(folder, file);
  const [up, further] = path.split(sep);
  const isNear = !isAbsolute(path) && !(up === ".." && further === "..");
  return isNear ? path : file;
}

/** Throws unless a key can be one: a bug of the caller. */
export function checkKey(key: string): void {
  invariant(
    key.length > 0 && key.length <= RUN_KEY_MAX,
    `the key of a run has 1 to ${RUN_KEY_MAX} characters, not ${key.length}`,
  );
}

function toMetricValue(value: number): MetricValue {
  if (Number.isFinite(value)) return value;
  if (Number.isNaN(value)) return "NaN";
  return value > 0 ? "Infinity" : "-Infinity";
}

function isSmall(rows: readonly (readonly unknown[])[]): boolean {
  return rows.length <= RECORD_ENTRIES_MAX && charsOf(rows) <= RECORD_CHARS_MAX / 3;
}

function charsOf(rows: readonly (readonly unknown[])[]): number {
  return rows.reduce((sum, row) => sum + row.reduce<number>((all, one) => all + sizeOf(one), 0), 0);
}

function sizeOf(value: unknown): number {
  return typeof value === "string" ? value.length : 20;
}

function portions<T extends readonly unknown[]>(rows: readonly T[]): T[][] {
  const found: T[][] = [];
  let portion: T[] = [];
  let chars = 0;
  for (const row of rows) {
    const size = charsOf([row]);
    const isFull = portion.length >= RECORD_ENTRIES_MAX || chars + size > RECORD_CHARS_MAX;
    if (isFull && portion.length > 0) {
      found.push(portion);
      portion = [];
      chars = 0;
    }
    portion.push(row);
    chars += size;
  }
  return portion.length === 0 ? found : [...found, portion];
}
