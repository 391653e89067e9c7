import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { plan } from "../../testing/instance-facts.ts";
import { NO_FAILURES } from "./failure-record.ts";
import {
  causeText,
  decideNext,
  type Action,
  type Leftovers,
  type ProcessFacts,
  type SupervisionFacts,
} from "./supervision.ts";

const policy = { unhealthyMs: 30_000, silentMs: 20_000, recycleRestMs: 300_000 };
const NOW = 1_000_000;
const limits = { recycleAboveBytes: 1_000, memoryLimitBytes: 2_000 };

const process = (changes: Partial<ProcessFacts> = {}): ProcessFacts => ({
  pid: 7,
  digest: "r1-a",
  isManaged: true,
  isNew: false,
  startedAt: 0,
  answeredAt: 10,
  isHealthy: true,
  isListening: true,
  isBusy: false,
  isStuck: false,
  unhealthySince: null,
  silentSince: null,
  healthReason: null,
  memoryBytes: null,
  ...changes,
});
const facts = (changes: Partial<SupervisionFacts> = {}): SupervisionFacts => ({
  now: NOW,
  wanted: "run",
  wantedDigest: "r1-a",
  plan: plan(limits),
  lockRefusal: null,
  managerProblem: null,
  process: null,
  leftovers: null,
  failures: NO_FAILURES,
  asked: null,
  cardFault: null,
  cardRunsOn: false,
  drain: null,
  hasTurn: false,
  ...changes,
});
const decide = (changes: Partial<SupervisionFacts> = {}): Action =>
  decideNext(facts(changes), policy);
const running = (of: Partial<ProcessFacts>, changes: Partial<SupervisionFacts> = {}): Action =>
  decide({ process: process(of), ...changes });
const nothingInTheWay: Leftovers = { own: [], portHolder: null };
const drainFor = (
  cause: NonNullable<SupervisionFacts["drain"]>["cause"],
  isDrained: boolean,
  startedAt = NOW - 1_000,
): SupervisionFacts["drain"] => ({ cause, startedAt, isDrained });

describe("one that does not run", () => {
  test("is looked around for first, then started", () => {
    expect(decide().kind).toBe("look");
    expect(decide({ leftovers: nothingInTheWay })).toEqual({
      kind: "start",
      reason: "it is wanted here and does not run",
    });
  });

  test("is not touched while its card or port is another agent's", () => {
    const lockRefusal = "held by process 9";
    expect(decide({ lockRefusal })).toMatchObject({ kind: "blocked", reason: lockRefusal });
    expect(running({ memoryBytes: 1e9 }, { lockRefusal }).kind).toBe("blocked");
  });

  test("waits after a failure, and is given up for a while in a crash loop", () => {
    const failures = { inRow: 2, recent: [1, 2], isLooping: false, retryAt: NOW + 5 };
    expect(decide({ failures })).toMatchObject({
      kind: "wait",
      until: NOW + 5,
      reason: "it failed 2 times in a row",
    });
    expect(decide({ failures: { ...failures, inRow: 1 } })).toMatchObject({
      reason: "it failed and is started again",
    });
    const looping = { ...failures, isLooping: true };
    expect(decide({ failures: looping })).toMatchObject({ kind: "give_up", until: NOW + 5 });
    expect(decide({ failures: looping, now: NOW + 5 }).kind).toBe("look");
  });

  test("is started at once when somebody asks", () => {
    const failures = { inRow: 9, recent: [], isLooping: true, retryAt: NOW + 5 };
    expect(decide({ failures, asked: "mended", leftovers: nothingInTheWay })).toEqual({
      kind: "start",
      reason: "mended",
    });
  });

  test("stays as it is without a release or a process manager, and is forgotten when unplanned", () => {
    expect(decide({ wanted: "keep" }).kind).toBe("nothing");
    expect(decide({ managerProblem: "no pm2" })).toMatchObject({
      kind: "blocked",
      reason: "no pm2",
    });
    expect(decide({ wanted: "end" }).kind).toBe("end");
  });
});

