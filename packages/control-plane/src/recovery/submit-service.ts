import { parseGraph, type Graph, type GraphLimits } from "@holdfast/comfyui/protocol";
import { DEFAULT_TIMEOUT_MINUTES, HoldfastError, type RecoverySubmit } from "@holdfast/contract";
import { invariant, nextInt, type Random } from "@holdfast/runtime";
import type { Caller } from "../access/model.ts";
import { MAX_OVERRIDES, type JobWithLease } from "../jobs/model.ts";
import type { JobsService } from "../jobs/service.ts";
import { isPlaceable } from "../machines/eligibility.ts";
import type { MachinesService } from "../machines/service.ts";
import { builtInGraph, builtInGraphOnNamed } from "./built-in-graph.ts";
import { composeGraph } from "./compose.ts";
import { METADATA_KEY } from "./status.ts";

/** What submitting is made of. */
export interface RecoverySubmitDeps {
  readonly random: Random;
  readonly jobs: JobsService;
  readonly machines: MachinesService;
  readonly graphLimits?: GraphLimits;
}

/** What a submit gave. */
export interface RecoverySubmission {
  readonly job: JobWithLease;
  readonly created: boolean;
  readonly warnings: readonly string[];
}

/** Takes jobs in by prompt, graph and parameters. */
export interface RecoverySubmitService {
  /** As {@link JobsService.submit}, and `model_unavailable`, `invalid_request`. */
  submit(
    caller: Caller,
    request: RecoverySubmit,
    idempotencyKey?: string,
  ): Promise<RecoverySubmission>;
}

/** Parameters are kept with the job up to this size, as JSON; metadata may be 16 KiB in all. */
const MAX_KEPT_BYTES = 12 * 1024;
const MS_PER_MINUTE = 60_000;
/** Seeds are drawn below this: every client reads them exactly. */
const SEED_BOUND = 2 ** 48;
/** Unknown fields that are told of. */
const MAX_STRANGERS = 50;
const CHECKPOINTS = "checkpoints/";
/** Fields of a submit; others are told in a warning. */
const KNOWN_FIELDS = new Set([
  "prompt",
  "workflow_data",
  "job_type",
  "parameters",
  "timeout_minutes",
]);

/** Makes the submit service. */
export function createRecoverySubmit(deps: RecoverySubmitDeps): RecoverySubmitService {
  return {
    async submit(caller, request, idempotencyKey) {
      refuseTooMany(request.parameters ?? {});
      const { graph, warnings } = await makeGraph(deps, request);
      const timeoutMinutes = request.timeout_minutes ?? DEFAULT_TIMEOUT_MINUTES;
      const { jobs: made, ...told } = await deps.jobs.submit(
        caller,
        [
          {
            graph,
            timeoutMs: Math.round(timeoutMinutes * MS_PER_MINUTE),
            metadata: { [METADATA_KEY]: keptOf(request) },
          },
        ],
        { keyedBody: request, ...(idempotencyKey !== undefined && { idempotencyKey }) },
      );
      const [job] = made;
      invariant(job !== undefined, "one request gives one job");
      return { job, created: told.created, warnings: [...warnings, ...told.warnings] };
    },
  };
}

/** The graph to submit, and what of the request found no place in it. */
async function makeGraph(
  deps: RecoverySubmitDeps,
  request: RecoverySubmit,
): Promise<{ readonly graph: Record<string, unknown>; readonly warnings: readonly string[] }> {
  const { prompt = null, job_type: jobType, workflow_data: own } = request;
  const parameters = request.parameters ?? {};
  const strangers = Object.keys(request)
    .filter((field) => !KNOWN_FIELDS.has(field))
    .slice(0, MAX_STRANGERS)
    .map((field) => `${field.slice(0, 100)}: there is no such field; it was left out`);
  if (own === null || own === undefined) {
    const base = await chooseBuiltIn(deps, prompt, parameters);
    const { graph, warnings } = composeGraph(base, prompt, parameters);
    const other = isOther(jobType)
      ? [`job_type: the built-in graph makes an image, not ${jobType}`]
      : [];
    return { graph: { ...graph }, warnings: [...strangers, ...other, ...warnings] };
  }
  const parsed = parseGraph(own, deps.graphLimits);
  // What is no graph is refused by the submit, in its own words.
  if (parsed.kind === "refused") return { graph: own, warnings: strangers };
  const { graph, warnings } = composeGraph(parsed.graph, prompt, parameters);
  return { graph: { ...graph }, warnings: [...strangers, ...warnings] };
}

function refuseTooMany(parameters: Readonly<Record<string, unknown>>): void {
  const count = Object.keys(parameters).length;
  if (count <= MAX_OVERRIDES) return;
  throw new HoldfastError(
    "invalid_request",
    `body.parameters: has ${count} values; at most ${MAX_OVERRIDES} are taken`,
    { details: { field: "body.parameters" } },
  );
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
  { machines, random }: RecoverySubmitDeps,
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
