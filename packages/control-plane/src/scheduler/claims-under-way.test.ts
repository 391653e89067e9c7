import { describe, expect, it } from "vitest";
import { createClaimsUnderWay } from "./claims-under-way.ts";

describe("claims under way", () => {
  it("are there until they end", () => {
    const claims = createClaimsUnderWay();
    const end = claims.begin(["a", "b"]);
    expect([claims.has("a"), claims.has("c"), claims.count()]).toEqual([true, false, 2]);
    end();
    expect([claims.has("a"), claims.count()]).toEqual([false, 0]);
  });

  it("stay with whoever began first", () => {
    const claims = createClaimsUnderWay();
    const first = claims.begin(["a"]);
    const second = claims.begin(["a", "b"]);
    second();
    expect([claims.has("a"), claims.has("b")]).toEqual([true, false]);
    first();
    second();
    expect(claims.count()).toBe(0);
  });

  it("tell those who wait for the next end, and nobody waits for none", async () => {
    const claims = createClaimsUnderWay();
    await claims.nextEnd();
    const end = claims.begin(["a"]);
    const told: string[] = [];
    const waiting = claims.nextEnd().then(() => told.push("ended"));
    await Promise.resolve();
    expect(told).toEqual([]);
    end();
    await waiting;
    expect(told).toEqual(["ended"]);
  });
});
