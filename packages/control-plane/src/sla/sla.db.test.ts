/** What was delivered by the minute: against real Postgres, and over HTTP. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ENDED_ON_PURPOSE, SIGNED_OFF, type SlaStatus } from "@holdfast/contract";
import { createJobsKit, ANN } from "../../testing/jobs-kit.ts";
import { startSystem, type TestSystem } from "../../../../test/support/system.ts";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../../test/support/test-database.ts";
import { createMachinesService } from "../machines/service.ts";
import type { Db } from "../platform/db.ts";
import { createSlaService, type SlaQuestion } from "./service.ts";

// Without the loops of a control plane: they would have counted up to now before the first job is made.
let test: TestDatabase;
let db: Db;
beforeAll(async () => {
  test = await createTestDatabase({ max: 4 });
  ({ db } = test);
});
afterAll(() => test.drop());
beforeEach(() =>
  emptyTables(db, [
    "jobs",
    "service_minutes",
    "service_minutes_counted",
    "instance_losses",
    "instances",
    "machines",
    "fleet_machines",
    "fleet_pools",
  ]),
);

const kit = createJobsKit(() => db);
const NOON = Date.parse("2026-11-01T12:00:00.000Z");

interface End {
  readonly state?: string;
  readonly batch?: string;
  /** Seconds after noon. */
  readonly created: number;
  readonly ended: number;
  readonly attempts?: number;
  readonly outputs?: number;
}

/** Jobs that ended, as reports leave them. */
async function ended(...ends: readonly End[]): Promise<void> {
  const jobs = kit.makeJobs();
  for (const {
    state = "completed",
    batch = null,
    created,
    ended: end,
    attempts = 1,
    outputs = 1,
  } of ends) {
    const id = await kit.one(jobs, ANN);
    await db.query(
      `update jobs set state = $2, batch_id = $3, created_at = $4, ended_at = $5, attempt_count = $6,
         output_count = $7 where id = $1`,
      [id, state, batch, at(created), at(end), attempts, outputs],
    );
  }
}
const at = (seconds: number): string => new Date(NOON + seconds * 1_000).toISOString();

async function countAll(window = 2): Promise<void> {
  const sla = createSlaService(db, window);
  while ((await sla.count()) === "more");
}

const ask = (question: SlaQuestion = {}): Promise<SlaStatus> =>
  createSlaService(db, 2).status({
    from: NOON,
    to: NOON + 3_600_000,
    stepSeconds: 60,
    ...question,
  });
const lately = (): SlaQuestion => ({ from: Date.now() - 600_000, to: Date.now() + 60_000 });

