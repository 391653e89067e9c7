import { seededRandom } from "@holdfast/runtime";
import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, test } from "vitest";
import { SILENT_LOG } from "../platform/log.ts";
import { createCircuitStore } from "./circuit-store.ts";
import type { BlobStore } from "./model.ts";

function storeThatCounts() {
  const state = { isDown: false, calls: 0, probes: 0 };
  const down = { kind: "unavailable", reason: "unplugged" } as const;
  const call = async <T>(value: T): Promise<T | typeof down> => {
    state.calls += 1;
    return state.isDown ? down : value;
  };
  const store: BlobStore = {
    description: "test",
    put: () => call({ kind: "stored" } as const),
    open: () => call({ kind: "missing" } as const),
    has: () => call({ kind: "missing" } as const),
    remove: () => call({ kind: "removed" } as const),
    async probe() {
      state.probes += 1;
      return state.isDown ? down : { kind: "ready" };
    },
    close: async () => undefined,
  };
  const clock = createFakeClock();
  const circuit = createCircuitStore({ store, clock, random: seededRandom(1), log: SILENT_LOG });
  return { state, clock, circuit };
}

test("a store that failed is not asked again until a probe found it back", async () => {
  const { state, clock, circuit } = storeThatCounts();
  expect((await circuit.has("a")).kind).toBe("missing");
  state.isDown = true;
  expect((await circuit.has("a")).kind).toBe("unavailable");
  const calls = state.calls;
  for (let i = 0; i < 10; i += 1) {
    expect(await circuit.open("a")).toMatchObject({ kind: "unavailable", reason: "unplugged" });
  }
  expect(state.calls).toBe(calls);
  expect(circuit.knownFailure()).toMatchObject({ reason: "unplugged" });
  state.isDown = false;
  await clock.advance(1_000);
  expect((await circuit.has("a")).kind).toBe("missing");
  expect(circuit.knownFailure()).toBeUndefined();
});

test("probes get rarer while it stays down, and callers that come together share one", async () => {
  const { state, clock, circuit } = storeThatCounts();
  state.isDown = true;
  await circuit.has("a");
  for (let second = 0; second < 60; second += 1) {
    await clock.advance(1_000);
    await Promise.all([circuit.has("a"), circuit.has("b"), circuit.probe()]);
  }
  expect(state.calls).toBe(1);
  expect(state.probes).toBeGreaterThan(3);
  expect(state.probes).toBeLessThan(14);
});

test("bytes that do not match say nothing against the store", async () => {
  const { circuit } = storeThatCounts();
  const mismatch = { kind: "mismatch", sha256: "b", sizeBytes: 1 } as const;
  const guarded = createCircuitStore({
    store: { ...circuit, put: async () => mismatch },
    clock: createFakeClock(),
    random: seededRandom(1),
    log: SILENT_LOG,
  });
  const body = (async function* () {})();
  expect(await guarded.put({ sha256: "a", sizeBytes: 1, body })).toEqual(mismatch);
  expect(guarded.knownFailure()).toBeUndefined();
});
