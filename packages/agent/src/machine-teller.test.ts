import {
  HoldfastError,
  machineReportSchema,
  MAX_MACHINE_REPORT_BYTES,
  startupStepSchema,
  type MachineReport,
  type MachineReportRequest,
  type StartupStep,
  type StartupStepsRequest,
} from "@holdfast/contract";
import { seededRandom } from "@holdfast/runtime";
import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, it } from "vitest";
import type { AgentLog } from "./agent-log.ts";
import { DEFAULT_LIMITS } from "./limits.ts";
import { fitReport, fitStep, type OwnReport } from "./machine-report-fit.ts";
import { MachineTeller, RUNS_MAX } from "./machine-teller.ts";

const HOUR = 3_600_000;
const own = (more: Partial<OwnReport> = {}): OwnReport => ({
  services: [],
  gpus: [],
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
  healthPort: null,
  ...more,
});
const step = (id: string, detail = ""): StartupStep => ({
  id,
  title: id,
  outcome: "done",
  startedAt: 1,
  durationMs: 1,
  detail,
  advice: null,
  isOptional: false,
});

function createKit() {
  const clock = createFakeClock();
  const reports: MachineReportRequest[] = [];
  const runs: StartupStepsRequest[] = [];
  const blobs: string[] = [];
  const logged: string[] = [];
  const note = (_fields: object, message: string): void => void logged.push(message);
  const log: AgentLog = { debug: note, info: note, warn: note, error: note };
  const state = {
    report: own() as OwnReport | undefined,
    failure: undefined as Error | undefined,
    failureOfRuns: undefined as Error | undefined,
    failureOfBlobs: undefined as Error | undefined,
    calls: 0,
    session: { machineId: "mch_1", session: 1 } as
      { machineId: string; session: number } | undefined,
  };
  const answer = (take: () => void, failure = state.failure): Promise<void> => {
    state.calls += 1;
    if (failure !== undefined) return Promise.reject(failure);
    take();
    return Promise.resolve();
  };
  const teller = new MachineTeller({
    clock,
    random: seededRandom(1),
    log,
    limits: DEFAULT_LIMITS,
    agentVersion: "1",
    session: () => state.session,
    report: () => state.report,
    fetches: () => [],
    link: {
      putMachineReport: (request) => answer(() => reports.push(request)),
      putStartupSteps: (request) =>
        answer(() => runs.push(request), state.failure ?? state.failureOfRuns),
      putBlob: async (source) => {
        const { sha256, sizeBytes } = source;
        for await (const _ of source.open()) continue;
        await answer(() => blobs.push(sha256), state.failure ?? state.failureOfBlobs);
        return { sha256, sizeBytes };
      },
    },
  });
  return { clock, state, teller, reports, runs, blobs, logged };
}

describe("what a machine is", () => {
  it("is told at once, when it changes, to a new session, and every few minutes", async () => {
    const kit = createKit();
    kit.teller.start();
    await kit.clock.advance(0);
    expect(kit.reports).toHaveLength(1);
    await kit.clock.advance(60_000);
    expect(kit.reports).toHaveLength(1);
    kit.state.report = own({ healthPort: 9_090 });
    kit.teller.wake();
    await kit.clock.advance(0);
    expect(kit.reports).toHaveLength(2);
    // Free memory is no news; a look finds what is.
    kit.state.report = own({ healthPort: 9_090, host: { ...own().host, memoryFreeBytes: 9 } });
    await kit.clock.advance(15_000);
    expect(kit.reports).toHaveLength(2);
    kit.state.session = { machineId: "mch_1", session: 2 };
    await kit.clock.advance(15_000);
    expect(kit.reports).toHaveLength(3);
    await kit.clock.advance(DEFAULT_LIMITS.machineReportMs + 15_000);
    expect(kit.reports).toHaveLength(4);
    await kit.teller.stop();
    expect(kit.clock.sleeperCount()).toBe(0);
  });

  it("that changes all the time is told every two seconds", async () => {
    const kit = createKit();
    kit.teller.start();
    for (let n = 1; n <= 100; n += 1) {
      kit.state.report = own({ healthPort: n });
      kit.teller.wake();
      await kit.clock.advance(100);
    }
    expect(kit.reports.length).toBeLessThanOrEqual(7);
    await kit.clock.advance(15_000);
    expect(kit.reports.at(-1)?.report.healthPort).toBe(100);
    await kit.teller.stop();
  });

  it("is nothing while nobody knows, and before there is a session", async () => {
    const kit = createKit();
    kit.state.report = undefined;
    kit.teller.start();
    await kit.clock.advance(HOUR);
    kit.state.report = own();
    kit.state.session = undefined;
    await kit.clock.advance(HOUR);
    expect(kit.state.calls).toBe(0);
    await kit.teller.stop();
  });

  it("that is no report is left out, and said so", async () => {
    const kit = createKit();
    kit.state.report = own({ healthPort: -1 });
    kit.teller.start();
    await kit.clock.advance(60_000);
    expect(kit.state.calls).toBe(0);
    expect(kit.logged).toContain("the machine's report is not one, left out");
    await kit.teller.stop();
  });
});

