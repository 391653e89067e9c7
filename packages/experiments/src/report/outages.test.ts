import { describe, expect, test } from "vitest";
import { comparedRun, healthCheck, minute } from "../../testing/comparison-facts.ts";
import { outagesOf } from "./outages.ts";

const lost = (attempt: number, at: number) => ({
  attempt,
  endedAt: minute(at),
  class: "connection",
  message: "refused",
  isInfrastructure: true,
});

describe("outages", () => {
  test("join failed checks, and tell the runs that failed meanwhile and what became of them", () => {
    const checks = [
      healthCheck(minute(0), 0, true),
      healthCheck(minute(10), 10, true),
      healthCheck(minute(20), 20, false),
      healthCheck(minute(21), 20, false),
      healthCheck(minute(25), 20, true),
      healthCheck(minute(40), 30, false),
    ];
    const runs = [
      comparedRun(3, { status: "failed", error: { class: "oom", message: "out of memory" } }),
      comparedRun(17, { attempts: 2, earlier: [lost(1, 18)] }),
      comparedRun(18, { attempts: 3, earlier: [lost(1, 19), lost(2, 38)] }),
      comparedRun(29, { status: "down", endedAt: minute(39) }),
    ];
    expect(outagesOf([...checks].reverse(), runs)).toEqual([
      {
        experiment: 20,
        from: minute(20),
        until: minute(25),
        failedChecks: 2,
        messages: ["Cannot connect to ComfyUI server"],
        failed: [17, 18],
        repeated: [17, 18],
      },
      {
        experiment: 30,
        from: minute(40),
        until: null,
        failedChecks: 1,
        messages: ["Cannot connect to ComfyUI server"],
        failed: [18, 29],
        repeated: [18],
      },
    ]);
  });

  test("are none where all checks passed, whatever failed", () => {
    const runs = [comparedRun(0, { status: "down" })];
    expect(outagesOf([healthCheck(minute(0), 0, true)], runs)).toEqual([]);
    expect(outagesOf([], runs)).toEqual([]);
  });
});
