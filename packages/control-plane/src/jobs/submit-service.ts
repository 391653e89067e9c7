import { canonicalJson, type InputFileNeed } from "@holdfast/comfyui/protocol";
import { EVENT_TYPES, HoldfastError, type SubmitJob } from "@holdfast/contract";
import { invariant, type Clock, type IdSource } from "@holdfast/runtime";
import { createHash } from "node:crypto";
import type { Caller } from "../access/model.ts";
import type { Db } from "../platform/db.ts";
import type { JobInput, JobWithLease } from "./model.ts";
import type { JobsPorts } from "./ports.ts";
import type { QueueGauge } from "./queue-gauge.ts";
import { readJobs } from "./read-store.ts";
import { createSubmitCommit, type PreparedJob, type WrittenJob } from "./submit-commit.ts";
import { readKeys } from "./submit-store.ts";
import { noOutputs, planSubmission, type PlannedJob, type Refusal } from "./submission.ts";

/** What a submit is made of. */
export interface SubmitDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly gauge: QueueGauge;
  readonly ports: JobsPorts;
  readonly maxQueuedJobs: number;
}

/** How to submit. */
export interface SubmitOptions {
  readonly idempotencyKey?: string;
  readonly validate?: "strict" | "lenient";
}

/** What a submit gave: the jobs in the order of the requests. */
export interface Submitted {
  readonly jobs: readonly JobWithLease[];
  /** False when the idempotency key had been used before: these are the jobs of that time. */
  readonly created: boolean;
  readonly warnings: readonly string[];
}

/** Takes jobs in. */
export interface SubmitService {
  /**
   * Resolves when all jobs are on disk; takes all or none. Throws `HoldfastError`: the `graph_…`
   * codes, `override_unmatched`, `node_class_forbidden`, `input_missing`, `invalid_file_name`,
   * `url_forbidden`, `graph_invalid`, `idempotency_conflict`, `queue_full`, `overloaded`.
   */
  submit(
    caller: Caller,
    requests: readonly SubmitJob[],
    options?: SubmitOptions,
  ): Promise<Submitted>;
  /** Resolves when nothing is being written. */
  drain(): Promise<void>;
}

