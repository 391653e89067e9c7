/** The error recovery API over HTTP, on a whole control plane without agents; one for a test file. */
import type { RecoveryStatus, RecoverySubmitted } from "@holdfast/contract";
import { afterAll, beforeAll, beforeEach } from "vitest";
import { startSystem, type TestSystem } from "../../../test/support/system.ts";
import type { Db } from "../src/platform/db.ts";
import { BUILT_IN_GRAPH } from "../src/recovery/built-in-graph.ts";
import { emptyTables } from "../../../test/support/test-database.ts";

/** Where the routes are. */
export const API = "/api/error-recovery";
export let system: TestSystem;
export let db: Db;

/** Starts it before the tests of a file, and empties its database before each. */
export function useRecoveryApi(): void {
  beforeAll(async () => {
    system = await startSystem({ agent: false, simulators: [] });
    db = system.controlPlane.db();
  });
  afterAll(() => system.close());
  beforeEach(async () => {
    await emptyTables(db, [
      "jobs",
      "leases",
      "attempts",
      "outputs",
      "error_events",
      "error_changes",
      "error_counts",
      "inventories",
      "instances",
      "machines",
      "settings",
    ]);
  });
}

export interface Answer {
  readonly status: number;
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any;
}

export async function call(
  method: "GET" | "POST" | "DELETE",
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const answer = await fetch(`${system.url}${path}`, {
    method,
    headers: { ...(body !== undefined && { "content-type": "application/json" }), ...headers },
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  return { status: answer.status, body: await answer.json() };
}
export const submit = (body: object, headers?: Readonly<Record<string, string>>) =>
  call("POST", `${API}/jobs/submit`, body, headers);
export const statusOf = async (ref: number | string): Promise<RecoveryStatus> =>
  (await call("GET", `${API}/jobs/${ref}/status`)).body as RecoveryStatus;
export const graphOf = async (job: RecoverySubmitted) =>
  (await call("GET", `/api/v1/jobs/${job.id}/graph`)).body as typeof BUILT_IN_GRAPH;

/** A job with an attempt that failed for lack of memory, as the scheduler writes it. */
export async function failedAttempt(jobId: string, number: number, round = 1): Promise<void> {
  await db.query(
    `insert into attempts (id, job_id, number, round, lease_epoch, lineage, machine_id, instance_id,
       prompt_id, started, outcome, error, evidence, decision, ended_at)
     values ('att_' || $1::text || ($2::int)::text, $1, $2::int, $3, 1, 1, 'mch_1', 'ins_1',
       gen_random_uuid()::text, true, 'failed', $4, '{"channel": "execution", "message": "x"}', $5,
       now())`,
    [
      jobId,
      number,
      round,
      JSON.stringify({ class: "cuda_out_of_memory", strategy: "REDUCE_PARAMS" }),
      JSON.stringify({
        action: "retry",
        rule: "graph_changed",
        reason: "Reduced parameters for cuda_out_of_memory: batch 8 → 4.",
        delayMs: 0,
      }),
    ],
  );
}

/** A machine with these checkpoint models. */
export async function machineWith(
  checkpoints: readonly string[],
  state = "healthy",
): Promise<void> {
  await db.query(
    `insert into inventories (digest, node_classes, models, simulated, object_info)
     values ('d', '{}', $1, true, '{}')`,
    [JSON.stringify({ checkpoints })],
  );
  await db.query(
    `insert into machines (id, name, boot_id, session, state, agent_version)
     values ('mch_1', 'm', 'b', 1, 'online', 'test')`,
  );
  await db.query(
    `insert into instances (id, machine_id, key, name, state, inventory_digest)
     values ('ins_1', 'mch_1', 'k', 'i', $1, 'd')`,
    [state],
  );
}

export const WORKFLOW = {
  ...BUILT_IN_GRAPH,
  "10": { class_type: "Note", inputs: { text: "" } },
};
