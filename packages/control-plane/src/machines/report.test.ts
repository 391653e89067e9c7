import { MAX_STEPS_PER_RUN, type MachineReport, type StartupStep } from "@holdfast/contract";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mergeSteps, serviceChanges, summarize } from "./report.ts";

const service = (name: string, state: MachineReport["services"][number]["state"]) => ({
  name,
  kind: "instance",
  state,
  reason: `${name} is ${state}`,
  since: 1,
  installation: { state: "installed", detail: null, version: null },
  runtime: { state: "running", pid: 1, startedAt: 1, restarts: 0, detail: null },
  check: { state: "passing", detail: null, checkedAt: 1 },
  dependencies: [],
});
const step = (id: string, outcome: StartupStep["outcome"], detail = ""): StartupStep => ({
  id,
  title: id,
  outcome,
  startedAt: 1,
  durationMs: 2,
  detail,
  advice: null,
  isOptional: false,
});

describe("a summary", () => {
  const report: MachineReport = {
    agentVersion: "1",
    services: [
      service("a", "healthy"),
      service("b", "not_configured"),
      { ...service("c", "unhealthy"), reason: "x".repeat(1_000) },
    ],
    gpus: [
      { index: 0, uuid: "u", name: "g", memoryTotalBytes: 1, driver: null, fault: null },
      { index: 1, uuid: "v", name: "g", memoryTotalBytes: 1, driver: null, fault: "lost" },
    ],
    release: null,
    manifestDigest: null,
    host: {
      cpuCount: 1,
      memoryTotalBytes: 1,
      memoryFreeBytes: 1,
      diskTotalBytes: 1,
      diskFreeBytes: 1,
    },
    offers: { models: [], packs: [] },
    fetches: [],
    healthPort: 9_090,
  };

  it("counts what is configured, and shows what is not well", () => {
    const summary = summarize(report);
    expect(summary).toMatchObject({
      services: { total: 2, healthy: 1 },
      problems: [{ name: "c", state: "unhealthy" }],
      gpus: { total: 2, faulty: 1 },
      release: null,
      healthPort: 9_090,
    });
    expect(summary.problems[0]?.reason).toHaveLength(300);
  });

  it("names the release where there is one", () => {
    const release = {
      id: "r1",
      comfyuiCommit: null,
      comfyuiVersion: null,
      python: null,
      torch: null,
    };
    expect(summarize({ ...report, release }).release).toBe("r1");
  });
});

describe("changes of services", () => {
  it("are none at the first report", () => {
    expect(serviceChanges(null, [service("a", "unhealthy")])).toEqual([]);
  });

  it("are told of those that came, went and changed, and of no others", () => {
    const before = [service("a", "healthy"), service("b", "healthy"), service("c", "healthy")];
    const after = [service("a", "healthy"), service("b", "unhealthy"), service("d", "starting")];
    expect(serviceChanges(before, after)).toEqual([
      {
        service: "b",
        kind: "instance",
        from: "healthy",
        to: "unhealthy",
        reason: "b is unhealthy",
      },
      { service: "d", kind: "instance", from: null, to: "starting", reason: "d is starting" },
      {
        service: "c",
        kind: "instance",
        from: "healthy",
        to: null,
        reason: "the machine does not name it any more",
      },
    ]);
  });
});

describe("the steps of a run", () => {
  it("take the place of what was told of them, and fail once", () => {
    const first = mergeSteps([], [step("a", "done"), step("b", "failed")]);
    expect(first.newlyFailed.map(({ id }) => id)).toEqual(["b"]);
    const again = mergeSteps(first.steps, [step("b", "failed", "still")]);
    expect(again.newlyFailed).toEqual([]);
    expect(again.steps.map(({ id, detail }) => [id, detail])).toEqual([
      ["a", ""],
      ["b", "still"],
    ]);
  });

  it("that fail and then do not, in one telling, have not failed", () => {
    expect(mergeSteps([], [step("a", "failed"), step("a", "done")]).newlyFailed).toEqual([]);
  });

  it("are bounded, and what is known is still renewed beyond that", () => {
    const full = Array.from({ length: MAX_STEPS_PER_RUN }, (_, n) => step(`s${n}`, "done"));
    const merged = mergeSteps(full, [step("one more", "failed"), step("s0", "failed")]);
    expect(merged.steps).toHaveLength(MAX_STEPS_PER_RUN);
    expect(merged.omitted).toBe(1);
    expect(merged.newlyFailed.map(({ id }) => id)).toEqual(["s0"]);
  });

  it("are the same however often they are told", () => {
    const outcomes = fc.constantFrom("done", "failed", "skipped", "not_reached" as const);
    const steps = fc.array(
      fc
        .tuple(fc.constantFrom("a", "b", "c", "d"), outcomes)
        .map(([id, outcome]) => step(id, outcome as StartupStep["outcome"])),
    );
    fc.assert(
      fc.property(steps, steps, (known, told) => {
        const once = mergeSteps(mergeSteps([], known).steps, told);
        const twice = mergeSteps(once.steps, told);
        expect(new Map(twice.steps.map((one) => [one.id, one]))).toEqual(
          new Map(once.steps.map((one) => [one.id, one])),
        );
      }),
    );
  });
});