/** Strict validation's issues that a refusal carries. */
const MAX_ISSUES_TOLD = 50;
/** After how long a full queue is worth another try. */
const QUEUE_FULL_RETRY_SECONDS = 5;

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Makes the submit service. */
export function createSubmitService(deps: SubmitDeps): SubmitService {
  const { db, ids, gauge, ports } = deps;
  const commit = createSubmitCommit(db, deps.clock, gauge);

  const repeated = async (
    jobIds: readonly string[],
    stored: string,
    requestHash: string,
  ): Promise<Submitted> => {
    if (stored !== requestHash) {
      throw new HoldfastError(
        "idempotency_conflict",
        "this Idempotency-Key was used with another body; use a new key for another submit",
        { details: { jobIds: jobIds.slice(0, 10) } },
      );
    }
    const found = new Map((await readJobs(db, jobIds)).map((entry) => [entry.job.id, entry]));
    const jobs = jobIds.flatMap((id) => found.get(id) ?? []);
    return { jobs, created: false, warnings: [] };
  };

  const prepare = async (
    caller: Caller,
    plans: readonly PlannedJob[],
    options: SubmitOptions,
  ): Promise<{ readonly jobs: readonly PreparedJob[]; readonly warnings: readonly string[] }> => {
    const warnings: string[] = [];
    const inputs = await findInputs(deps, caller, plans);
    const jobs: PreparedJob[] = [];
    for (const [index, plan] of plans.entries()) {
      const warn = (text: string): void =>
        void warnings.push(plans.length === 1 ? text : `jobs[${index}]: ${text}`);
      if (plan.webhook !== null) await ports.checkWebhookUrl(plan.webhook.url);
      if (options.validate === "strict") await validateStrictly(deps, plan, index, plans.length);
      const promised =
        plan.promised.length > 0 ? plan.promised : await askForOutputs(deps, plan, warn);
      jobs.push({
        id: ids.next("job"),
        plan: { ...plan, promised },
        inputs: plan.inputFiles.map((file) => inputs(file)),
        queuedEventId: ids.next("evt"),
        heldEventId: ids.next("evt"),
      });
    }
    return { jobs, warnings };
  };

  const reserve = async (owner: string, count: number): Promise<void> => {
    await gauge.refresh();
    const waiting = gauge.waiting();
    if (waiting + count > deps.maxQueuedJobs) {
      throw new HoldfastError(
        "queue_full",
        `${waiting} jobs wait, and at most ${deps.maxQueuedJobs} may; nothing was accepted, try again later`,
        {
          retryAfterSeconds: QUEUE_FULL_RETRY_SECONDS,
          details: { waiting, limit: deps.maxQueuedJobs, submitted: count },
        },
      );
    }
    gauge.note(owner, count);
  };

  return {
    async submit(caller, requests, options = {}) {
      const plans = planAll(caller, requests);
      const { idempotencyKey } = options;
      const idempotency =
        idempotencyKey === undefined
          ? null
          : { key: idempotencyKey, requestHash: sha256(canonicalJson(requests)) };
      if (idempotency !== null) {
        // A repeat gives the same jobs even when the queue is full or the files are gone by now.
        const [stored] = await readKeys(db, [{ owner: caller.id, key: idempotency.key }]);
        if (stored !== undefined) {
          return await repeated(stored.jobIds, stored.requestHash, idempotency.requestHash);
        }
      }
      const { jobs, warnings } = await prepare(caller, plans, options);
      await reserve(caller.id, jobs.length);
      let result;
      try {
        result = await commit.add({ owner: caller.id, jobs, idempotency });
      } catch (error) {
        gauge.note(caller.id, -jobs.length);
        throw error;
      }
      if (result.kind === "repeated") {
        gauge.note(caller.id, -jobs.length);
        return await repeated(result.jobIds, result.requestHash, idempotency?.requestHash ?? "");
      }
      ports.onEvents();
      const isHeld = result.jobs.some((job) => job.held);
      if (!isHeld) {
        ports.onQueued(
          result.jobs.map((job, index) => ({
            id: job.requirementId,
            needs: jobs[index]?.plan.needs ?? null,
          })),
        );
      }
      return {
        jobs: result.jobs.map((row, index) => toNewJob(caller, row, jobs[index])),
        created: true,
        warnings,
      };
    },
    drain: () => commit.drain(),
  };
}

function planAll(caller: Caller, requests: readonly SubmitJob[]): PlannedJob[] {
  return requests.map((request, index) => {
    const planned = planSubmission(request, { allowedClasses: caller.allowedClasses, sha256 });
    if (planned.kind === "refused") throw toError(planned, index, requests.length);
    const unknown = planned.job.webhook?.events?.find(
      (type) => !(EVENT_TYPES as readonly string[]).includes(type),
    );
    if (unknown !== undefined) {
      throw new HoldfastError(
        "invalid_request",
        `webhook.events: there is no event type "${unknown}"; they are ${EVENT_TYPES.join(", ")}`,
        { details: { field: "webhook.events" } },
      );
    }
    return planned.job;
  });
}

/** The error of a refusal; of many jobs it names which one. */
function toError(refusal: Refusal, index: number, count: number): HoldfastError {
  const where = count === 1 ? "" : `jobs[${index}]: `;
  return new HoldfastError(refusal.code, `${where}${refusal.message}`, {
    details: { ...refusal.details, ...(count > 1 && { index }) },
  });
}

