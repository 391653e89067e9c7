import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { JobView } from "@holdfast/contract";
import type { FailureEvidence } from "@holdfast/recovery";
import { nextUuid, type Clock, type Random } from "@holdfast/runtime";
import type { ApiAnswer, ApiClient } from "../api/api-client.ts";
import { failureOf } from "../api/api-client.ts";
import {
  changeJob,
  getAttempts,
  getOutputs,
  jobPath,
  submitJobs,
  toJob,
} from "../api/job-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { downloadOutputs } from "../submit/download.ts";
import { downFailure, isOfService, placeOf, refusedFailure } from "./failure-kind.ts";
import {
  lastingOutputs,
  type Rendered,
  type RenderedFile,
  type Renderer,
  type RenderFacts,
  type RenderRequest,
  type RunFailure,
} from "./renderer.ts";
import { shownUrl } from "./shown-url.ts";

/** What a renderer on a Holdfast is made of. */
export interface HoldfastRendererOptions {
  readonly api: ApiClient;
  /** Of the experiment: the tag and the metadata of its jobs. */
  readonly experiment: string;
  readonly workFolder: string;
  /** Longest execution of a run over all its attempts. */
  readonly executionLimitMs: number;
  readonly clock: Clock;
  readonly random: Random;
}

const FIRST_LOOK_MS = 100;
const SLOWEST_LOOK_MS = 2_000;
/** A server that does not answer for so long is down; its job goes on, and is found again. */
const AWAY_MS = 30_000;
const SLOWEST_RETRY_MS = 5_000;
/** The server's own limit of a name. */
const NAME_MAX = 200;
const LOSS = { none: 0, pixels: 1, size: 2, content: 3 } as const;

/**
 * Renders as jobs of a Holdfast. A run is one job for ever: its id is the idempotency key, so it is
 * found again after a crash, and a run that is repeated is the same job once more.
 */
export function createHoldfastRenderer(options: HoldfastRendererOptions): Renderer {
  const { api, random, workFolder } = options;
  return {
    description: shownUrl(api.baseUrl),
    nextPromptId: (earlier) => earlier?.promptId ?? nextUuid(random),
    // The job tells when it came: it is the same one, submitted again or not.
    isThere: async () => true,
    async render(request) {
      try {
        const job = await untilEnded(await submit(request, options), options);
        return await toRendered(job, request, options);
      } catch (error) {
        if (error instanceof Away) return failed(downFailure(error.message));
        if (!(error instanceof CommandFailure)) throw error;
        return failed(refusalOf(error));
      }
    },
    settled: () => undefined,
    async close() {
      await rm(workFolder, { recursive: true, force: true });
    },
  };
}

/** The server has been away for too long. */
class Away extends Error {
  override readonly name = "Away";
}

async function submit(
  { name, graph, promptId, earlier }: RenderRequest,
  { api, experiment, executionLimitMs, clock }: HoldfastRendererOptions,
): Promise<JobView> {
  const body = {
    graph,
    name: `${experiment} ${name}`.slice(0, NAME_MAX),
    tags: ["experiment"],
    metadata: { experiment, run: name },
    timeoutMs: executionLimitMs,
  };
  const since = clock.elapsed();
  for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(SLOWEST_RETRY_MS, pauseMs * 2)) {
    try {
      const idempotencyKey = `experiment-${promptId}`;
      const submitted = await submitJobs(api, [body], { idempotencyKey, isStrict: false, clock });
      const job = submitted.jobs[0];
      if (job === undefined) throw new Away("the server answered without a job");
      const isOver = job.endedAt !== null && job.status !== "completed";
      // A job that failed while a service was down is done once more.
      const isAgain = earlier?.hasEnded === true && isOver;
      return isAgain ? await changeJob(api, job.id, "retry", {}) : job;
    } catch (error) {
      if (!(error instanceof CommandFailure) || !isPassingRefusal(error)) throw error;
      if (clock.elapsed() - since > AWAY_MS) throw new Away(error.message);
      await clock.sleep(pauseMs);
    }
  }
}

async function untilEnded(
  first: JobView,
  { api, clock }: HoldfastRendererOptions,
): Promise<JobView> {
  let job = first;
  let answeredAt = clock.elapsed();
  for (let pauseMs = FIRST_LOOK_MS; job.endedAt === null;) {
    await clock.sleep(pauseMs);
    const answer = await api.request(jobPath(job.id));
    if (answer.kind === "answered") {
      const before = job.status;
      job = await answer.response.json().then(toJob, () => job);
      answeredAt = clock.elapsed();
      // A job that has just begun may be over soon.
      pauseMs = job.status === before ? Math.min(SLOWEST_LOOK_MS, pauseMs * 1.5) : FIRST_LOOK_MS;
      continue;
    }
    if (!isPassing(answer)) throw failureOf(answer, api.baseUrl);
    if (clock.elapsed() - answeredAt > AWAY_MS)
      throw new Away(failureOf(answer, api.baseUrl).message);
  }
  return job;
}

