import type { WantedModel } from "@holdfast/contract";
import { seededRandom } from "@holdfast/runtime";
import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, it } from "vitest";
import type { AgentLog } from "./agent-log.ts";
import { ModelFetches } from "./model-fetches.ts";

const nothing = (): void => undefined;
const log: AgentLog = { debug: nothing, info: nothing, warn: nothing, error: nothing };
const model = (name: string): WantedModel => ({ folder: "loras", name });

function createKit() {
  const clock = createFakeClock();
  const stop = new AbortController();
  const asked: string[][] = [];
  const pending: { resolve: () => void; reject: (error: Error) => void }[] = [];
  let fetched = 0;
  const listed = new Set<string>();
  const fetches = new ModelFetches({
    clock,
    random: seededRandom(1),
    log,
    fetch: (models) => {
      asked.push(models.map(({ name }) => name));
      return new Promise((resolve, reject) => pending.push({ resolve, reject }));
    },
    isListed: ({ name }) => listed.has(name),
    onFetched: () => void (fetched += 1),
    onChange: nothing,
    signal: stop.signal,
  });
  return {
    clock,
    stop,
    asked,
    fetches,
    listed,
    fetched: () => fetched,
    next: () => pending.shift(),
  };
}

it("fetches what is new in the list, one call at a time", async () => {
  const kit = createKit();
  kit.fetches.want([model("a")]);
  await kit.clock.advance(0);
  kit.fetches.want([model("a"), model("b")]);
  await kit.clock.advance(1_000);
  expect(kit.asked).toEqual([["a"]]);
  // What waits for its turn is told as well: nobody else need be asked.
  expect(kit.fetches.states()).toMatchObject([
    { name: "a", state: "fetching" },
    { name: "b", state: "fetching" },
  ]);
  kit.next()?.resolve();
  await kit.clock.advance(0);
  expect(kit.asked).toEqual([["a"], ["b"]]);
  expect(kit.fetched()).toBe(1);
});

it("tells a failure with its reason, and tries again while it is wanted", async () => {
  const kit = createKit();
  kit.fetches.want([model("a")]);
  await kit.clock.advance(0);
  kit.next()?.reject(new Error("HTTP 403"));
  await kit.clock.advance(0);
  expect(kit.fetches.states()).toEqual([{ ...model("a"), state: "failed", reason: "HTTP 403" }]);
  for (let minute = 0; minute < 2; minute += 1) {
    kit.fetches.want([model("a")]);
    await kit.clock.advance(60_000);
  }
  expect(kit.asked).toHaveLength(2);
});

it("judges each model by itself: one that is refused says nothing of the others", async () => {
  const kit = createKit();
  kit.fetches.want([model("a"), model("b")]);
  await kit.clock.advance(0);
  expect(kit.asked).toEqual([["a"]]);
  kit.next()?.reject(new Error("HTTP 403"));
  await kit.clock.advance(0);
  expect(kit.asked).toEqual([["a"], ["b"]]);
  expect(kit.fetches.states()).toMatchObject([
    { name: "a", state: "failed", reason: "HTTP 403" },
    { name: "b", state: "fetching", reason: null },
  ]);
});

it("a model that is there is on its way until an instance lists it, but not for ever", async () => {
  const kit = createKit();
  kit.fetches.want([model("a"), model("b")]);
  for (let n = 0; n < 2; n += 1) {
    await kit.clock.advance(0);
    kit.next()?.resolve();
  }
  await kit.clock.advance(0);
  // Instances are asked anew for each of them.
  expect(kit.fetched()).toBe(2);
  expect(kit.fetches.states().map(({ state }) => state)).toEqual(["fetching", "fetching"]);
  kit.listed.add("a");
  expect(kit.fetches.states()).toMatchObject([{ name: "b", state: "fetching" }]);
  await kit.clock.advance(3 * 60_000);
  expect(kit.fetches.states()).toEqual([]);
});

it("what is wanted no more is forgotten, and nothing waits for it", async () => {
  const kit = createKit();
  kit.fetches.want([model("a")]);
  await kit.clock.advance(0);
  kit.next()?.reject(new Error("HTTP 403"));
  await kit.clock.advance(0);
  kit.fetches.want([]);
  await kit.clock.advance(3_600_000);
  expect(kit.asked).toHaveLength(1);
  expect(kit.clock.sleeperCount()).toBe(0);
  // Wanted anew, it is fetched anew, at once.
  kit.fetches.want([model("a")]);
  await kit.clock.advance(0);
  expect(kit.asked).toHaveLength(2);
});

it("what comes while a failure rests is fetched at once", async () => {
  const kit = createKit();
  kit.fetches.want([model("a")]);
  await kit.clock.advance(0);
  kit.next()?.reject(new Error("HTTP 403"));
  await kit.clock.advance(0);
  kit.fetches.want([model("a"), model("b")]);
  await kit.clock.advance(0);
  expect(kit.asked).toEqual([["a"], ["b"]]);
});

it("one that was fetched and is wanted still is fetched once more, after a rest", async () => {
  const kit = createKit();
  kit.fetches.want([model("a")]);
  await kit.clock.advance(0);
  kit.next()?.resolve();
  await kit.clock.advance(0);
  for (let n = 0; n < 6; n += 1) {
    expect(kit.asked).toHaveLength(1);
    kit.fetches.want([model("a")]);
    await kit.clock.advance(50_000);
  }
  kit.fetches.want([model("a")]);
  await kit.clock.advance(60_000);
  expect(kit.asked).toHaveLength(2);
});

it("ends with the agent", async () => {
  const kit = createKit();
  kit.fetches.want([model("a")]);
  await kit.clock.advance(0);
  kit.stop.abort();
  kit.next()?.reject(new Error("aborted"));
  await kit.fetches.stop();
  expect(kit.clock.sleeperCount()).toBe(0);
});