async function validateStrictly(
  deps: SubmitDeps,
  plan: PlannedJob,
  index: number,
  count: number,
): Promise<void> {
  const answer = await deps.ports.validateStrictly(plan.graph);
  if (answer.kind === "valid") return;
  const refusal: Refusal =
    answer.kind === "no_machine"
      ? {
          kind: "refused",
          code: "graph_invalid",
          message:
            "strict validation asks the machines, and none has told what it accepts yet; submit without validate=strict, or start a machine first",
          details: { issues: [] },
        }
      : {
          kind: "refused",
          code: "graph_invalid",
          message: `no known machine would accept the graph: ${answer.issues[0]?.message ?? ""}`,
          details: { issues: answer.issues.slice(0, MAX_ISSUES_TOLD) },
        };
  throw toError(refusal, index, count);
}

/** For a graph whose outputs this package's table does not know. */
async function askForOutputs(
  deps: SubmitDeps,
  plan: PlannedJob,
  warn: (text: string) => void,
): Promise<PlannedJob["promised"]> {
  const declared = await deps.ports.declaredOutputs(plan.graph);
  if (declared === undefined) {
    warn("no node of the graph is known to save anything; whether it does is up to the machine");
    return [];
  }
  if (declared.length === 0) throw toError(noOutputs(), 0, 1);
  return declared;
}

/** Finds the files of all plans in one look-up. */
async function findInputs(
  deps: SubmitDeps,
  caller: Caller,
  plans: readonly PlannedJob[],
): Promise<(file: InputFileNeed) => JobInput> {
  const needed = plans.flatMap((plan) => plan.inputFiles);
  const names = [...new Set(needed.map((file) => file.name))];
  if (names.length === 0) {
    return () => {
      throw new Error("no inputs were looked up");
    };
  }
  const resolved = await deps.ports.resolveInputs(deps.db, caller.id, names);
  if (resolved.kind === "missing") {
    const missing = needed.find((file) => resolved.names.includes(file.name));
    invariant(missing !== undefined, "a missing file was asked for");
    throw new HoldfastError(
      "input_missing",
      `input "${missing.input}" of node ${missing.nodeId} reads the file ${JSON.stringify(missing.name)}, which you have not uploaded: send it to POST /api/v1/files first, or use \`holdfast submit --input\``,
      {
        details: {
          nodeId: missing.nodeId,
          input: missing.input,
          name: missing.name,
          missing: resolved.names.slice(0, 100),
        },
      },
    );
  }
  const found = new Map(resolved.inputs.map((file) => [file.name, file]));
  return ({ nodeId, input, name }) => {
    const file = found.get(name);
    invariant(file !== undefined, "every file that is not missing was found");
    return { nodeId, input, name, sha256: file.sha256, sizeBytes: file.sizeBytes };
  };
}

/** A job as it was just written, without reading it again. */
function toNewJob(
  caller: Caller,
  row: WrittenJob,
  prepared: PreparedJob | undefined,
): JobWithLease {
  invariant(prepared !== undefined, "every written job was prepared");
  const { plan } = prepared;
  return {
    lease: null,
    job: {
      id: row.id,
      number: row.number,
      owner: caller.id,
      state: "queued",
      held: row.held,
      poison: false,
      priority: plan.priority,
      requirementId: row.requirementId,
      graphId: row.graphId,
      patch: plan.patch,
      plan: null,
      lineage: 1,
      round: 1,
      inputs: prepared.inputs,
      promised: plan.promised,
      leaseEpoch: 0,
      attemptCount: 0,
      failureCount: 0,
      recoveryCount: 0,
      runAt: null,
      waitingReason: null,
      timeoutMs: plan.timeoutMs,
      executionMs: 0,
      policy: plan.policy,
      name: plan.name,
      tags: plan.tags,
      batchId: plan.batchId,
      metadata: plan.metadata,
      webhook: plan.webhook,
      error: null,
      outputCount: 0,
      createdAt: row.createdAt,
      startedAt: null,
      endedAt: null,
    },
  };
}