function isPassing(answer: Exclude<ApiAnswer, { kind: "answered" }>): boolean {
  return answer.kind === "unreachable" || answer.status >= 500 || answer.status === 429;
}

async function toRendered(
  job: JobView,
  { promptId, earlier }: RenderRequest,
  { api, workFolder, clock }: HoldfastRendererOptions,
): Promise<Rendered> {
  const facts = { ...factsOf(job), ...(earlier?.hasEnded === false && { span: spanOf(job) }) };
  const failure = await failureOfJob(job, api);
  const outputs = lastingOutputs(await getOutputs(api, job.id));
  const folder = join(workFolder, "files", promptId);
  const written = await downloadOutputs(api, outputs, { folder, clock });
  const files = written.flatMap((one): readonly RenderedFile[] => {
    if (one.kind === "failed") return [];
    const { nodeId, name, mediaType, sha256, sizeBytes } = one.output;
    return [{ nodeId, name, mediaType, sha256, sizeBytes, path: one.path }];
  });
  const lost = written.find((one) => one.kind === "failed");
  if (failure !== undefined || lost === undefined) return { failure, files, facts };
  const reason = `output ${lost.output.name} could not be fetched: ${lost.reason}`;
  const isRefused = KEY_CODES.has(lost.code ?? "");
  const refused = `${reason}\nSet HOLDFAST_API_KEY, or use --api-key.`;
  return { failure: isRefused ? refusedFailure(refused) : downFailure(reason), files, facts };
}

async function failureOfJob(
  { id, status, error }: JobView,
  api: ApiClient,
): Promise<RunFailure | undefined> {
  if (status === "completed") return undefined;
  const errorClass = error?.class ?? (status === "timeout" ? "timeout" : "interrupted");
  return {
    class: errorClass,
    message: error?.message ?? `the job is ${status}`,
    isInfrastructure: isOfService(errorClass),
    ...(error !== null && placeOf({ ...(await lastEvidence(id, api)), ...nodeOf(error) })),
  };
}

function nodeOf({ nodeId, nodeType }: NonNullable<JobView["error"]>): Partial<FailureEvidence> {
  return { ...(nodeId !== null && { nodeId }), ...(nodeType !== null && { nodeType }) };
}

/** The job does not tell exception and traceback, its attempt does. Nothing depends on them. */
async function lastEvidence(id: string, api: ApiClient): Promise<Partial<FailureEvidence>> {
  try {
    const attempts = await getAttempts(api, id);
    return attempts.findLast(({ evidence }) => evidence !== null)?.evidence ?? {};
  } catch (error) {
    if (error instanceof CommandFailure) return {};
    throw error;
  }
}

function factsOf(job: JobView): RenderFacts {
  const queueMs =
    job.startedAt === null ? undefined : Date.parse(job.startedAt) - Date.parse(job.createdAt);
  return {
    executeMs: job.executionMs,
    ...(queueMs !== undefined && queueMs >= 0 && { queueMs }),
    attempts: Math.max(1, job.attemptCount),
    loss: LOSS[job.changes?.loss ?? "none"],
    recovery: job.changes?.steps ?? [],
  };
}

function spanOf({ createdAt, endedAt }: JobView): NonNullable<RenderFacts["span"]> {
  const startedAt = Date.parse(createdAt);
  return endedAt === null ? { startedAt } : { startedAt, endedAt: Date.parse(endedAt) };
}

/** A refusal of the graph is the run's own; one of the key, or of everything, is not. */
function refusalOf(error: CommandFailure): RunFailure {
  if (KEY_CODES.has(error.code ?? "")) return refusedFailure(error.message);
  if (isPassingRefusal(error)) return downFailure(error.message);
  return { class: "workflow_error", message: error.message, isInfrastructure: false };
}

function isPassingRefusal({ exitCode, code }: CommandFailure): boolean {
  return exitCode === EXIT.unavailable || BUSY_CODES.has(code ?? "");
}

const KEY_CODES: ReadonlySet<string> = new Set(["unauthorized", "forbidden"]);
const BUSY_CODES: ReadonlySet<string> = new Set(["queue_full", "rate_limited"]);

function failed(failure: RunFailure): Rendered {
  return { failure, files: [], facts: { attempts: 1, loss: 0, recovery: [] } };
}