describe("what is in the way of a start", () => {
  const holder = { pid: 9, command: "nc -l", instance: null, isPlanned: false };

  test("a process of it that listens is adopted, also without a release", () => {
    const own = [
      { pid: 5, listens: false },
      { pid: 6, listens: true },
    ];
    expect(decide({ leftovers: { own, portHolder: null } })).toMatchObject({
      kind: "adopt",
      pid: 6,
    });
    expect(decide({ wanted: "keep", leftovers: { own, portHolder: null } }).kind).toBe("adopt");
  });

  test("processes of it that do not listen are ended", () => {
    const own = [
      { pid: 5, listens: false },
      { pid: 6, listens: false },
    ];
    expect(decide({ leftovers: { own, portHolder: null } })).toMatchObject({
      kind: "end_orphan",
      pids: [5, 6],
    });
  });

  test("a stranger is named, and never ended", () => {
    const told = (of: Partial<typeof holder>): Action =>
      decide({ leftovers: { own: [], portHolder: { ...holder, ...of } } });
    expect(told({})).toMatchObject({
      kind: "blocked",
      reason: expect.stringContaining("process 9 (nc -l)"),
    });
    expect(told({ command: "" })).toMatchObject({ reason: expect.stringContaining("(unknown)") });
    const hidden = { ...holder, pid: null };
    expect(decide({ leftovers: { own: [], portHolder: hidden } })).toMatchObject({
      kind: "blocked",
      reason: expect.stringContaining("another account's process"),
    });
  });

  test("another instance of ours is waited for when planned, ended when not", () => {
    const sibling = { ...holder, instance: "comfyui-gpu1" };
    expect(
      decide({ leftovers: { own: [], portHolder: { ...sibling, isPlanned: true } } }),
    ).toMatchObject({ kind: "blocked", reason: expect.stringContaining("comfyui-gpu1") });
    expect(decide({ leftovers: { own: [], portHolder: sibling } })).toMatchObject({
      kind: "end_orphan",
      pids: [9],
    });
    expect(decide({ leftovers: { own: [], portHolder: { ...sibling, pid: null } } }).kind).toBe(
      "blocked",
    );
  });
});

describe("one that was found", () => {
  test("is adopted, with what it is in words", () => {
    const reasons = [{}, { digest: "r0-a" }, { digest: null }, { isManaged: false }].map(
      (of) => running({ isNew: true, ...of }).reason,
    );
    expect(new Set(reasons).size).toBe(4);
    expect(running({ isNew: true }).kind).toBe("adopt");
  });
});

describe("one that does not work is killed", () => {
  const cause = (of: Partial<ProcessFacts>, changes: Partial<SupervisionFacts> = {}): unknown => {
    const action = running(of, changes);
    return action.kind === "kill" ? action.cause.kind : action.kind;
  };

  test("over its memory limit, although it is busy", () => {
    expect(cause({ memoryBytes: 2_001, isBusy: true })).toBe("memory_limit");
    expect(cause({ memoryBytes: 2_000, isBusy: true })).toBe("nothing");
    expect(cause({ memoryBytes: 9e9 }, { plan: plan() })).toBe("nothing");
  });

  test("when it never answers", () => {
    const starting = { answeredAt: null, isHealthy: false };
    expect(cause({ ...starting, startedAt: NOW - 60_000 })).toBe("start_timeout");
    expect(cause({ ...starting, startedAt: NOW - 59_999 })).toBe("nothing");
  });

  test("when it is unhealthy or silent for long enough", () => {
    expect(cause({ isHealthy: false, unhealthySince: NOW - 30_000 })).toBe("unhealthy");
    expect(cause({ isHealthy: false, unhealthySince: NOW - 29_999 })).toBe("nothing");
    expect(cause({ isHealthy: false, silentSince: NOW - 20_000 })).toBe("silent");
    expect(cause({ isHealthy: false, silentSince: NOW - 19_999 })).toBe("nothing");
  });

  test("but never while it listens and works on a job, unless its queue stands still", () => {
    const ill: readonly Partial<ProcessFacts>[] = [
      { answeredAt: null, isHealthy: false },
      { isHealthy: false, unhealthySince: 0 },
      { isHealthy: false, silentSince: 0 },
    ];
    const told = (of: Partial<ProcessFacts>): unknown[] =>
      ill.map((one) => cause({ ...one, ...of }));
    const all = ["start_timeout", "unhealthy", "silent"];
    expect(told({ isBusy: true })).toEqual(["nothing", "nothing", "nothing"]);
    expect(told({ isBusy: true, isStuck: true })).toEqual(all);
    expect(told({ isBusy: true, isListening: false })).toEqual(all);
  });

  test("with the reason in words", () => {
    const reasons = [
      running({ memoryBytes: 9 * 1024 ** 3 }),
      running({ answeredAt: null }),
      running({ unhealthySince: 0, healthReason: "its queue stands still" }),
      running({ unhealthySince: 0 }),
      running({ silentSince: 0 }),
    ].map(({ reason }) => reason);
    expect(reasons).toEqual([
      "it holds 9216 MB, its limit is 0 MB",
      "it does not answer 60 s after its start",
      "it is unhealthy: its queue stands still",
      "it is unhealthy: no reason was told",
      "it does not answer any more",
    ]);
  });
});

