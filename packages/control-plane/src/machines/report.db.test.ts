import { createHash } from "node:crypto";
import type { MachineReport, StartupStep } from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../../test/support/test-database.ts";
import { deleteUnnamedBlob, selectUnnamedBlobs, touchBlobs } from "../files/store.ts";
import { SILENT_LOG } from "../platform/log.ts";
import {
  createMachineReportService,
  RUNS_KEPT,
  type MachineReportService,
} from "./report-service.ts";
import { deleteOldRuns, readOffers, readRuns } from "./report-store.ts";
import { createMachinesService } from "./service.ts";

let database: TestDatabase;
let reports: MachineReportService;
const ids = createIdSource(systemClock, seededRandom(1));
const MACHINE = ids.next("mch");
const SHA = createHash("sha256").update("log").digest("hex");

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  const { db } = database;
  await emptyTables(db, ["machines", "events", "blobs"]);
  await createMachinesService(db).register(
    db,
    { id: MACHINE, name: "box", bootId: "b", agentVersion: "1" },
    [],
  );
  reports = createMachineReportService({
    db,
    ids,
    log: SILENT_LOG,
    blobs: {
      missing: async (on, sha256s) => {
        const there = await touchBlobs(on, sha256s);
        return sha256s.filter((one) => !there.has(one));
      },
    },
    registerBlobs: () => Promise.resolve(),
    onEvents: () => undefined,
  });
});

const model = (name: string) => ({ folder: "checkpoints", name, sha256: null, sizeBytes: 7 });
const service = (state: MachineReport["services"][number]["state"]) => ({
  name: "comfyui-gpu0",
  kind: "instance",
  state,
  reason: "why",
  since: 1_000,
  installation: { state: "installed", detail: null, version: "r1" },
  runtime: { state: "running", pid: 1, startedAt: 1, restarts: 0, detail: null },
  check: { state: "passing", detail: null, checkedAt: 1 },
  dependencies: [{ name: "installer", state: "healthy" as const }],
});
const report = (more: Partial<MachineReport> = {}): MachineReport => ({
  agentVersion: "1",
  services: [service("healthy")],
  gpus: [],
  release: null,
  manifestDigest: null,
  host: {
    cpuCount: 2,
    memoryTotalBytes: 1,
    memoryFreeBytes: 1,
    diskTotalBytes: 10,
    diskFreeBytes: 5,
  },
  offers: { models: [], packs: [] },
  fetches: [],
  healthPort: 9_090,
  ...more,
});
const put = (more: Partial<MachineReport> = {}, session = 1, machineId = MACHINE) =>
  reports.putReport({ machineId: machineId as typeof MACHINE, session, report: report(more) });
const step = (id: string, outcome: StartupStep["outcome"] = "done"): StartupStep => ({
  id,
  title: id,
  outcome,
  startedAt: 1_000,
  durationMs: 50,
  detail: "",
  advice: null,
  isOptional: false,
});
const tell = (runId: string, steps: readonly StartupStep[], logSha256?: string) =>
  reports.putSteps({
    machineId: MACHINE,
    session: 1,
    runId,
    kind: "install",
    steps: [...steps],
    ...(logSha256 !== undefined && { logSha256 }),
  });
const events = async (): Promise<unknown[]> =>
  (await database.db.query("select type, owner, payload from events order by seq")).rows;

