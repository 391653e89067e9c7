import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PromptLookup } from "@holdfast/comfyui";
import {
  parseHistoryEntry,
  parseSocketMessage,
  type SocketMessage,
} from "@holdfast/comfyui/protocol";
import { attemptProgressSchema } from "@holdfast/contract";
import { DEFAULT_LIMITS } from "./limits.ts";
import {
  beginWatch,
  nextWatchStep,
  progressOf,
  type WatchEvent,
  type WatchState,
} from "./watch-state.ts";

const ID = "p";

function message(type: string, data: Record<string, unknown> = {}): SocketMessage {
  const parsed = parseSocketMessage(JSON.stringify({ type, data: { prompt_id: ID, ...data } }));
  if (parsed.kind === "unparsable") throw new Error(parsed.reason);
  return parsed;
}

const RUN: readonly SocketMessage[] = [
  message("execution_start"),
  message("execution_cached", { nodes: ["1"] }),
  message("executing", { node: "2" }),
  message("progress", { node: "2", value: 1, max: 2 }),
  message("progress", { node: "2", value: 2, max: 2 }),
  message("executing", { node: "3" }),
  message("executed", { node: "3", output: { images: [{ filename: "a.png" }] } }),
  message("execution_success"),
  message("executing", { node: null }),
];

const entry = parseHistoryEntry(
  { [ID]: { outputs: {}, status: { status_str: "success", completed: true, messages: [] } } },
  ID,
);
if (entry === undefined) throw new Error("no entry");
const finished: PromptLookup = {
  kind: "finished",
  promptId: ID,
  number: 1,
  outputs: ["3"],
  entry,
};
const running: PromptLookup = { kind: "running", promptId: ID, number: 1, outputs: ["3"] };

function play(events: readonly WatchEvent[], isSocketUseful = true): WatchState {
  return events.reduce(
    (state, event) => nextWatchStep(state, event, DEFAULT_LIMITS),
    beginWatch({ isSocketUseful, at: 0 }, DEFAULT_LIMITS),
  );
}
const hear = (messages: readonly SocketMessage[]): WatchEvent[] =>
  messages.map((each, index) => ({ kind: "message", message: each, at: index + 1 }));

