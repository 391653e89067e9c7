/** What is to be done next for a run, decided from its records in their order. Pure. */
import { assertNever } from "@holdfast/runtime";
import type { Batch } from "../client/client.ts";
import type {
  ArtifactRecord,
  DataRecord,
  EndRecord,
  JournalRecord,
  Position,
  StartRecord,
} from "../journal/record.ts";

/** A record that waits for its delivery. */
export interface Item<R extends JournalRecord = JournalRecord> {
  readonly position: Position;
  readonly record: R;
  readonly sizeBytes: number;
}

/** One step of a run: one call, or some that belong together. */
export type Step =
  | { readonly kind: "start"; readonly item: Item<StartRecord> }
  | { readonly kind: "data"; readonly items: readonly Item<DataRecord>[] }
  | { readonly kind: "artifact"; readonly item: Item<ArtifactRecord> }
  | { readonly kind: "end"; readonly item: Item<EndRecord> };

/** MLflow's limits of one `log-batch` (`utils/validation.py`, 3.17.2). */
const BATCH_MAX = 1_000;
const BATCH_PARAMS_MAX = 100;
const BATCH_TAGS_MAX = 100;
/** MLflow names 1,000,000; proxies before it often allow 1 MiB. */
const BATCH_BYTES_MAX = 800_000;

/** The first step of records that are not none; `data` takes as many records as one batch holds. */
export function nextStep(items: readonly Item[]): Step | undefined {
  const [first] = items;
  if (first === undefined) return undefined;
  const { record } = first;
  switch (record.t) {
    case "start":
      return { kind: "start", item: { ...first, record } };
    case "artifact":
      return { kind: "artifact", item: { ...first, record } };
    case "end":
      return { kind: "end", item: { ...first, record } };
    case "data":
      return { kind: "data", items: takeBatch(items) };
    default:
      return assertNever(record);
  }
}

function takeBatch(items: readonly Item[]): readonly Item<DataRecord>[] {
  const taken: Item<DataRecord>[] = [];
  const counts = { params: 0, tags: 0, metrics: 0, bytes: 0 };
  const params = new Map<string, string>();
  const tags = new Map<string, string>();
  for (const item of items) {
    const { record } = item;
    if (record.t !== "data") break;
    counts.params += record.params.length;
    counts.tags += record.tags.length;
    counts.metrics += record.metrics.length;
    counts.bytes += item.sizeBytes;
    const isOver =
      counts.params > BATCH_PARAMS_MAX ||
      counts.tags > BATCH_TAGS_MAX ||
      counts.params + counts.tags + counts.metrics > BATCH_MAX ||
      counts.bytes > BATCH_BYTES_MAX;
    // A key that comes again with another value is MLflow's to judge, after the first one.
    const isAgain = clashes(record.params, params) || clashes(record.tags, tags);
    if (taken.length > 0 && (isOver || isAgain)) break;
    for (const [key, value] of record.params) params.set(key, value);
    for (const [key, value] of record.tags) tags.set(key, value);
    taken.push({ ...item, record });
  }
  return taken;
}

function clashes(
  pairs: readonly (readonly [string, string])[],
  seen: ReadonlyMap<string, string>,
): boolean {
  return pairs.some(([key, value]) => seen.has(key) && seen.get(key) !== value);
}

/** A part of a batch that can be refused by itself. */
export interface Entry {
  readonly item: Item<DataRecord>;
  /** Tells it from the others of its record. */
  readonly name: string;
  readonly part: Partial<DataRecord>;
}

/** The single entries of a batch's records. */
export function entriesOf(items: readonly Item<DataRecord>[]): readonly Entry[] {
  return items.flatMap((item) => {
    const { params, tags, metrics } = item.record;
    return [
      ...params.map((one) => ({ item, name: `param ${one[0]}`, part: { params: [one] } })),
      ...tags.map((one) => ({ item, name: `tag ${one[0]}`, part: { tags: [one] } })),
      ...metrics.map((one, index) => ({
        item,
        name: `metric ${one[0]} ${index}`,
        part: { metrics: [one] },
      })),
    ];
  });
}

/**
 * Entries as MLflow takes them. A param or tag that comes twice is sent once: MLflow refuses a batch with
 * the same param twice, also with the same value. Of two values for one key within one record the last wins.
 */
export function toBatch(entries: readonly Entry[]): Batch {
  const params = new Map<string, string>();
  const tags = new Map<string, string>();
  const metrics: Batch["metrics"][number][] = [];
  for (const { part } of entries) {
    for (const [key, value] of part.params ?? []) params.set(key, value);
    for (const [key, value] of part.tags ?? []) tags.set(key, value);
    for (const [key, value, timestamp, step] of part.metrics ?? []) {
      metrics.push({ key, value, timestamp, step });
    }
  }
  return { params: toPairs(params), tags: toPairs(tags), metrics };
}

function toPairs(map: ReadonlyMap<string, string>): Batch["params"] {
  return Array.from(map, ([key, value]) => ({ key, value }));
}