describe("what was delivered", () => {
  it("is told by the minute and in all, with how long it took", async () => {
    await ended(
      { created: 0, ended: 10 },
      { created: 0, ended: 20, attempts: 3, outputs: 4 },
      { created: 30, ended: 130 },
      { state: "failed", created: 0, ended: 131 },
      { state: "timeout", created: 0, ended: 132 },
      { state: "cancelled", created: 0, ended: 133 },
    );
    await countAll();
    const body = await ask();
    expect(body.points.map((one) => [one.at, one.completed, one.failed])).toEqual([
      [at(0), 2, 0],
      [at(120), 1, 1],
    ]);
    expect(body.totals).toMatchObject({
      completed: 3,
      recovered: 1,
      failed: 1,
      timedOut: 1,
      cancelled: 1,
      outputs: 6,
      latencySeconds: { jobs: 3 },
    });
    const { p50 = 0, p99 = 0 } = body.totals.latencySeconds ?? {};
    expect(p50).toBeGreaterThanOrEqual(20);
    expect(p50).toBeLessThan(20.5);
    expect(p99).toBeGreaterThanOrEqual(100);
    expect(p99).toBeLessThan(102.1);
    expect(body.budget).toMatchObject({ ended: 5, failed: 2, leftShare: 1 - 2 / 5 / 0.02 });
  });

  it("counts a page from when its book had room for it", async () => {
    // Four pages of one book, submitted together, each 10 s, two at a time; and a job of no book.
    await ended(
      { batch: "bat_1", created: 0, ended: 10 },
      { batch: "bat_1", created: 0, ended: 10.1 },
      { batch: "bat_1", created: 0, ended: 20 },
      { batch: "bat_1", created: 0, ended: 20.1 },
      { created: 0, ended: 20.2 },
    );
    await countAll();
    const inOne = (await ask()).totals.latencySeconds;
    expect(inOne?.p50).toBeLessThan(10.4);
    expect(inOne?.p99).toBeGreaterThan(20);
    await emptyTables(db, ["service_minutes", "service_minutes_counted"]);
    await countAll(4);
    expect((await ask()).totals.latencySeconds?.p50).toBeGreaterThan(19.9);
  });

  it("counts again what may still have come, and leaves alone what is settled", async () => {
    await ended({ created: 0, ended: 10 });
    await countAll();
    await countAll();
    expect((await ask()).totals.completed).toBe(1);
    // Settled: the jobs are gone, and the minute stays.
    await db.query("delete from jobs");
    await countAll();
    expect((await ask()).totals.completed).toBe(1);
    // Now: seen at once, and not doubled.
    const id = await kit.one(kit.makeJobs(), ANN);
    await db.query("update jobs set state = 'completed', ended_at = now() where id = $1", [id]);
    await countAll();
    await countAll();
    const now = await ask(lately());
    expect(now.totals.completed).toBe(1);
  });

  it("begins with nothing, and is counted by one replica at a time", async () => {
    await Promise.all([countAll(), countAll(), countAll()]);
    expect(await ask()).toMatchObject({
      totals: { completed: 0, latencySeconds: null },
      points: [],
      budget: { ended: 0, leftShare: null },
      losses: [],
    });
  });

  it("is refused with what was expected", async () => {
    for (const [question, words] of [
      [{ to: NOON - 1 }, "`from` lies before `to`"],
      [{ stepSeconds: 90 }, "a multiple of 60"],
      [{ from: NOON - 300 * 86_400_000 }, "at least"],
      [{ from: NOON - 3_000 * 86_400_000 }, "400 days"],
      [{ failedPercentMax: 0 }, "over 0"],
      [{ budgetDays: 400 }, "1 to 366"],
    ] as const) {
      await expect(ask(question)).rejects.toThrow(words);
    }
  });
});

