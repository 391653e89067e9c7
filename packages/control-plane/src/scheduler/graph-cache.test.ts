import { describe, expect, test } from "vitest";
import type { Queryable } from "../platform/db.ts";
import { buildGraph, createGraphCache } from "./graph-cache.ts";

const NO_DB: Queryable = { query: () => Promise.reject(new Error("not asked")) };
const bodyOf = (id: number) => ({ [String(id)]: { class_type: "SaveImage", inputs: {} } });

/** A cache of 100 bytes over templates whose size is their id. */
function smallCache() {
  const reads: number[][] = [];
  const cache = createGraphCache({
    maxBytes: 100,
    read: async (_db, ids) => {
      reads.push([...ids]);
      return await Promise.resolve(
        new Map(ids.map((id) => [id, { body: bodyOf(id), sizeBytes: id }])),
      );
    },
  });
  return { reads, load: (...ids: number[]) => cache.load(NO_DB, ids) };
}

describe("the templates kept", () => {
  test("are read once, each once", async () => {
    const { load, reads } = smallCache();
    expect([...(await load(10, 20, 10)).keys()]).toEqual([10, 20]);
    expect(await load(20, 10)).toEqual(
      new Map([
        [20, bodyOf(20)],
        [10, bodyOf(10)],
      ]),
    );
    expect(reads).toEqual([[10, 20]]);
  });

  test("have a limit in bytes: what was used longest ago goes", async () => {
    const { load, reads } = smallCache();
    await load(40);
    await load(50);
    await load(40);
    await load(30); // 120 bytes: 50 goes.
    await load(40, 30);
    expect(reads).toEqual([[40], [50], [30]]);
    await load(50);
    expect(reads).toEqual([[40], [50], [30], [50]]);
  });

  test("over the limit are given all the same, not kept, and drive nothing out", async () => {
    const { load, reads } = smallCache();
    await load(40);
    expect(buildGraph(await load(150), 150, [])).toEqual(bodyOf(150));
    await load(40, 150);
    expect(reads).toEqual([[40], [150], [150]]);
  });

  test("stay whole for who was given them, though another load lets them go", async () => {
    const { load } = smallCache();
    const [mine] = await Promise.all([load(80), load(70)]);
    expect(buildGraph(mine, 80, [null])).toEqual(bodyOf(80));
  });

  test("many small ones fit where a count would have let them go", async () => {
    const { load, reads } = smallCache();
    const ones = Array.from({ length: 90 }, (_, index) => 1 + index / 1000);
    await load(...ones);
    await load(...ones);
    expect(reads).toHaveLength(1);
  });
});

test("a template that was not loaded is a bug", () => {
  expect(() => buildGraph(new Map(), 1, [])).toThrow(/graph 1 was not loaded/);
});
