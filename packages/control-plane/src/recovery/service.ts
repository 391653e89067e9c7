import { parseGraph, type Graph, type GraphLimits } from "@holdfast/comfyui/protocol";
import {
  DEFAULT_TIMEOUT_MINUTES,
  HoldfastError,
  type RecoveryPlan,
  type RecoveryPlanRequest,
  type RecoveryStatus,
  type RecoverySubmit,
} from "@holdfast/contract";
import { readParameters } from "@holdfast/recovery";
import { nextInt, type Random } from "@holdfast/runtime";
import type { Caller } from "../access/model.ts";
import type { JobWithLease } from "../jobs/model.ts";
import type { JobsService } from "../jobs/service.ts";
import { toJobView } from "../jobs/view.ts";
import { isPlaceable } from "../machines/eligibility.ts";
import type { MachinesService } from "../machines/service.ts";
import type { Db } from "../platform/db.ts";
import { builtInGraph, builtInGraphOnNamed } from "./built-in-graph.ts";
import { composeGraph, findBadParameter } from "./compose.ts";
import type { RecoveryPorts } from "./model.ts";
import { planFor } from "./plan.ts";
import { METADATA_KEY, toRecoveryStatus } from "./status.ts";
import * as store from "./store.ts";

/** What the service is made of. */
export interface RecoveryServiceDeps {
  readonly db: Db;
  readonly random: Random;
  readonly jobs: JobsService;
  readonly machines: MachinesService;
  readonly ports: RecoveryPorts;
  /** `MAX_RETRY_ATTEMPTS`: retries by hand without force. */
  readonly maxRetries: number;
  readonly graphLimits?: GraphLimits;
}

/** What a submit gave. */
export interface RecoverySubmission {
  readonly job: JobWithLease;
  readonly created: boolean;
  readonly warnings: readonly string[];
}

/** What a clean-up removed. */
export interface CleanUp {
  readonly histories: number;
  readonly attempts: number;
  readonly checkpoints: number;
  readonly more: boolean;
}

/** The error recovery API's deeds. `ref` is a job's number or its id. */
export interface RecoveryService {
  /** As {@link JobsService.submit}, and `model_unavailable`, `invalid_request`. */
  submit(
    caller: Caller,
    request: RecoverySubmit,
    idempotencyKey?: string,
  ): Promise<RecoverySubmission>;
  status(caller: Caller, ref: string): Promise<RecoveryStatus>;
  /** Queues a job again that failed or ran out of time; any ended one with `force`. */
  retry(caller: Caller, ref: string, force: boolean): ReturnType<JobsService["retry"]>;
  /** What would be done about an error. */
  plan(caller: Caller, request: RecoveryPlanRequest): Promise<RecoveryPlan>;
  /** Removes what recovery keeps of jobs that ended so long ago. Never touches a live job. */
  cleanUp(endedHoursAgo: number): Promise<CleanUp>;
}

/** Steps of a history that a status tells. */
const MAX_STEPS = 1_000;
/** Attempts looked at in one transaction of a clean-up, and in one call. */
const CLEANUP_STEP = 500;
const CLEANUP_MAX = 200_000;
/** Parameters are kept with the job up to this size, as JSON; metadata may be 16 KiB in all. */
const MAX_KEPT_BYTES = 12 * 1024;
const MS_PER_MINUTE = 60_000;
/** Seeds are drawn below this: every client reads them exactly. */
const SEED_BOUND = 2 ** 48;
const CHECKPOINTS = "checkpoints/";
/** Fields of a submit; others are told in a warning. */
const KNOWN_FIELDS = new Set([
  "prompt",
  "workflow_data",
  "job_type",
  "parameters",
  "timeout_minutes",
]);