describe("a control plane that is away for hours", () => {
  it("is asked ever less often, nothing grows, and the newest is told when it is back", async () => {
    const kit = createKit();
    kit.state.failure = new Error("connection refused");
    kit.teller.start();
    for (let n = 0; n < 500; n += 1) {
      kit.state.report = own({ healthPort: n + 1 });
      kit.teller.tell({ runId: `run${n}`, kind: "start", steps: [step("a"), step("b")] });
      await kit.clock.advance(60_000);
    }
    expect(kit.teller.unsent()).toBe(RUNS_MAX);
    expect(kit.state.calls).toBeLessThan(500);
    // One thing is slept for, and one line tells of the outage.
    expect(kit.clock.sleeperCount()).toBeLessThanOrEqual(2);
    expect(kit.logged.filter((line) => line.includes("could not be told"))).toHaveLength(1);
    kit.state.failure = undefined;
    await kit.clock.advance(10 * 60_000);
    await kit.clock.advance(60_000);
    expect(kit.reports.map(({ report }) => report.healthPort).at(-1)).toBe(500);
    expect(kit.runs.map(({ runId }) => runId)).toEqual(
      Array.from({ length: RUNS_MAX }, (_, n) => `run${500 - RUNS_MAX + n}`),
    );
    expect(kit.teller.unsent()).toBe(0);
    await kit.teller.stop();
  });

  it("that is older is asked again once an hour", async () => {
    const kit = createKit();
    kit.state.failure = new HoldfastError("not_found", "no such route");
    kit.teller.start();
    kit.teller.tell({ runId: "r", kind: "start", steps: [step("a")] });
    await kit.clock.advance(3 * HOUR + 60_000);
    // Each kind of telling.
    expect(kit.state.calls).toBe(2 * 4);
    expect(kit.logged.join()).toContain("older and takes no reports");
    kit.state.failure = undefined;
    await kit.clock.advance(HOUR);
    expect(kit.runs).toHaveLength(1);
    await kit.teller.stop();
  });
});

