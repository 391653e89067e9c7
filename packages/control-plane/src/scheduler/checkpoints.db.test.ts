import type { CheckpointRequest, Lease, SavedCheckpoint } from "@holdfast/contract";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { createSchedulerKit, type Agent, type SchedulerKit } from "../../testing/scheduler-kit.ts";
import { noteUnnamed, selectUnnamedBlobs, deleteUnnamedBlob } from "../files/store.ts";
import { deleteOldCheckpoints, readCheckpoints, trimCheckpoints } from "./checkpoint-store.ts";

const KEY = "1".repeat(64);
const OTHER_KEY = "2".repeat(64);
const LATENT = "e".repeat(64);
const DAY_MS = 24 * 3_600_000;

let kit: SchedulerKit;
beforeAll(async () => {
  kit = await createSchedulerKit();
});
afterAll(() => kit.close());
beforeEach(async () => {
  await kit.reset();
  await kit.test.db.query(
    "insert into blobs (sha256, size_bytes) values ($1, 100) on conflict do nothing",
    [LATENT],
  );
});

async function lease(): Promise<{ agent: Agent; lease: Lease }> {
  await kit.queueJobs(1);
  const { agent } = await kit.register();
  return { agent, lease: kit.only((await kit.poll(agent, 1)).leases) };
}
const saved = (key: string, more: Partial<SavedCheckpoint> = {}): SavedCheckpoint => ({
  key,
  nodeId: "3",
  sha256: LATENT,
  sizeBytes: 100,
  percent: 50,
  afterMs: 4_000,
  ...more,
});
const note = (agent: Agent, held: Lease, facts: Partial<CheckpointRequest>) =>
  kit.scheduler().checkpoints.note({
    machineId: agent.machineId,
    session: agent.session,
    attemptId: held.attemptId,
    jobId: held.jobId,
    leaseEpoch: held.leaseEpoch,
    saved: [],
    resumedFrom: [],
    unusable: [],
    ...facts,
  });
const events = async (): Promise<readonly unknown[]> => {
  const { rows } = await kit.test.db.query<{ type: string; payload: object }>(
    `select type, payload from events
     where type in ('checkpoint.saved', 'attempt.resumed') order by seq`,
  );
  return rows.map(({ type, payload }) => ({ type, ...payload }));
};
const knownOf = async (held: Lease) =>
  (await readCheckpoints(kit.test.db, [held.jobId])).get(held.jobId)?.known;

it("keeps what an attempt has put away, tells of it once, and gives it to the next", async () => {
  const { agent, lease: held } = await lease();
  for (const turn of [1, 2]) {
    const answer = await note(agent, held, { saved: [saved(KEY)] });
    expect(answer, String(turn)).toEqual({ result: "recorded" });
  }
  expect(await events()).toEqual([
    expect.objectContaining({ type: "checkpoint.saved", nodeId: "3", sizeBytes: 100, attempt: 1 }),
  ]);
  expect(await readCheckpoints(kit.test.db, [held.jobId])).toEqual(
    new Map([
      [held.jobId, { promised: ["2"], known: [{ key: KEY, sha256: LATENT, sizeBytes: 100 }] }],
    ]),
  );
});

it("writes nothing for an attempt whose lease is somebody else's", async () => {
  const { agent, lease: held } = await lease();
  const late = { ...held, leaseEpoch: held.leaseEpoch + 1 };
  const facts = { saved: [saved(KEY)], resumedFrom: [KEY], unusable: [] };
  expect(await note(agent, late, facts)).toEqual({ result: "lease_lost" });
  expect(await knownOf(held)).toBeUndefined();
  expect(await events()).toEqual([]);
});

it("does not believe in bytes that the store does not have", async () => {
  const { agent, lease: held } = await lease();
  await note(agent, held, { saved: [saved(KEY, { sha256: "f".repeat(64) })] });
  expect(await knownOf(held)).toBeUndefined();
});

