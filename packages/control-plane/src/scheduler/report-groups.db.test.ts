import { createHash } from "node:crypto";
import type { AttemptReport, Lease } from "@holdfast/contract";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { createSchedulerKit, type Agent, type SchedulerKit } from "../../testing/scheduler-kit.ts";
import { createPutAhead } from "../files/put-ahead.ts";
import { createRegistrar, type Registrar } from "../files/registrar.ts";
import type { BlobStore } from "../files/model.ts";
import { SILENT_LOG } from "../platform/log.ts";

let kit: SchedulerKit;
beforeAll(async () => {
  kit = await createSchedulerKit();
});
afterAll(() => kit.close());
beforeEach(async () => {
  await kit.reset();
  await kit.test.db.query("delete from blobs");
});

async function leases(count: number): Promise<{ agent: Agent; leases: readonly Lease[] }> {
  await kit.queueJobs(count);
  const { agent } = await kit.register();
  const answer = await kit.poll(agent, count);
  expect(answer.leases).toHaveLength(count);
  return { agent, leases: answer.leases };
}

const sendAll = (agent: Agent, reports: readonly AttemptReport[]) =>
  kit.scheduler().reports.report({
    machineId: agent.machineId,
    session: agent.session,
    reports: [...reports],
  });

const states = async (): Promise<Record<string, string>> => {
  const { rows } = await kit.test.db.query<{ id: string; state: string }>(
    "select id, state from jobs",
  );
  return Object.fromEntries(rows.map((row) => [row.id, row.state]));
};

it("completes what is whole of a group and judges each of the others by itself", async () => {
  await kit.storeBlob();
  const { agent, leases: held } = await leases(5);
  const [whole, late, bare, broken, unstored] = held as [Lease, Lease, Lease, Lease, Lease];
  const missing = "d".repeat(64);
  const report = kit.succeeded(unstored);
  const { outcome } = report;
  if (outcome.kind !== "succeeded") throw new Error("not a success");
  const { answers } = await sendAll(agent, [
    kit.succeeded(whole),
    { ...kit.succeeded(late), leaseEpoch: late.leaseEpoch + 1 },
    kit.failedWith(bare, { kind: "succeeded", outputs: [] }),
    kit.failedWith(broken, {
      kind: "stalled",
      evidence: { channel: "stall", message: "" },
      outputs: [],
    }),
    {
      ...report,
      outcome: {
        ...outcome,
        outputs: outcome.outputs.map((output) => ({ ...output, sha256: missing })),
      },
    },
  ]);
  expect(answers).toEqual([
    { attemptId: whole.attemptId, result: "recorded", missing: [] },
    { attemptId: late.attemptId, result: "lease_lost", missing: [] },
    { attemptId: bare.attemptId, result: "recorded", missing: [] },
    { attemptId: broken.attemptId, result: "recorded", missing: [] },
    { attemptId: unstored.attemptId, result: "outputs_missing", missing: [missing] },
  ]);
  const after = await states();
  expect(after[whole.jobId]).toBe("completed");
  expect(after[late.jobId]).toBe("processing");
  expect(["queued", "recovering"]).toContain(after[bare.jobId]);
  expect(["queued", "recovering"]).toContain(after[broken.jobId]);
  expect(after[unstored.jobId]).toBe("processing");
});

it("completes groups that two callers report crosswise, each job once", async () => {
  await kit.storeBlob();
  const { agent, leases: held } = await leases(40);
  const reports = held.map((lease) => kit.succeeded(lease));
  const rounds = await Promise.all([
    sendAll(agent, reports),
    sendAll(agent, reports.toReversed()),
    sendAll(agent, reports),
  ]);
  for (const { answers } of rounds) {
    expect(answers.map((answer) => answer.result)).toEqual(held.map(() => "recorded"));
  }
  const { rows } = await kit.test.db.query<{ job_id: string; told: number }>(
    "select job_id, count(*)::int as told from events where type = 'job.completed' group by 1",
  );
  expect(rows.map((row) => row.told)).toEqual(held.map(() => 1));
});

it("completes what earlier attempts of the lineage gave together with what this one gave", async () => {
  await kit.storeBlob();
  const { agent, leases: held } = await leases(1);
  const lease = kit.only(held);
  await kit.test.db.query(
    `update jobs set attempt_count = 2, promised = '[{"nodeId":"2"},{"nodeId":"9"}]'`,
  );
  await kit.test.db.query(
    `insert into outputs (id, job_id, attempt_id, lineage, node_id, ordinal, kind, name,
       media_type, size_bytes, sha256, temporary)
     values ('out_1', $1, 'att_1', 1, '9', 0, 'image', 'y.png', 'image/png', 3, $2, false)`,
    [lease.jobId, kit.sha],
  );
  await sendAll(agent, [kit.succeeded(lease)]);
  expect(await kit.jobRow(lease.jobId)).toMatchObject({ state: "completed", output_count: 2 });
});

