import {
  DEFAULT_HEALTH_POLICY,
  type HealthRecord,
  type ServiceAnswer,
} from "@holdfast/experiments";
import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, it } from "vitest";
import { checkHealth, type HealthCheckDeps } from "./check-health.ts";

const DOWN: ServiceAnswer = { kind: "unreachable" };
const OK: ServiceAnswer = { kind: "ok" };

/** A check whose service answers so, one after the other; the last answer for ever. */
function checking(answers: readonly ServiceAnswer[], over: Partial<HealthCheckDeps> = {}) {
  const clock = createFakeClock();
  const lines: string[] = [];
  const records: HealthRecord[] = [];
  const stop = new AbortController();
  let asked = 0;
  const deps: HealthCheckDeps = {
    services: [{ name: "ComfyUI", url: "http://c" }],
    policy: DEFAULT_HEALTH_POLICY,
    timeoutMs: 5_000,
    ask: async () => answers[Math.min(asked++, answers.length - 1)] ?? OK,
    clock,
    print: (more) => void lines.push(...more),
    record: async (record) => void records.push(record),
    signal: stop.signal,
    ...over,
  };
  return { clock, lines, records, stop, deps, asked: () => asked };
}

describe("a health check", () => {
  it("passes at a later attempt, and says that a service was down", async () => {
    const { clock, deps, records, lines } = checking([DOWN, OK]);
    const check = checkHealth({ kind: "periodic", experiment: 120 }, deps);
    await clock.advance(30_000);
    expect(await check).toEqual({ kind: "passed", wasDown: true });
    expect(
      records.map(({ attempt, decision, experiment }) => [attempt, decision, experiment]),
    ).toEqual([
      [1, "retry", 120],
      [2, "passed", 120],
    ]);
    expect(lines).toContain("[WARN] Health checks failed. Retrying in 30s...");
  });

  it("fails after its attempts, each on the disk before it is printed", async () => {
    const printed: number[] = [];
    const { clock, deps, records } = checking([DOWN], {
      print: () => void printed.push(records.length),
    });
    const check = checkHealth({ kind: "pre_flight" }, deps);
    await clock.advance(60_000);
    expect(await check).toEqual({
      kind: "failed",
      unhealthy: [{ service: "ComfyUI", message: "Cannot connect to ComfyUI server" }],
    });
    expect(records).toHaveLength(3);
    // Head, then before and after each attempt.
    expect(printed).toEqual([0, 0, 1, 1, 2, 2, 3]);
  });

  it("that waits goes on for ever, until somebody stops it", async () => {
    const policy = { ...DEFAULT_HEALTH_POLICY, onUnhealthy: "wait" as const };
    const { clock, deps, stop, asked } = checking([DOWN], { policy });
    const check = checkHealth({ kind: "periodic", experiment: 10 }, deps);
    await clock.advance(3_600_000);
    expect(asked()).toBe(121);
    stop.abort();
    expect(await check).toEqual({ kind: "stopped" });
    expect(clock.sleeperCount()).toBe(0);
  });
});
