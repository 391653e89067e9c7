import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { DataRecord } from "../journal/record.ts";
import { toDataRecords } from "../to-records.ts";
import { entriesOf, nextStep, toBatch, type Item } from "./batch.ts";

const instant = { at: 1, step: 0 };
const items = (records: readonly Item["record"][]): Item[] =>
  records.map((record, line) => ({
    position: { segment: 1, line },
    record,
    sizeBytes: Buffer.byteLength(JSON.stringify(record)),
  }));
const data = (values: Parameters<typeof toDataRecords>[1]): DataRecord[] =>
  toDataRecords("k", values, instant);
const numbered = (count: number, value: string) =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, value]));

describe("the next step of a run", () => {
  it("is its first record, or as many values as one call takes", () => {
    const start = { t: "start", key: "k", name: "n", at: 1 } as const;
    const artifact = { t: "artifact", key: "k", path: "p", file: "f" } as const;
    const [one] = data({ tags: { a: "1" } });
    if (one === undefined) throw new Error("no record");
    expect(nextStep(items([start, one]))).toMatchObject({ kind: "start" });
    expect(nextStep(items([one, one, artifact, one]))).toMatchObject({
      kind: "data",
      items: [{ position: { line: 0 } }, { position: { line: 1 } }],
    });
    expect(nextStep(items([artifact, one]))).toMatchObject({ kind: "artifact" });
    expect(nextStep([])).toBeUndefined();
  });

  it("does not put two values for one param into one batch", () => {
    const records = [...data({ params: { a: "1" } }), ...data({ params: { a: "2" } })];
    expect(nextStep(items(records))).toMatchObject({ items: { length: 1 } });
    const same = [...data({ params: { a: "1" } }), ...data({ params: { a: "1" } })];
    const step = nextStep(items(same));
    expect(step).toMatchObject({ items: { length: 2 } });
    if (step?.kind !== "data") throw new Error("no data");
    expect(toBatch(entriesOf(step.items)).params).toEqual([{ key: "a", value: "1" }]);
  });

  it("keeps every limit of MLflow's, whatever is logged, and loses nothing", () => {
    const values = fc.record({
      params: fc.integer({ min: 0, max: 220 }).map((n) => numbered(n, "x".repeat(n * 20))),
      tags: fc.integer({ min: 0, max: 110 }).map((n) => numbered(n, "😀".repeat(4_000))),
      metrics: fc
        .integer({ min: 0, max: 1_100 })
        .map((n) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`m${i}`, i]))),
    });
    fc.assert(
      fc.property(fc.array(values, { maxLength: 3 }), (given) => {
        let rest = items(given.flatMap(data));
        const count = (kind: "params" | "tags" | "metrics") =>
          given.reduce((sum, one) => sum + Object.keys(one[kind]).length, 0);
        const sent = { params: 0, tags: 0, metrics: 0 };
        for (let step = nextStep(rest); step !== undefined; step = nextStep(rest)) {
          if (step.kind !== "data") throw new Error("no data");
          const batch = toBatch(entriesOf(step.items));
          expect(batch.params.length).toBeLessThan(101);
          expect(batch.tags.length).toBeLessThan(101);
          const total = batch.params.length + batch.tags.length + batch.metrics.length;
          expect(total).toBeLessThan(1_001);
          expect(Buffer.byteLength(JSON.stringify(batch))).toBeLessThan(1_000_000);
          for (const one of entriesOf(step.items)) {
            for (const kind of ["params", "tags", "metrics"] as const) {
              sent[kind] += one.part[kind]?.length ?? 0;
            }
          }
          rest = rest.slice(step.items.length);
        }
        expect(sent).toEqual({
          params: count("params"),
          tags: count("tags"),
          metrics: count("metrics"),
        });
      }),
      { numRuns: 30 },
    );
  });
});
