import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, it } from "vitest";
import {
  BackgroundCalls,
  callProvider,
  forEachAtOnce,
  PROVIDER_CALL_MS,
} from "./provider-calls.ts";

describe("calls that a round does not wait for", () => {
  const setUp = () => {
    const clock = createFakeClock();
    const failed: string[] = [];
    const calls = new BackgroundCalls(clock, (_, key) => void failed.push(key));
    return { clock, failed, calls };
  };
  const hang = (): Promise<void> => new Promise(() => undefined);

  it("are waited for a while, then left alone", async () => {
    const { clock, calls } = setUp();
    calls.begin("a", "pool", hang);
    const settled = calls.settle(1_000).then(() => "went on");
    await clock.advance(1_000);
    expect(await settled).toBe("went on");
    expect(calls.has("a")).toBe(true);
  });

  it("are one of a key, and eight of a pool: another pool has its own", async () => {
    const { calls } = setUp();
    const begun: string[] = [];
    const begin = (key: string, pool: string): void =>
      calls.begin(key, pool, () => {
        begun.push(key);
        return hang();
      });
    for (let at = 0; at < 10; at += 1) begin(`a${at}`, "a");
    begin("a0", "a");
    begin("b0", "b");
    expect(begun).toEqual([...Array.from({ length: 8 }, (_, at) => `a${at}`), "b0"]);
  });

  it("make room when they end, and what one threw is thrown once", async () => {
    const { calls, failed } = setUp();
    calls.begin("a", "pool", () => Promise.reject(new Error("boom")));
    await expect(calls.settle(1_000)).rejects.toThrow("boom");
    expect(failed).toEqual(["a"]);
    expect(calls.has("a")).toBe(false);
    await calls.settle(1_000);
  });
});

it("a provider that does not answer may have heard all the same", async () => {
  const clock = createFakeClock();
  const { signal } = new AbortController();
  const answer = callProvider(
    clock,
    signal,
    (limited) =>
      new Promise((_, reject) => {
        limited.addEventListener("abort", () => reject(limited.reason as Error));
      }),
  );
  await clock.advance(PROVIDER_CALL_MS);
  expect(await answer).toMatchObject({
    kind: "trouble",
    trouble: { kind: "unavailable", mayHaveHappened: true },
  });
});

it("looks at each once, and lets other work in between", async () => {
  const seen = new Set<number>();
  let turns = 0;
  let isOver = false;
  const turn = (): void => {
    turns += 1;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  await forEachAtOnce(
    Array.from({ length: 2_000 }, (_, at) => at),
    async (at) => void seen.add(at),
  );
  isOver = true;
  expect(seen.size).toBe(2_000);
  expect(turns).toBeGreaterThan(3);
});