describe("one that is no longer in the plan", () => {
  const end = { wanted: "end" } as const;
  test("is drained, then ended; at the end of the time for it in any case", () => {
    expect(running({ isBusy: true }, end).kind).toBe("drain_then_end");
    const removed = { kind: "removed" } as const;
    expect(running({}, { ...end, drain: drainFor({ kind: "unmanaged" }, true) }).kind).toBe(
      "drain_then_end",
    );
    expect(running({}, { ...end, drain: drainFor(removed, false) }).kind).toBe("nothing");
    expect(running({}, { ...end, drain: drainFor(removed, true) }).kind).toBe("end");
    expect(running({}, { ...end, drain: drainFor(removed, false, NOW - 30_000) }).kind).toBe("end");
  });

  test("is ended at once when it does not work", () => {
    expect(running({ isHealthy: false }, end).kind).toBe("end");
    expect(running({ isHealthy: false, isBusy: true }, end).kind).toBe("drain_then_end");
  });
});

describe("planned restarts", () => {
  const causeOf = (of: Partial<ProcessFacts>, changes: Partial<SupervisionFacts> = {}): unknown => {
    const action = running(of, { hasTurn: true, ...changes });
    return "cause" in action ? [action.kind, action.cause.kind] : action.kind;
  };

  test("have a cause each, and drain first", () => {
    expect(causeOf({})).toBe("nothing");
    expect(causeOf({ digest: "r0-a" })).toEqual(["drain_then_restart", "release_changed"]);
    expect(causeOf({ digest: "r1-b" })).toEqual(["drain_then_restart", "plan_changed"]);
    expect(causeOf({ isManaged: false })).toEqual(["drain_then_restart", "unmanaged"]);
    expect(causeOf({ memoryBytes: 1_001 })).toEqual(["drain_then_restart", "memory_growth"]);
    expect(causeOf({}, { asked: "x" })).toEqual(["drain_then_restart", "asked"]);
  });

  test("are not made for memory soon after a start, or without a limit", () => {
    expect(causeOf({ memoryBytes: 1_001, startedAt: NOW - 299_999 })).toBe("nothing");
    expect(causeOf({ memoryBytes: 1_001 }, { plan: plan() })).toBe("nothing");
    expect(causeOf({ memoryBytes: 1_000 })).toBe("nothing");
  });

  test("wait for their turn, unless somebody asked", () => {
    expect(running({ digest: "r0-a" })).toEqual({
      kind: "nothing",
      reason: "another release is to serve; it waits for its turn",
    });
    expect(running({}, { asked: "x" }).kind).toBe("drain_then_restart");
    expect(causeOf({ digest: "r0-a" }, { managerProblem: "no pm2" })).toBe("nothing");
    expect(causeOf({ digest: "r0-a" }, { wanted: "keep" })).toBe("nothing");
  });

  test("follow the drain, and not before the job is over", () => {
    const drain = (isDrained: boolean): SupervisionFacts["drain"] =>
      drainFor({ kind: "release_changed" }, isDrained, 0);
    expect(causeOf({ digest: "r0-a" }, { drain: drain(false) })).toBe("nothing");
    expect(causeOf({ digest: "r0-a" }, { drain: drain(true) })).toEqual([
      "restart",
      "release_changed",
    ]);
    expect(causeOf({ digest: "r0-a" }, { drain: drainFor({ kind: "removed" }, true) })).toEqual([
      "drain_then_restart",
      "release_changed",
    ]);
  });

  test("by a person's word end the job after the time for draining", () => {
    const asked = { kind: "asked", reason: "x" } as const;
    const at = (startedAt: number): unknown =>
      causeOf({ isBusy: true }, { asked: "x", drain: drainFor(asked, false, startedAt) });
    expect(at(NOW - 29_999)).toBe("nothing");
    expect(at(NOW - 30_000)).toEqual(["restart", "asked"]);
  });

  test("need no drain when it neither works nor has a job", () => {
    expect(causeOf({ digest: "r0-a", isHealthy: false })).toEqual(["restart", "release_changed"]);
    expect(causeOf({ digest: "r0-a", isHealthy: false, isBusy: true })).toEqual([
      "drain_then_restart",
      "release_changed",
    ]);
  });

  test("that are not needed any more give the instance back", () => {
    expect(causeOf({}, { drain: drainFor({ kind: "release_changed" }, false) })).toBe("resume");
    expect(running({ digest: "r0-a" }, { drain: drainFor({ kind: "unmanaged" }, true) }).kind).toBe(
      "resume",
    );
  });

  test("for memory go on although a paused process gave some back", () => {
    const drain = drainFor({ kind: "memory_growth", bytes: 5 }, true);
    expect(causeOf({ memoryBytes: 1 }, { drain })).toEqual(["restart", "memory_growth"]);
  });

  test("are told in words", () => {
    expect(causeText({ kind: "memory_growth", bytes: 5 * 1024 ** 2 })).toBe(
      "its memory grew to 5 MB",
    );
    expect(causeText({ kind: "plan_changed" })).toBe("its settings have changed");
  });
});