it("notes a resume once, with the time that it spares over all attempts", async () => {
  const { agent, lease: first } = await lease();
  await note(agent, first, {
    saved: [saved(KEY), saved(OTHER_KEY, { nodeId: "5", afterMs: 9_000 })],
  });
  await kit.send(agent, kit.failedWith(first, { kind: "released", reason: "drain" }));
  let again: readonly Lease[] = [];
  await expect
    .poll(async () => (again = (await kit.poll(agent, 1)).leases).length, { timeout: 5_000 })
    .toBe(1);
  const second = kit.only(again);
  expect(second.attemptNumber).toBe(2);
  await note(agent, second, { resumedFrom: [KEY, OTHER_KEY] });
  await note(agent, second, { resumedFrom: [KEY] });
  const resume = { nodeIds: ["3", "5"], fromAttempt: 1, savedMs: 9_000 };
  expect((await events()).slice(2)).toEqual([
    expect.objectContaining({ type: "attempt.resumed", attempt: 2, ...resume }),
  ]);
  // What it puts away now spares the earlier attempt's time as well.
  await note(agent, second, { saved: [saved("3".repeat(64), { afterMs: 500 })] });
  const { rows } = await kit.test.db.query<{ spent_ms: number }>(
    "select spent_ms from checkpoints where attempt_number = 2",
  );
  expect(rows).toEqual([{ spent_ms: 9_500 }]);
});

it("never uses again what was of no use, even when it is saved once more", async () => {
  const { agent, lease: held } = await lease();
  await note(agent, held, { saved: [saved(KEY)] });
  await note(agent, held, {
    unusable: [
      { key: KEY, nodeId: "3", reason: "no such bytes\u0000" },
      { key: OTHER_KEY, nodeId: "5", reason: "could not be saved" },
    ],
  });
  await note(agent, held, { saved: [saved(KEY)] });
  expect(await knownOf(held)).toEqual(
    expect.arrayContaining([
      { key: KEY, sha256: null, sizeBytes: 100 },
      { key: OTHER_KEY, sha256: null, sizeBytes: 0 },
    ]),
  );
});

it("goes on from nothing that is older than a day", async () => {
  const { agent, lease: held } = await lease();
  await note(agent, held, { saved: [saved(KEY)] });
  await kit.test.db.query("update checkpoints set created_at = now() - interval '25 hours'");
  expect(await knownOf(held)).toBeUndefined();
});

it("keeps the newest of a job, by number and by bytes, and always one", async () => {
  const { agent, lease: held } = await lease();
  for (const n of [1, 2, 3, 4]) {
    await note(agent, held, { saved: [saved(String(n).repeat(64), { sizeBytes: 100 })] });
    await kit.test.db.query("update checkpoints set created_at = created_at - interval '1 minute'");
  }
  const left = async () => (await knownOf(held))?.map(({ key }) => key[0]).sort();
  await trimCheckpoints(kit.test.db, held.jobId, { count: 3, bytes: 10_000 });
  expect(await left()).toEqual(["2", "3", "4"]);
  await trimCheckpoints(kit.test.db, held.jobId, { count: 3, bytes: 200 });
  expect(await left()).toEqual(["3", "4"]);
  await trimCheckpoints(kit.test.db, held.jobId, { count: 3, bytes: 10 });
  expect(await left()).toEqual(["4"]);
});

it("removes what is old, and what a job that ended well needs no more, a part at a time", async () => {
  const { agent, lease: held } = await lease();
  await note(agent, held, { saved: [saved(KEY), saved(OTHER_KEY)] });
  expect(await deleteOldCheckpoints(kit.test.db, 2 * DAY_MS, 10)).toBe(0);
  await kit.test.db.query("update checkpoints set created_at = now() - interval '3 days'");
  expect(await deleteOldCheckpoints(kit.test.db, 2 * DAY_MS, 1)).toBe(1);
  expect(await deleteOldCheckpoints(kit.test.db, 2 * DAY_MS, 10)).toBe(1);
  await note(agent, held, { saved: [saved(KEY)] });
  await kit.storeBlob();
  await kit.send(agent, kit.succeeded(held));
  expect(await deleteOldCheckpoints(kit.test.db, 2 * DAY_MS, 10)).toBe(1);
});

it("holds the bytes until it is gone", async () => {
  const { agent, lease: held } = await lease();
  await note(agent, held, { saved: [saved(KEY)] });
  const age = "update blobs set stored_at = now() - interval '3 days', unnamed_since = null";
  await kit.test.db.query(age);
  const look = () => selectUnnamedBlobs(kit.test.db, DAY_MS, undefined, 100);
  expect((await look()).found).not.toContain(LATENT);
  await kit.test.db.query("delete from checkpoints");
  expect((await look()).found).toContain(LATENT);
  await noteUnnamed(kit.test.db, { found: [LATENT], named: [] });
  await kit.test.db.query("update blobs set unnamed_since = now() - interval '2 days'");
  expect(await deleteUnnamedBlob(kit.test.db, LATENT, DAY_MS)).toBe(100);
});
