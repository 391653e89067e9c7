import { describe, expect, it } from "vitest";
import { answered, fakeApi } from "../../testing/fake-api.ts";
import { listMachines } from "./fleet-calls.ts";
import { listAll } from "./list-all.ts";

/** A server whose list has so many items. */
function serverOf(count: number) {
  return fakeApi(({ path }) => {
    const query = new URL(path, "http://x").searchParams;
    const from = Number(query.get("cursor") ?? 0);
    const to = Math.min(count, from + Number(query.get("limit")));
    const items = Array.from({ length: to - from }, (_, n) => from + n);
    return answered({ items, next: to < count ? String(to) : null });
  });
}

describe("a list", () => {
  it.each([
    [0, 10, false],
    [3, 10, false],
    [700, 600, true],
    [1_000, 1_000, false],
  ])("of %i is read page by page, at most %i of it", async (count, limit, hasMore) => {
    const listed = await listAll(serverOf(count), "/x", new URLSearchParams(), limit, Number);
    expect(listed.items).toEqual(Array.from({ length: Math.min(count, limit) }, (_, n) => n));
    expect(listed.hasMore).toBe(hasMore);
  });

  it("that says that there is more and gives nothing is not asked for ever", async () => {
    let asked = 0;
    const api = fakeApi(() => {
      asked += 1;
      if (asked > 3) throw new Error("asked again and again");
      return answered({ items: [], next: "more" });
    });
    expect(await listMachines(api, { limit: 10, isLiving: true })).toEqual({
      items: [],
      hasMore: true,
    });
  });
});