describe("what was lost", () => {
  const losses = async () => (await ask(lately())).losses;
  const become = (state: string, reason: string | null = "gone") =>
    db.query("update instances set state = $1, reason = $2 where id = 'ins_1'", [state, reason]);

  const declare = (bootId = "boot-1") =>
    createMachinesService(db).register(
      db,
      { id: "mch_1", name: "m", bootId, agentVersion: "test" },
      [{ id: "ins_1", key: "k", name: "gpu0", canRestart: false }],
    );
  beforeEach(async () => {
    await declare();
    await become("healthy");
  });
  const lose = async () => {
    await db.query("update machines set last_heartbeat_at = now() - interval '90 s'");
    return createMachinesService(db).markLost(60_000);
  };

  it("is an instance from when it was unhealthy until it was healthy again", async () => {
    expect(await losses()).toEqual([]);
    await become("unhealthy");
    expect(await losses()).toMatchObject([
      { kind: "instance", name: "gpu0", reason: "gone", refilledAt: null },
    ]);
    await become("starting");
    await become("healthy");
    await become("unhealthy");
    // Its agent goes in good order: nobody is waiting for it any more.
    await become("stopped");
    await become("stopped", SIGNED_OFF);
    await become("healthy");
    const [second, first, ...none] = await losses();
    expect(none).toEqual([]);
    expect(Date.parse(first?.refilledAt ?? "")).toBeGreaterThanOrEqual(
      Date.parse(first?.lostAt ?? ""),
    );
    expect(first?.leftAt).toBeNull();
    expect(second?.refilledAt).toBeNull();
    expect(second?.leftAt).not.toBeNull();
  });

  it("is told however old it is, as long as it is missing", async () => {
    await become("unhealthy");
    await db.query("update instance_losses set lost_at = now() - interval '3 d'");
    expect(await losses()).toMatchObject([{ name: "gpu0", refilledAt: null }]);
    await become("healthy");
    expect(await losses()).toEqual([]);
  });

  it("is a machine only as long as its pool lacks one", async () => {
    await db.query(
      `insert into fleet_machines (id, name, pool, provider, state, offer_index, healthy_at, ended_at,
         end_cause, end_kind, end_reason)
       values ('fmc_1', 'a', 'gpu', 'fake', 'ended', 0, now() - interval '3 d', now() - interval '2 d',
         'failed', 'crash', 'gone')`,
    );
    const decide = (desired: number) =>
      db.query(
        `insert into fleet_pools (name, decision) values ('gpu', $1)
         on conflict (name) do update set decision = excluded.decision`,
        [JSON.stringify({ pool: "gpu", desired, living: 0, ask: 0, held: null })],
      );
    expect(await losses()).toMatchObject([{ kind: "machine", name: "a", leftAt: null }]);
    await decide(1);
    expect(await losses()).toMatchObject([{ kind: "machine", name: "a", refilledAt: null }]);
    await decide(0);
    expect(await losses()).toEqual([]);
  });

  it("is one whose process ends, but for one that is ended on purpose or declared anew", async () => {
    for (const [state, reason] of [
      ["stopped", SIGNED_OFF],
      ["stopped", `${ENDED_ON_PURPOSE}: connect ECONNREFUSED`],
      ["starting", null],
    ] as const) {
      await become(state, reason);
      await become("healthy");
    }
    await declare();
    await become("healthy");
    expect(await losses()).toEqual([]);
    await become("stopped", "connect ECONNREFUSED");
    await become("starting", "its supervisor starts it");
    expect(await losses()).toMatchObject([{ reason: "connect ECONNREFUSED", refilledAt: null }]);
  });

  it("is one that was ended on purpose and is not back in the time of a restart", async () => {
    const onPurpose = `${ENDED_ON_PURPOSE}: connect ECONNREFUSED`;
    await become("stopped", onPurpose);
    await become("starting", onPurpose);
    expect(await losses()).toEqual([]);
    // Its agent says so no more.
    await become("starting", "connect ECONNREFUSED");
    expect(await losses()).toMatchObject([{ reason: "connect ECONNREFUSED", refilledAt: null }]);
    await become("stopped", "connect ECONNREFUSED");
    await become("healthy");
    const [only, ...none] = await losses();
    expect(none).toEqual([]);
    expect(only?.refilledAt).not.toBeNull();
  });

  it("is what a lost machine had, since its last sign, until that is healthy again", async () => {
    expect(await lose()).toHaveLength(1);
    const [gone] = await losses();
    expect(gone).toMatchObject({ name: "gpu0", refilledAt: null });
    expect(Date.now() - Date.parse(gone?.lostAt ?? "")).toBeGreaterThan(85_000);
    // Cut off only: the same agent is heard again.
    await db.query("update machines set state = 'online', last_heartbeat_at = now()");
    expect((await losses())[0]?.refilledAt).not.toBeNull();
    await lose();
    await declare("boot-2");
    expect((await losses()).map((one) => one.refilledAt === null)).toEqual([true, false]);
    await become("healthy");
    expect((await losses()).filter((one) => one.refilledAt === null)).toEqual([]);
  });

  it("is what an agent had that ended without a word", async () => {
    await declare("boot-2");
    expect(await losses()).toMatchObject([
      { reason: "its agent ended without a word", refilledAt: null },
    ]);
  });

  it("is not waited for once the fleet has ended its machine", async () => {
    await db.query(
      `insert into fleet_machines (id, name, pool, provider, state, offer_index, machine_id, healthy_at)
       values ('fmc_1', 'a', 'gpu', 'fake', 'ready', 0, 'mch_1', now() - interval '1 h')`,
    );
    await lose();
    await db.query(
      `update fleet_machines set state = 'ended', ended_at = now(), end_cause = 'failed',
         end_kind = 'no_heartbeat', end_reason = 'silent'`,
    );
    const told = await losses();
    expect(told.find(({ kind }) => kind === "instance")?.leftAt).not.toBeNull();
    // Missing since its last sign, not since it was given up.
    const machine = told.find(({ kind }) => kind === "machine");
    expect(Date.now() - Date.parse(machine?.lostAt ?? "")).toBeGreaterThan(85_000);
  });
});

describe("over HTTP", () => {
  let system: TestSystem;
  beforeAll(async () => {
    system = await startSystem({ agent: false, simulators: [] });
  });
  afterAll(() => system.close());

  it("is told of the last day, and a question that cannot be is refused", async () => {
    const told = await fetch(`${system.url}/api/v1/sla`);
    expect([told.status, await told.json()]).toEqual([
      200,
      expect.objectContaining({ stepSeconds: 60, points: [], losses: [] }),
    ]);
    const refused = await fetch(`${system.url}/api/v1/sla?stepSeconds=90`);
    expect([refused.status, JSON.stringify(await refused.json())]).toEqual([
      400,
      expect.stringContaining("a multiple of 60"),
    ]);
  });
});