describe("a machine's report", () => {
  test("takes the place of the one before, and tells what changed of its services", async () => {
    await put();
    expect(await events()).toEqual([]);
    await put({ services: [service("unhealthy")] });
    await put({ services: [service("unhealthy")] });
    expect(await events()).toEqual([
      {
        type: "machine.service-changed",
        owner: "fleet",
        payload: {
          machineId: MACHINE,
          machineName: "box",
          service: "comfyui-gpu0",
          kind: "instance",
          from: "healthy",
          to: "unhealthy",
          reason: "why",
        },
      },
    ]);
    const { kept } = await createMachinesService(database.db).machine(MACHINE);
    expect(kept?.report.services).toEqual([service("unhealthy")]);
  });

  test("is taken from the session that is, and from no other", async () => {
    await expect(put({}, 0)).rejects.toMatchObject({ code: "agent_superseded" });
    await expect(put({}, 2)).rejects.toMatchObject({ code: "machine_unknown" });
    await expect(put({}, 1, ids.next("mch"))).rejects.toMatchObject({ code: "machine_unknown" });
  });

  test("says what could be fetched, which is looked up by name while the machine is there", async () => {
    await put({
      offers: { models: [model("sub/a.safetensors"), model("b.safetensors")], packs: [] },
      fetches: [{ folder: "checkpoints", name: "b.safetensors", state: "failed", reason: "403" }],
    });
    const [offer] = await readOffers(database.db, ["sub\\a.safetensors"], 10);
    expect(offer).toMatchObject({
      machineId: MACHINE,
      machineName: "box",
      diskFreeBytes: 5,
      models: [{ folder: "checkpoints", name: "sub/a.safetensors", sizeBytes: 7 }],
      fetches: [{ state: "failed" }],
    });
    await put({ offers: { models: [model("b.safetensors")], packs: [] } });
    expect(await readOffers(database.db, ["sub/a.safetensors"], 10)).toEqual([]);
    expect(await readOffers(database.db, ["b.safetensors"], 10)).toHaveLength(1);
    await database.db.query("update machines set state = 'lost'");
    expect(await readOffers(database.db, ["b.safetensors"], 10)).toEqual([]);
  });

  test("goes with its machine", async () => {
    await put({ offers: { models: [model("a")], packs: [] } });
    await tell("run1", [step("a")]);
    await database.db.query("delete from machines");
    const { rows } = await database.db.query(
      `select (select count(*)::int from machine_reports) + (select count(*)::int from machine_offers)
         + (select count(*)::int from startup_runs) as left`,
    );
    expect(rows).toEqual([{ left: 0 }]);
  });
});

describe("a run's steps", () => {
  test("are kept once however often they are told, and a failure is told once", async () => {
    await tell("run1", [step("a"), step("b", "failed")]);
    await tell("run1", [step("b", "failed"), step("c")]);
    const run = await createMachinesService(database.db).run(MACHINE, "run1");
    expect(run.steps.map(({ id }) => id)).toEqual(["a", "b", "c"]);
    expect(await events()).toMatchObject([
      { type: "machine.step-failed", payload: { runId: "run1", stepId: "b", machineName: "box" } },
    ]);
  });

  test("told at the same time by two calls are both there", async () => {
    await Promise.all([tell("run1", [step("a")]), tell("run1", [step("b")])]);
    const run = await createMachinesService(database.db).run(MACHINE, "run1");
    expect(run.steps.map(({ id }) => id).sort()).toEqual(["a", "b"]);
  });

  test("name a log that is in the store, and keep it there", async () => {
    await expect(tell("run1", [step("a")], SHA)).rejects.toMatchObject({ code: "invalid_request" });
    expect(await readRuns(database.db, MACHINE, 10)).toEqual([]);
    await database.db.query(
      `insert into blobs (sha256, size_bytes, stored_at, unnamed_since)
       values ($1, 3, now() - interval '9 days', now() - interval '9 days')`,
      [SHA],
    );
    await tell("run1", [step("a")], SHA);
    await tell("run1", [step("b")]);
    expect(await readRuns(database.db, MACHINE, 10)).toMatchObject([{ logSha256: SHA }]);
    await database.db.query("update blobs set stored_at = now() - interval '9 days'");
    const day = 86_400_000;
    expect((await selectUnnamedBlobs(database.db, day, undefined, 10)).found).toEqual([]);
    await database.db.query("update blobs set unnamed_since = now() - interval '9 days'");
    expect(await deleteUnnamedBlob(database.db, SHA, day)).toBeUndefined();
    await database.db.query("delete from startup_runs");
    expect(await deleteUnnamedBlob(database.db, SHA, day)).toBe(3);
  });

  test("are of so many runs of a machine at most, the newest", async () => {
    for (let n = 0; n < RUNS_KEPT + 3; n += 1) await tell(`run${n}`, [step("a")]);
    const runs = await readRuns(database.db, MACHINE, 1_000);
    expect(runs).toHaveLength(RUNS_KEPT);
    expect(runs.some(({ runId }) => runId === "run0")).toBe(false);
    expect(runs[0]?.runId).toBe(`run${RUNS_KEPT + 2}`);
  });

  test("are forgotten after a time, but for the last run", async () => {
    await tell("old", [step("a")]);
    await tell("new", [step("a")]);
    await database.db.query("update startup_runs set updated_at = now() - interval '100 days'");
    expect(await deleteOldRuns(database.db, 90 * 86_400_000, 10)).toBe(1);
    expect(await readRuns(database.db, MACHINE, 10)).toMatchObject([{ runId: "new" }]);
  });
});