/** Makes the service. */
export function createRecoveryService(deps: RecoveryServiceDeps): RecoveryService {
  const { db, jobs, ports } = deps;
  return {
    async submit(caller, request, idempotencyKey) {
      const parameters = request.parameters ?? {};
      refuseBadParameter(parameters);
      const prompt = request.prompt ?? null;
      const warnings = Object.keys(request)
        .filter((field) => !KNOWN_FIELDS.has(field))
        .map((field) => `${field.slice(0, 100)}: there is no such field; it was left out`);
      const own = request.workflow_data ?? null;
      let body: Record<string, unknown>;
      if (own === null) {
        const graph = await chooseBuiltIn(deps, prompt, parameters);
        const composed = composeGraph(graph, prompt, parameters);
        body = { ...composed.graph };
        warnings.push(...composed.warnings);
        if (isOther(request.job_type)) {
          warnings.push(`job_type: the built-in graph makes an image, not ${request.job_type}`);
        }
      } else {
        const parsed = parseGraph(own, deps.graphLimits);
        // What is no graph is refused by the submit, in its own words.
        const composed =
          parsed.kind === "graph" ? composeGraph(parsed.graph, prompt, parameters) : undefined;
        body = { ...(composed?.graph ?? own) };
        warnings.push(...(composed?.warnings ?? []));
      }
      const { jobs: made, ...told } = await jobs.submit(
        caller,
        [
          {
            graph: body,
            timeoutMs: Math.round(
              (request.timeout_minutes ?? DEFAULT_TIMEOUT_MINUTES) * MS_PER_MINUTE,
            ),
            metadata: { [METADATA_KEY]: keptOf(request) },
          },
        ],
        {
          keyedBody: request,
          ...(idempotencyKey !== undefined && { idempotencyKey }),
        },
      );
      const [job] = made;
      if (job === undefined) throw new Error("one request gives one job");
      return { job, created: told.created, warnings: [...warnings, ...told.warnings] };
    },
    async status(caller, ref) {
      const found = await jobs.find(caller, ref);
      const { job } = found;
      const [steps, outputs, submitted, running, savedStates, lastCheckpoint] = await Promise.all([
        store.readSteps(db, job.id, MAX_STEPS),
        jobs.outputs(caller, job.id),
        jobs.graph(caller, job.id, "submitted"),
        jobs.graph(caller, job.id),
        ports.countCheckpoints(job.id),
        ports.lastCheckpoint(job.id),
      ]);
      return toRecoveryStatus({
        job,
        view: toJobView(found),
        steps,
        outputs,
        savedStates,
        lastCheckpoint,
        submitted: readParameters(submitted),
        running: readParameters(running),
      });
    },
    retry: (caller, ref, force) =>
      jobs.retry(caller, ref, {
        force,
        from: ["failed", "timeout"],
        maxRetries: deps.maxRetries,
      }),
    async plan(caller, { error, job_id: ref, workflow_data: own, policy }) {
      const jobPolicy = ref === undefined ? {} : (await jobs.find(caller, String(ref))).job.policy;
      if (own !== undefined) {
        const parsed = parseGraph(own, deps.graphLimits);
        if (parsed.kind === "refused") throw refusedGraph(parsed.message);
      }
      return planFor(error, { ...jobPolicy, ...policy });
    },
    async cleanUp(endedHoursAgo) {
      let histories = 0;
      let attempts = 0;
      let after: string | null = "";
      while (after !== null && attempts < CLEANUP_MAX) {
        const from: string = after;
        const step = await db.transaction((tx) =>
          store.removeHistories(tx, from, endedHoursAgo, CLEANUP_STEP),
        );
        histories += step.jobs;
        attempts += step.attempts;
        after = step.last;
      }
      const checkpoints = await ports.removeCheckpoints(endedHoursAgo);
      return { histories, attempts, checkpoints, more: after !== null };
    },
  };
}

function refuseBadParameter(parameters: Readonly<Record<string, unknown>>): void {
  const bad = findBadParameter(parameters);
  if (bad === undefined) return;
  const field = `body.parameters.${bad.name}`;
  throw new HoldfastError("invalid_request", `${field}: ${bad.message}`, { details: { field } });
}

function refusedGraph(message: string): HoldfastError {
  return new HoldfastError("invalid_request", `body.workflow_data: ${message}`, {
    details: { field: "body.workflow_data" },
  });
}

const isOther = (jobType: string | null | undefined): boolean =>
  jobType !== null && jobType !== undefined && jobType.toLowerCase() !== "image";

/** What is kept of a request with the job: its graph and its timeout are there anyway. */
function keptOf({ job_type, parameters }: RecoverySubmit): Record<string, unknown> {
  const kept = { job_type: job_type ?? null, parameters: parameters ?? {} };
  if (Buffer.byteLength(JSON.stringify(kept)) <= MAX_KEPT_BYTES) return kept;
  // Long values are texts for nodes, and stand in the graph; numbers and names are never long.
  const short = Object.entries(kept.parameters).filter(
    ([, value]) => Buffer.byteLength(JSON.stringify(value) ?? "") <= 100,
  );
  return { ...kept, parameters: Object.fromEntries(short.slice(0, 50)) };
}

/** The graph of a job that brings none. Throws `invalid_request`, `model_unavailable`. */
async function chooseBuiltIn(
  { machines, random }: RecoveryServiceDeps,
  prompt: string | null,
  parameters: Readonly<Record<string, unknown>>,
): Promise<Graph> {
  if (prompt === null || prompt.trim() === "") {
    throw new HoldfastError(
      "invalid_request",
      "body.prompt: expected a text, as there is no workflow_data: the built-in graph renders what the prompt says",
      { details: { field: "body.prompt" } },
    );
  }
  const seed = nextInt(random, SEED_BOUND);
  const named = parameters["model"];
  if (typeof named === "string") return builtInGraphOnNamed(named, seed);
  const graph = builtInGraph(await checkpointsThere(machines), seed);
  if (graph === undefined) {
    throw new HoldfastError(
      "model_unavailable",
      "no healthy machine has a checkpoint model that the built-in text-to-image graph could use: send workflow_data, name one as parameters.model, or connect a machine that has one",
    );
  }
  return graph;
}

/** Checkpoint models of the instances that take work now. */
async function checkpointsThere(machines: MachinesService): Promise<string[]> {
  const names = new Set<string>();
  const instances = await machines.placedInstances();
  const digests = new Set(
    instances.filter(isPlaceable).flatMap(({ inventoryDigest }) => inventoryDigest ?? []),
  );
  for (const digest of digests) {
    const inventory = await machines.inventory(digest);
    for (const key of inventory?.models ?? []) {
      if (key.startsWith(CHECKPOINTS)) names.add(key.slice(CHECKPOINTS.length));
    }
  }
  return [...names];
}
