/** Heartbeats of many machines in one statement. */
import type { HeldAttempt, Lease } from "@holdfast/contract";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createSchedulerKit, type Agent, type SchedulerKit } from "../../testing/scheduler-kit.ts";
import { createHeartbeats } from "./heartbeats.ts";
import { writeHeartbeats } from "./heartbeat-store.ts";

const LEASE_TTL_MS = 60_000;
const MACHINES = 5;

let kit: SchedulerKit;
beforeAll(async () => {
  kit = await createSchedulerKit();
});
afterAll(() => kit.close());
beforeEach(() => kit.reset());

async function machinesWithJobs() {
  await kit.queueJobs(MACHINES);
  const all: { readonly agent: Agent; readonly lease: Lease }[] = [];
  for (let at = 0; at < MACHINES; at += 1) {
    const { agent } = await kit.register(null, [], [`http://${at}`]);
    all.push({ agent, lease: kit.only((await kit.poll(agent, 1)).leases) });
  }
  return all;
}

function held(lease: Lease, more: Partial<HeldAttempt> = {}): HeldAttempt {
  const { attemptId, jobId, leaseEpoch } = lease;
  return { attemptId, jobId, leaseEpoch, phase: "running", progress: null, ...more };
}

const done = (percent: number, nodeId = "3") => ({ percent, nodeId, nodesDone: 0, nodesTotal: 1 });

/** Leases renewed just now for longer than a poll of the kit grants. */
async function renewed(): Promise<string[]> {
  const { rows } = await kit.test.db.query<{ attempt_id: string }>(
    "select attempt_id from leases where lease_until > now() + interval '10 s'",
  );
  return rows.map((row) => row.attempt_id);
}

describe("heartbeats of many machines", () => {
  it("are answered each with its own, in order", async () => {
    const machines = await machinesWithJobs();
    const answers = await writeHeartbeats(
      kit.test.db,
      machines.map(({ agent, lease }) => ({ agent, held: [held(lease)] })),
      LEASE_TTL_MS,
    );
    expect(answers).toMatchObject(
      machines.map(({ agent, lease }) => ({
        session: agent.session,
        leases: [{ attemptId: lease.attemptId, leaseEpoch: lease.leaseEpoch }],
        instances: [{ instanceId: agent.instanceIds[0], state: "healthy" }],
      })),
    );
    expect(await renewed()).toHaveLength(MACHINES);
  });

  it("renew neither under a session that has ended nor what another machine holds", async () => {
    const [one, other, third] = await machinesWithJobs();
    if (one === undefined || other === undefined || third === undefined) throw new Error("three");
    const answers = await writeHeartbeats(
      kit.test.db,
      [
        { agent: { ...one.agent, session: one.agent.session - 1 }, held: [held(one.lease)] },
        { agent: { machineId: "mch_nobody", session: 1 }, held: [] },
        { agent: other.agent, held: [held(third.lease)] },
        { agent: third.agent, held: [held(third.lease, { leaseEpoch: 77 })] },
      ],
      LEASE_TTL_MS,
    );
    expect(answers).toMatchObject([
      { session: one.agent.session },
      null,
      { leases: [{ attemptId: other.lease.attemptId }] },
      { leases: [{ attemptId: third.lease.attemptId }] },
    ]);
    expect(await renewed()).toEqual([]);
  });

  it("of the same machine, come together, keep the later word", async () => {
    const [one] = await machinesWithJobs();
    if (one === undefined) throw new Error("one");
    const beats = [10, 20].map((percent) => ({
      agent: one.agent,
      held: [held(one.lease, { progress: done(percent) })],
    }));
    await writeHeartbeats(kit.test.db, beats, LEASE_TTL_MS);
    const { rows } = await kit.test.db.query("select progress from leases where attempt_id = $1", [
      one.lease.attemptId,
    ]);
    expect(rows).toEqual([{ progress: done(20) }]);
  });

  it("note that the machine is there, online again when it was not", async () => {
    const [one, other] = await machinesWithJobs();
    if (one === undefined || other === undefined) throw new Error("two");
    await kit.test.db.query(
      "update machines set last_heartbeat_at = now() - interval '1 h', state = 'lost'",
    );
    await writeHeartbeats(kit.test.db, [{ agent: other.agent, held: [] }], LEASE_TTL_MS);
    const { rows } = await kit.test.db.query(
      "select id from machines where state = 'online' and last_heartbeat_at > now() - interval '1 min'",
    );
    expect(rows).toEqual([{ id: other.agent.machineId }]);
  });

  it("what one sends and the database refuses, refuses that one alone", async () => {
    const machines = await machinesWithJobs();
    const heartbeats = createHeartbeats({
      db: kit.test.db,
      clock: systemClock,
      settings: { leaseTtlMs: LEASE_TTL_MS },
    });
    const settled = await Promise.allSettled(
      machines.map(({ agent, lease }, at) =>
        heartbeats.add({
          agent,
          // jsonb has no place for this character.
          held: [held(lease, { progress: done(5, at === 2 ? "\u0000" : "3") })],
        }),
      ),
    );
    expect(settled.map(({ status }) => status)).toEqual([
      "fulfilled",
      "fulfilled",
      "rejected",
      "fulfilled",
      "fulfilled",
    ]);
    expect(await renewed()).toHaveLength(MACHINES - 1);
  });

  it("wait once for a database that is away, not each by itself", async () => {
    let asked = 0;
    const heartbeats = createHeartbeats({
      db: {
        ...kit.test.db,
        query() {
          asked += 1;
          throw new Error("Connection terminated unexpectedly");
        },
      },
      clock: systemClock,
      settings: { leaseTtlMs: LEASE_TTL_MS },
    });
    const settled = await Promise.allSettled(
      Array.from({ length: 50 }, (_, at) =>
        heartbeats.add({ agent: { machineId: `mch_${at}`, session: 1 }, held: [] }),
      ),
    );
    expect(new Set(settled.map(({ status }) => status))).toEqual(new Set(["rejected"]));
    expect(asked).toBe(1);
  });
});
