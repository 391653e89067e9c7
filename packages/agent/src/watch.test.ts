import { describe, expect, it } from "vitest";
import type { PromptLookup, SocketEvent } from "@holdfast/comfyui";
import { parseSocketMessage } from "@holdfast/comfyui/protocol";
import { NO_FAILPOINTS } from "@holdfast/runtime";
import { createFakeClock } from "@holdfast/runtime/testing";
import { DEFAULT_LIMITS } from "./limits.ts";
import { createWarmth, type Warmth } from "./warmth.ts";
import { PromptWatch, type WatchResult } from "./watch.ts";

const ID = "p";
const STALL_MS = 120_000;
/** A socket's pause between two connections. */
const SETTLE_MS = 500;
const RUNNING: PromptLookup = { kind: "running", promptId: ID, number: 1, outputs: ["3"] };

/** Told on every connection while something of this client runs; without the prompt's id (F7). */
const GREETING = parseSocketMessage(JSON.stringify({ type: "executing", data: { node: "2" } }));

interface Watched {
  /** Instants at which the socket was made anew. */
  readonly refreshes: readonly number[];
  ended(): { readonly result: WatchResult; readonly at: number } | undefined;
  socket(isOpen: boolean): void;
  hear(type: string): void;
  advance(ms: number): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Watches a prompt that hangs in its first node, told only what a test lets through, `whileLooking`
 * before the queue's answer comes.
 */
function watchHanging(
  isOpen: boolean,
  whileLooking?: string,
  warmth: Warmth = createWarmth(),
): Watched {
  const clock = createFakeClock();
  const refreshes: number[] = [];
  const abort = new AbortController();
  let isSocketOpen = isOpen;
  let ended: { result: WatchResult; at: number } | undefined;
  const tell = (event: SocketEvent): void => watch.onSocket(event);
  const hear = (type: string): void => {
    const text = JSON.stringify({ type, data: { prompt_id: ID } });
    tell({ kind: "message", message: parseSocketMessage(text) });
  };
  const setSocket = (open: boolean): void => {
    isSocketOpen = open;
    tell({ kind: "state", state: open ? "open" : "closed", reason: "" });
    if (open) tell({ kind: "message", message: GREETING });
  };
  const watch = new PromptWatch({
    lease: {
      executionLimitMs: 30 * 60_000,
      graph: {},
      stall: { firstLoadMs: STALL_MS, progressMs: STALL_MS },
    },
    promptId: ID,
    isOwnClient: true,
    clock,
    limits: DEFAULT_LIMITS,
    failpoints: NO_FAILPOINTS,
    warmth,
    instance: {
      isSocketOpen: () => isSocketOpen,
      noteTrouble: () => undefined,
      observe: () => undefined,
      refreshSocket: () => {
        const now = clock.elapsed();
        // As an instance does: no more often than it looks at itself.
        if (now - (refreshes.at(-1) ?? -Infinity) < DEFAULT_LIMITS.healthEveryMs) return;
        refreshes.push(now);
        setSocket(false);
        void clock.sleep(SETTLE_MS, abort.signal).then(
          () => setSocket(true),
          () => undefined,
        );
      },
      client: {
        history: () => Promise.resolve({ kind: "ok", entry: undefined }),
        lookUp: () => {
          if (whileLooking !== undefined) hear(whileLooking);
          return Promise.resolve(RUNNING);
        },
      },
    },
    onShown: () => undefined,
    onPixels: () => undefined,
    onPhase: () => undefined,
  });
  const running = watch.untilEnd(abort.signal).then(
    (result) => {
      ended = { result, at: clock.elapsed() };
    },
    () => undefined,
  );
  return {
    refreshes,
    ended: () => ended,
    socket: setSocket,
    hear,
    advance: (ms) => clock.advance(ms),
    stop: async () => {
      abort.abort(new Error("the test is over"));
      await running;
    },
  };
}

describe("a run that hangs", () => {
  it("is a stall in its time, though it began while the socket was down", async () => {
    const watched = watchHanging(false);
    await watched.advance(2_000);
    watched.socket(true);
    await watched.advance(STALL_MS + 5_000);
    expect(watched.ended()).toEqual({ result: { kind: "stalled" }, at: 2_000 + STALL_MS });
    await watched.stop();
  });

  it("is a stall in its time, though the open socket told nothing of it (F8)", async () => {
    const watched = watchHanging(true);
    await watched.advance(STALL_MS + 10_000);
    expect(watched.ended()?.result).toEqual({ kind: "stalled" });
    await watched.stop();
  });
});

describe("a socket that tells nothing of a run", () => {
  it("is made anew once when it was open from the beginning: it is deaf (F8)", async () => {
    const watched = watchHanging(true);
    await watched.advance(STALL_MS - 10_000);
    expect(watched.refreshes).toEqual([DEFAULT_LIMITS.silentLookMs]);
    await watched.stop();
  });

  it("is left alone when it came later: what it could tell was before it", async () => {
    const watched = watchHanging(false);
    await watched.advance(2_000);
    watched.socket(true);
    await watched.advance(STALL_MS / 2 - 1_000);
    expect(watched.refreshes).toEqual([]);
    // Half-way to a stall it is worth a try.
    await watched.advance(2_000);
    expect(watched.refreshes).toHaveLength(1);
    await watched.stop();
  });

  it("is left alone when an event came while the queue was asked", async () => {
    const watched = watchHanging(true, "execution_start");
    await watched.advance(STALL_MS / 2 - 1_000);
    expect(watched.refreshes).toEqual([]);
    await watched.stop();
  });
});

describe("a run that fails", () => {
  it("leaves the process not warm: what it had in memory may have been thrown out", async () => {
    const warmth = createWarmth();
    const watched = watchHanging(true, undefined, warmth);
    watched.hear("execution_start");
    watched.hear("execution_error");
    // The next one begins before anybody knows what came of this one.
    expect(warmth.begin("")).toBe(false);
    await watched.stop();
    const other = watchHanging(true, undefined, warmth);
    other.hear("execution_start");
    other.hear("execution_success");
    expect(warmth.begin("")).toBe(true);
    await other.stop();
  });
});