describe("whatever is seen", () => {
  const instant = fc.integer({ min: 0, max: NOW });
  const maybe = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(of, { nil: null });
  const anyProcess: fc.Arbitrary<ProcessFacts> = fc.record({
    pid: fc.integer({ min: 2, max: 9 }),
    digest: fc.constantFrom(null, "r0-a", "r1-a", "r1-b"),
    isManaged: fc.boolean(),
    isNew: fc.boolean(),
    startedAt: instant,
    answeredAt: maybe(instant),
    isHealthy: fc.boolean(),
    isListening: fc.boolean(),
    isStuck: fc.boolean(),
    isBusy: fc.boolean(),
    unhealthySince: maybe(instant),
    silentSince: maybe(instant),
    healthReason: maybe(fc.string()),
    memoryBytes: maybe(fc.integer({ min: 0, max: 4_000 })),
  });
  const anyFacts: fc.Arbitrary<SupervisionFacts> = fc.record({
    now: fc.constant(NOW),
    wanted: fc.constantFrom("run", "keep", "end"),
    wantedDigest: fc.constantFrom(null, "r1-a"),
    plan: fc.constantFrom(plan(), plan(limits)),
    lockRefusal: fc.constantFrom(null, null, "held"),
    managerProblem: fc.constantFrom(null, null, "gone"),
    process: maybe(anyProcess),
    leftovers: maybe(
      fc.record({
        own: fc.array(fc.record({ pid: fc.constant(5), listens: fc.boolean() }), { maxLength: 2 }),
        portHolder: maybe(
          fc.record({
            pid: maybe(fc.constant(9)),
            command: fc.constant("x"),
            instance: maybe(fc.constant("comfyui-gpu1")),
            isPlanned: fc.boolean(),
          }),
        ),
      }),
    ),
    failures: fc.record({
      inRow: fc.nat(9),
      recent: fc.constant([]),
      isLooping: fc.boolean(),
      retryAt: fc.integer({ min: NOW - 10, max: NOW + 10 }),
    }),
    asked: maybe(fc.constant("by hand")),
    drain: maybe(
      fc.record({
        cause: fc.constantFrom(
          { kind: "asked" as const, reason: "x" },
          { kind: "release_changed" as const },
          { kind: "unmanaged" as const },
          { kind: "memory_growth" as const, bytes: 1 },
          { kind: "removed" as const },
          { kind: "card_fault" as const, reason: "lost" },
        ),
        startedAt: instant,
        isDrained: fc.boolean(),
      }),
    ),
    hasTurn: fc.boolean(),
    cardFault: fc.constantFrom(null, null, "lost"),
    cardRunsOn: fc.boolean(),
  });
  const always = (holds: (given: SupervisionFacts, action: Action) => boolean): void => {
    fc.assert(
      fc.property(anyFacts, (given) => holds(given, decideNext(given, policy))),
      { numRuns: 2_000 },
    );
  };

  test("I1: nothing is done about what another agent holds", () => {
    always((given, { kind }) => given.lockRefusal === null || kind === "blocked");
  });

  test("I2: nothing is started beside a process, or into somebody's port", () => {
    always(
      (given, { kind }) =>
        kind !== "start" ||
        (given.process === null &&
          given.leftovers?.own.length === 0 &&
          given.leftovers.portHolder === null),
    );
  });

  test("I2: a stranger is never ended", () => {
    always(
      (given, action) =>
        action.kind !== "end_orphan" ||
        !action.pids.includes(9) ||
        (given.leftovers?.portHolder?.instance !== null &&
          given.leftovers?.portHolder?.isPlanned === false),
    );
  });

  test("I3: a working job is ended only for memory, or when the time for draining is over", () => {
    always((given, action) => {
      const { process: of, drain } = given;
      if (of === null || !of.isBusy || !of.isHealthy || drain?.isDrained === true) return true;
      if (action.kind === "kill") {
        return (
          action.cause.kind === "memory_limit" ||
          // Healthy and not at once is no state that is ever observed.
          of.answeredAt === null ||
          of.unhealthySince !== null ||
          of.silentSince !== null
        );
      }
      if (action.kind !== "restart" && action.kind !== "end") return true;
      const isOver = drain !== null && NOW - drain.startedAt >= given.plan.drainMs;
      const isForCard =
        given.cardFault !== null && !(given.cardRunsOn && of.isListening && !of.isStuck);
      return isOver && (given.asked !== null || given.wanted === "end" || isForCard);
    });
  });

  test("I4: only the one whose turn it is, or who was asked for, is drained for a restart", () => {
    always(
      (given, { kind }) =>
        (kind !== "drain_then_restart" && kind !== "restart") ||
        given.hasTurn ||
        given.asked !== null,
    );
  });

  test("what is decided has a reason", () => {
    always((_given, { reason }) => reason.length > 0);
  });
});
