import { createSchedule, foldHistory, type RunEnd } from "@holdfast/experiments";
import { describe, expect, it } from "vitest";
import type { HealthEnd } from "./check-health.ts";
import { createDeferred } from "./deferred.ts";
import { runSchedule } from "./run-schedule.ts";

const schedule = (count: number, inFlightMax = 1) =>
  createSchedule({
    count,
    startFrom: 0,
    inFlightMax,
    checkInterval: 10,
    history: foldHistory([], []),
  });
const passed: HealthEnd = { kind: "passed", wasDown: false };
const NEVER = new AbortController().signal;

/** Does a schedule; what was started and checked, in order. */
async function doing(
  count: number,
  work: {
    readonly start?: (index: number) => Promise<RunEnd>;
    readonly check?: (experiment: number) => Promise<HealthEnd>;
    readonly refusal?: () => string | undefined;
    readonly inFlight?: number;
    readonly signal?: AbortSignal;
  } = {},
) {
  const seen: string[] = [];
  const end = await runSchedule(schedule(count, work.inFlight), {
    start: async (index) => {
      seen.push(`run ${index}`);
      return (await work.start?.(index)) ?? "completed";
    },
    check: async (experiment) => {
      seen.push(`check ${experiment}`);
      return (await work.check?.(experiment)) ?? passed;
    },
    refusal: () => work.refusal?.(),
    onChange: () => undefined,
    signal: work.signal ?? NEVER,
  });
  return { end, seen };
}

describe("an experiment's process", () => {
  it("starts all, checks between them, and starts nothing while it checks", async () => {
    const { end, seen } = await doing(25, { inFlight: 4 });
    expect(end).toEqual({ kind: "finished" });
    expect(seen.filter((one) => one.startsWith("run"))).toHaveLength(25);
    expect(seen.indexOf("check 10")).toBe(10);
    expect(seen.indexOf("check 20")).toBe(21);
  });

  it("starts nothing more once a service refuses a run, and waits for those in flight", async () => {
    let reason: string | undefined;
    const last = createDeferred<RunEnd>();
    const { end, seen } = await doing(25, {
      inFlight: 2,
      refusal: () => reason,
      start: async (index) => {
        if (index === 2) return await last.promise;
        if (index !== 3) return "completed";
        reason = "there is no such bucket";
        setImmediate(() => last.resolve("completed"));
        return "down";
      },
    });
    expect(end).toEqual({ kind: "refused", reason: "there is no such bucket" });
    expect(seen).toEqual(["run 0", "run 1", "run 2", "run 3"]);
  });

  it("has not finished where the last run was refused", async () => {
    let reason: string | undefined;
    const { end } = await doing(1, {
      refusal: () => reason,
      start: async () => {
        reason = "no key";
        return "down";
      },
    });
    expect(end.kind).toBe("refused");
  });

  it("repeats what failed with a service as soon as a check passes", async () => {
    const ends = new Map<number, RunEnd[]>([[7, ["down", "completed"]]]);
    const { seen } = await doing(12, {
      start: async (index) => ends.get(index)?.shift() ?? "completed",
    });
    expect(seen.slice(9)).toEqual(["run 9", "check 10", "run 7", "run 10", "run 11"]);
  });

  it("stops where a check fails, and waits for what is in flight", async () => {
    const slow = createDeferred<RunEnd>();
    const doingIt = doing(25, {
      inFlight: 2,
      start: (index) => (index === 9 ? slow.promise : Promise.resolve("completed")),
      check: async () => {
        setTimeout(() => slow.resolve("down"), 5);
        return { kind: "failed", unhealthy: [] };
      },
    });
    const { end, seen } = await doingIt;
    expect(end).toEqual({ kind: "unhealthy", experiment: 10 });
    expect(seen.at(-1)).toBe("check 10");
  });

  it("starts nothing more after a stop, and ends when what runs has ended", async () => {
    const stop = new AbortController();
    const { end, seen } = await doing(25, {
      signal: stop.signal,
      start: async (index) => {
        if (index === 3) stop.abort();
        await Promise.resolve();
        return "completed";
      },
    });
    expect(end).toEqual({ kind: "interrupted" });
    expect(seen).toEqual(["run 0", "run 1", "run 2", "run 3"]);
  });

  it("ends with a bug of a run, after the others have ended", async () => {
    let hasEnded = false;
    const bad = doing(25, {
      inFlight: 2,
      start: async (index) => {
        if (index === 1) throw new Error("a bug");
        await new Promise((resolve) => setTimeout(resolve, 5));
        hasEnded = true;
        return "completed";
      },
    });
    await expect(bad).rejects.toThrow("a bug");
    expect(hasEnded).toBe(true);
  });
});