function memoryStore(): BlobStore & { readonly bytes: Set<string> } {
  const bytes = new Set<string>();
  return {
    bytes,
    description: "memory",
    put: async ({ sha256 }) => {
      bytes.add(sha256);
      return { kind: "stored" };
    },
    open: () => Promise.resolve({ kind: "missing" }),
    has: (sha256) =>
      Promise.resolve(bytes.has(sha256) ? { kind: "found", sizeBytes: 3 } : { kind: "missing" }),
    remove: () => Promise.resolve({ kind: "removed" }),
    probe: () => Promise.resolve({ kind: "ready" }),
    close: () => Promise.resolve(),
  };
}

const BYTES = Buffer.from("abc");
const SOURCE = {
  sha256: createHash("sha256").update(BYTES).digest("hex"),
  sizeBytes: BYTES.length,
  open: async function* () {
    yield BYTES;
  },
};
const rowsOf = async (sha256: string): Promise<number> =>
  (await kit.test.db.query("select from blobs where sha256 = $1", [sha256])).rowCount;

function newRegistrar(): Registrar {
  return createRegistrar({
    db: kit.test.db,
    clock: systemClock,
    random: seededRandom(3),
    log: SILENT_LOG,
  });
}

it("writes the row of bytes put ahead with the report that names them", async () => {
  const put = createPutAhead({
    store: memoryStore(),
    registrar: kit.registrar(),
    maxBytes: 100,
    put: () => Promise.reject(new Error("not this way")),
  });
  const { agent, leases: held } = await leases(2);
  await put(SOURCE);
  expect(await rowsOf(SOURCE.sha256)).toBe(0);
  const named = held.map((lease): AttemptReport => {
    const report = kit.succeeded(lease);
    if (report.outcome.kind !== "succeeded") throw new Error("not a success");
    const outputs = report.outcome.outputs.map((output) => ({ ...output, sha256: SOURCE.sha256 }));
    return { ...report, outcome: { ...report.outcome, outputs } };
  });
  const [first, second] = named as [AttemptReport, AttemptReport];
  // Named by a failure too: what it gave is kept, and needs the row as well.
  const { answers } = await sendAll(agent, [
    first,
    { ...second, outcome: { kind: "succeeded", outputs: [] } },
  ]);
  expect(answers[0]?.result).toBe("recorded");
  expect(await rowsOf(SOURCE.sha256)).toBe(1);
  expect(kit.registrar().unregistered([SOURCE.sha256])).toEqual([]);
});

it("writes the row of bytes that a failure names", async () => {
  const put = createPutAhead({
    store: memoryStore(),
    registrar: kit.registrar(),
    maxBytes: 100,
    put: () => Promise.reject(new Error("not this way")),
  });
  const { agent, leases: held } = await leases(1);
  const lease = kit.only(held);
  await put(SOURCE);
  const report = kit.succeeded(lease);
  if (report.outcome.kind !== "succeeded") throw new Error("not a success");
  const outputs = report.outcome.outputs.map((output) => ({ ...output, sha256: SOURCE.sha256 }));
  const outcome = {
    kind: "stalled",
    evidence: { channel: "stall", message: "" },
    outputs,
  } as const;
  await sendAll(agent, [{ ...report, outcome }]);
  const { rowCount } = await kit.test.db.query("select from outputs where sha256 = $1", [
    SOURCE.sha256,
  ]);
  expect(rowCount).toBe(1);
});

it("writes the rows of bytes that nobody came to name, at the latest when it stops", async () => {
  const registrar = newRegistrar();
  const store = memoryStore();
  const put = createPutAhead({ store, registrar, maxBytes: 100, put: () => Promise.reject() });
  await registrar.start();
  await put(SOURCE);
  expect(await rowsOf(SOURCE.sha256)).toBe(0);
  await registrar.stop();
  expect(await rowsOf(SOURCE.sha256)).toBe(1);
  await expect(put({ ...SOURCE, sizeBytes: 101 })).rejects.toMatchObject({
    code: "file_too_large",
  });
});

it("leaves bytes that were there already to the put that looks at their row", async () => {
  const registrar = newRegistrar();
  const store = memoryStore();
  store.bytes.add(SOURCE.sha256);
  let asked = 0;
  const put = createPutAhead({
    store,
    registrar,
    maxBytes: 100,
    put: (source) => {
      asked += 1;
      return Promise.resolve({ sha256: source.sha256, sizeBytes: source.sizeBytes });
    },
  });
  await put(SOURCE);
  expect(asked).toBe(1);
  expect(registrar.unregistered([SOURCE.sha256])).toEqual([]);
});