describe("a run", () => {
  it("is told in pieces, with its log first, and again only what is told anew", async () => {
    const kit = createKit();
    kit.teller.start();
    await kit.clock.advance(0);
    const steps = Array.from({ length: 450 }, (_, n) => step(`s${n}`));
    const log = { sha256: "a".repeat(64), sizeBytes: 3, open: async function* () {} };
    kit.teller.tell({ runId: "r", kind: "install", steps, log });
    await kit.clock.advance(5_000);
    expect(kit.runs.map((request) => request.steps.length)).toEqual([200, 200, 50]);
    expect(kit.runs.every(({ logSha256 }) => logSha256 === log.sha256)).toBe(true);
    expect(kit.blobs).toEqual([log.sha256]);
    kit.teller.tell({ runId: "r", kind: "install", steps: [step("s7", "anew")] });
    await kit.clock.advance(15_000);
    expect(kit.runs.at(-1)?.steps).toEqual([step("s7", "anew")]);
    await kit.teller.stop();
  });

  it("whose log has vanished is told without it, and later ones go on", async () => {
    const kit = createKit();
    kit.teller.start();
    await kit.clock.advance(0);
    const gone = {
      sha256: "a".repeat(64),
      sizeBytes: 3,
      // oxlint-disable-next-line require-yield -- There is nothing to read.
      open: async function* (): AsyncIterable<Uint8Array> {
        throw Object.assign(new Error("no such file"), { code: "ENOENT" });
      },
    };
    kit.teller.tell({ runId: "old", kind: "install", steps: [step("a")], log: gone });
    kit.teller.tell({ runId: "new", kind: "start", steps: [step("b")] });
    await kit.clock.advance(15_000);
    expect(kit.runs.map(({ runId, logSha256 }) => [runId, logSha256])).toEqual([
      ["old", undefined],
      ["new", undefined],
    ]);
    expect(kit.teller.unsent()).toBe(0);
    expect(kit.logged).toContain("the log of a start cannot be read, left out");
    await kit.teller.stop();
  });

  it("whose log is another one by now is told without it", async () => {
    const kit = createKit();
    kit.teller.start();
    await kit.clock.advance(0);
    const log = {
      sha256: "a".repeat(64),
      sizeBytes: 3,
      open: async function* () {},
    };
    kit.state.failureOfBlobs = new HoldfastError("checksum_mismatch", "other bytes");
    kit.teller.tell({ runId: "r", kind: "install", steps: [step("a")], log });
    await kit.clock.advance(15_000);
    expect(kit.runs).toMatchObject([{ runId: "r" }]);
    expect(kit.runs[0]).not.toHaveProperty("logSha256");
    await kit.teller.stop();
  });

  it("that is refused holds no report up, for an hour or longer", async () => {
    const kit = createKit();
    kit.state.failureOfRuns = new HoldfastError("not_found", "no such route");
    kit.teller.start();
    kit.teller.tell({ runId: "r", kind: "start", steps: [step("a")] });
    await kit.clock.advance(0);
    kit.state.report = own({ healthPort: 1 });
    await kit.clock.advance(15_000);
    expect(kit.reports.at(-1)?.report.healthPort).toBe(1);
    // Another session may be of another control plane: it is asked at once.
    kit.state.failureOfRuns = undefined;
    kit.state.session = { machineId: "mch_1", session: 2 };
    kit.teller.wake();
    await kit.clock.advance(2_000);
    expect(kit.runs).toHaveLength(1);
    await kit.teller.stop();
  });

  it("that is refused for what it is is given up after three times, and others go on", async () => {
    const kit = createKit();
    kit.teller.start();
    await kit.clock.advance(0);
    kit.state.failure = new HoldfastError("invalid_request", "no");
    kit.teller.tell({ runId: "bad", kind: "start", steps: [step("a")] });
    await kit.clock.advance(60_000);
    expect(kit.teller.unsent()).toBe(0);
    kit.state.failure = undefined;
    kit.teller.tell({ runId: "good", kind: "start", steps: [step("a")] });
    await kit.clock.advance(60_000);
    expect(kit.runs.map(({ runId }) => runId)).toEqual(["good"]);
    await kit.teller.stop();
  });
});

describe("what does not fit the wire", () => {
  const long = "ü\0".repeat(10_000);
  const huge: MachineReport = {
    agentVersion: long,
    services: Array.from({ length: 500 }, (_, n) => ({
      name: n === 0 ? "" : `${n}${long}`,
      kind: long,
      state: "unhealthy" as const,
      reason: long,
      since: 1.5,
      installation: { state: long, detail: long, version: long },
      runtime: { state: long, pid: 1, startedAt: Number.NaN, restarts: -1, detail: null },
      check: { state: long, detail: long, checkedAt: null },
      dependencies: [{ name: long, state: "healthy" as const }],
    })),
    gpus: Array.from({ length: 100 }, (_, index) => ({
      index,
      uuid: long,
      name: long,
      memoryTotalBytes: 1,
      driver: long,
      fault: long,
    })),
    release: { id: long, comfyuiCommit: long, comfyuiVersion: long, python: long, torch: null },
    manifestDigest: long,
    host: own().host,
    offers: {
      models: Array.from({ length: 5_000 }, (_, n) => ({
        folder: n === 0 ? long : "checkpoints",
        name: `${n}${"x".repeat(300)}`,
        sha256: null,
        sizeBytes: 1,
      })),
      packs: Array.from({ length: 1_000 }, () => ({ name: long, classes: [long, "C"] })),
    },
    fetches: [],
    healthPort: 1,
  };

  it("is cut until it does: the wire takes it", () => {
    const fitted = fitReport(huge);
    expect(machineReportSchema.safeParse(fitted).error).toBeUndefined();
    expect(Buffer.byteLength(JSON.stringify(fitted))).toBeLessThan(MAX_MACHINE_REPORT_BYTES);
    expect(fitted.services.length).toBeGreaterThan(0);
  });

  it("of a step is cut as well", () => {
    const fitted = fitStep({ ...step("", long), title: long, advice: long, durationMs: Infinity });
    expect(startupStepSchema.safeParse(fitted).error).toBeUndefined();
  });

  it("and what fits is left as it is", () => {
    const report = { ...own(), agentVersion: "1", fetches: [] };
    expect(fitReport(report)).toEqual(report);
  });
});
