import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, it } from "vitest";
import { createSharedLook } from "./shared-look.ts";

/** A look that takes so long on a fake clock, and finds how often it was done. */
function setUp(tookMs: number, maxMs = 2_000) {
  const clock = createFakeClock();
  let looks = 0;
  const shared = createSharedLook(
    async () => {
      looks += 1;
      const found = looks;
      await clock.sleep(tookMs);
      return found;
    },
    { clock, maxMs },
  );
  const ask = async () => {
    const asked = shared();
    await clock.advance(tookMs);
    return await asked;
  };
  return { clock, shared, ask };
}

describe("a shared look", () => {
  it("is one for all who ask while it is under way", async () => {
    const { clock, shared } = setUp(50);
    const both = Promise.all([shared(), shared()]);
    await clock.advance(50);
    expect(await both).toEqual([1, 1]);
  });

  it("holds for ten times as long as it took", async () => {
    const { clock, ask } = setUp(50);
    expect(await ask()).toBe(1);
    await clock.advance(449);
    expect(await ask()).toBe(1);
    await clock.advance(1);
    expect(await ask()).toBe(2);
  });

  it("holds no longer than it may", async () => {
    const { clock, ask } = setUp(1_000);
    expect(await ask()).toBe(1);
    await clock.advance(999);
    expect(await ask()).toBe(1);
    await clock.advance(1);
    expect(await ask()).toBe(2);
  });

  it("is done anew when it failed", async () => {
    const clock = createFakeClock();
    let looks = 0;
    const shared = createSharedLook(() => Promise.reject(new Error(`look ${(looks += 1)}`)), {
      clock,
      maxMs: 1_000,
    });
    await expect(shared()).rejects.toThrow("look 1");
    await expect(shared()).rejects.toThrow("look 2");
  });
});