describe("watching a prompt", () => {
  it("is due for a look at once when the run's closing event comes, and not before", () => {
    const before = play(hear(RUN.slice(0, 7)));
    expect(before.lookAt).toBe(7 + DEFAULT_LIMITS.silentLookMs);
    const closed = play(hear(RUN));
    expect(closed).toMatchObject({ phase: "over", lookAt: RUN.length, end: undefined });
  });

  it("is due soon when only the closing event is lost", () => {
    const state = play(hear(RUN.slice(0, -1)));
    expect(state.lookAt).toBe(RUN.length - 1 + DEFAULT_LIMITS.endingGraceMs);
  });

  it("does not take a blocked output for the end (F11)", () => {
    const blocked = message("execution_error", { exception_type: "ExecutionBlocked" });
    expect(play(hear([...RUN.slice(0, 3), blocked])).phase).toBe("running");
  });

  it("looks at once when another prompt begins while this one should run", () => {
    const state = play([...hear(RUN.slice(0, 3)), { kind: "other_started", at: 9 }]);
    expect(state.lookAt).toBe(9);
  });

  it("looks at its own pace while there is no socket, and at once when it is back", () => {
    const down = play([...hear(RUN.slice(0, 3)), { kind: "socket", isOpen: false, at: 50 }]);
    expect(down.lookAt).toBe(50 + DEFAULT_LIMITS.blindLookMs);
    const up = nextWatchStep(down, { kind: "socket", isOpen: true, at: 90 }, DEFAULT_LIMITS);
    expect(up.lookAt).toBe(90);
  });

  it("calls a prompt gone only after looking several times", () => {
    const absent: WatchEvent = { kind: "looked", found: { kind: "absent" }, at: 1 };
    const looks = Array.from({ length: DEFAULT_LIMITS.absencesMax }, () => absent);
    expect(play(looks.slice(1)).end).toBeUndefined();
    expect(play(looks).end).toEqual({ kind: "vanished" });
    // Found in between: it starts anew.
    const found: WatchEvent = { kind: "looked", found: running, at: 2 };
    expect(play([...looks.slice(1), found, absent]).end).toBeUndefined();
  });

  it("counts a step that is told twice as one sign", () => {
    const step = message("progress", { node: "2", value: 1, max: 9 });
    const once = play([
      { kind: "message", message: step, at: 5 },
      { kind: "message", message: step, at: 80 },
    ]);
    expect(once.lastSignAt).toBe(5);
    expect(once.hasProgressed).toBe(true);
  });

  it("knows the longest silences before the first step and after it, by every sign there was", () => {
    const ats = [10, 20, 520, 5_520, 5_900, 6_000, 6_010, 6_020, 6_030];
    const events = RUN.map((each, at): WatchEvent => {
      return { kind: "message", message: each, at: ats[at] ?? 0 };
    });
    const state = play(events);
    expect(state).toMatchObject({ loadSilenceMs: 5_000, stepSilenceMs: 380, isSilenceKnown: true });
    // The longest is never under any limit that would have let the run go on.
    const signs = fc.array(fc.nat({ max: 60_000 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(signs, fc.nat({ max: 30 }), (gaps, stepsFrom) => {
        let at = 0;
        const played = gaps.map((gap, index): WatchEvent => {
          at += gap;
          const value = index >= stepsFrom ? index + 1 : 0;
          const data = { node: `n${index}`, value, max: 100 };
          return { kind: "message", message: message("progress", data), at };
        });
        const { loadSilenceMs, stepSilenceMs } = play(played);
        expect(loadSilenceMs).toBe(Math.max(0, ...gaps.slice(1, stepsFrom + 1)));
        expect(stepSilenceMs).toBe(Math.max(0, ...gaps.slice(Math.max(1, stepsFrom + 1))));
      }),
    );
  });

  it("counts a silence on while we make the socket anew for it, and knows none when it was lost", () => {
    const [start, , executing] = RUN;
    if (start === undefined || executing === undefined) throw new Error("no run");
    const lost: readonly WatchEvent[] = [
      { kind: "socket", isOpen: false, at: 600 },
      { kind: "socket", isOpen: true, at: 700 },
      { kind: "message", message: executing, at: 900 },
    ];
    const begun: WatchEvent = { kind: "message", message: start, at: 100 };
    const anew = play([begun, { kind: "refresh_asked", at: 600 }, ...lost]);
    expect(anew).toMatchObject({ isSilenceKnown: true, loadSilenceMs: 800 });
    expect(play([begun, ...lost])).toMatchObject({ isSilenceKnown: false });
  });

  it("tells how far the run is", () => {
    const state = play(hear(RUN.slice(0, 4)));
    expect(progressOf(state, 4)).toEqual({
      percent: 37.5,
      nodeId: "2",
      nodesDone: 1,
      nodesTotal: 4,
    });
    expect(progressOf(play(hear(RUN)), 4).percent).toBe(100);
  });
});

describe("whatever happens on the socket", () => {
  const event: fc.Arbitrary<WatchEvent> = fc.oneof(
    fc.nat({ max: RUN.length - 1 }).map((index): WatchEvent => {
      const told = RUN[index];
      if (told === undefined) throw new Error("no such message");
      return { kind: "message", message: told, at: 0 };
    }),
    fc.boolean().map((isOpen): WatchEvent => ({ kind: "socket", isOpen, at: 0 })),
    fc.constant<WatchEvent>({ kind: "other_started", at: 0 }),
    fc.constant<WatchEvent>({ kind: "frame", at: 0 }),
    fc.constant<WatchEvent>({ kind: "looked", found: running, at: 0 }),
    fc.constant<WatchEvent>({
      kind: "looked",
      found: { kind: "unknown", cause: { kind: "timeout", afterMs: 1 } },
      at: 0,
    }),
  );
  const events = fc
    .array(fc.tuple(event, fc.nat({ max: 5_000 })), { maxLength: 60 })
    .map((steps) => {
      let at = 0;
      return steps.map(([each, pause]): WatchEvent => ({ ...each, at: (at += pause) }));
    });

  it("only the history ends a watch, and always the same way (W1)", () => {
    fc.assert(
      fc.property(events, fc.boolean(), (told, isUseful) => {
        const state = play(told, isUseful);
        expect(state.end).toBeUndefined();
        const ended = nextWatchStep(
          state,
          { kind: "looked", found: finished, at: 1e9 },
          DEFAULT_LIMITS,
        );
        expect(ended.end).toEqual({ kind: "finished", entry });
        expect(nextWatchStep(ended, { kind: "frame", at: 2e9 }, DEFAULT_LIMITS)).toBe(ended);
      }),
    );
  });

  it("a next look is always due, never later than the longest pause (W2)", () => {
    fc.assert(
      fc.property(events, fc.boolean(), (told, isUseful) => {
        const state = play(told, isUseful);
        const lastAt = told.at(-1)?.at ?? 0;
        expect(state.lookAt - lastAt).toBeLessThanOrEqual(DEFAULT_LIMITS.silentLookMaxMs);
      }),
    );
  });

  it("each node is shown once, with what came first (W4)", () => {
    fc.assert(
      fc.property(events, (told) => {
        const state = play(told);
        expect(state.shown.size).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe("progress on the wire", () => {
  it("names the node of the caller's graph where one was expanded from another", () => {
    const state = play(hear([message("executing", { node: "5.0.0.3", display_node: "5" })]));
    expect(progressOf(state, 3).nodeId).toBe("5");
    expect(state.nodeId).toBe("5.0.0.3");
  });

  it("keeps within the contract whatever ComfyUI says", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.constant("x".repeat(3_000)), fc.constant("\0\ud83d")),
        fc.double(),
        fc.double(),
        fc.nat(5),
        (node, value, max, nodesTotal) => {
          const progress: SocketMessage = {
            kind: "progress",
            promptId: ID,
            nodeId: node,
            value,
            max,
          };
          const state = play(hear([message("executing", { node }), progress]));
          const parsed = attemptProgressSchema.safeParse(
            JSON.parse(JSON.stringify(progressOf(state, nodesTotal))),
          );
          expect(parsed.success).toBe(true);
          expect(parsed.data?.nodeId?.isWellFormed() ?? true).toBe(true);
        },
      ),
    );
  });
});
