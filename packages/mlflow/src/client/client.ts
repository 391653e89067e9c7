/** The few calls of MLflow's REST API (2.0) that logging needs. Facts are of MLflow 3.17.2. */
import { open, stat } from "node:fs/promises";
import { Readable } from "node:stream";
import type { Clock } from "@holdfast/runtime";
import type { z } from "zod";
import type { ArtifactRoot } from "./artifact-root.ts";
import { readArtifactRoot } from "./artifact-root.ts";
import {
  experimentCreated,
  experimentFound,
  readAnswer,
  runCreated,
  runsFound,
  yes,
  type AnsweredRun,
} from "./answers.ts";
import { createHttpPort, type Answer, type Call, type HttpPort } from "./http.ts";
import type { TrackingTarget } from "./tracking-target.ts";
import type { MlflowResult } from "./trouble.ts";

/** How a run ended, in MLflow's words. */
export type RunStatus = "RUNNING" | "FINISHED" | "FAILED" | "KILLED";

/** A value of a metric on the wire: JSON has no word for the last three. */
export type MetricValue = number | "NaN" | "Infinity" | "-Infinity";

/** What one `log-batch` carries. At most 1,000 in all, of params and tags at most 100 each. */
export interface Batch {
  readonly params: readonly { readonly key: string; readonly value: string }[];
  readonly tags: readonly { readonly key: string; readonly value: string }[];
  readonly metrics: readonly {
    readonly key: string;
    readonly value: MetricValue;
    /** Epoch ms. */
    readonly timestamp: number;
    readonly step: number;
  }[];
}

/** A run that MLflow knows. */
export interface FoundRun {
  readonly id: string;
  readonly status: string;
  readonly artifactRoot: ArtifactRoot;
  /** How many params, tags and metrics it has. */
  readonly entryCount: number;
}

/** A run to be made. */
export interface NewRun {
  readonly experimentId: string;
  readonly name: string;
  readonly startedAt: number;
  readonly tags: readonly { readonly key: string; readonly value: string }[];
}

/** What an upload came to, when it is not a matter of MLflow's. */
export type Upload = MlflowResult<null> | { readonly kind: "no_file"; readonly message: string };

/** Speaks to one MLflow. Each call once; it rejects only when its signal is aborted. */
export interface MlflowClient {
  /** `/health`, which says nothing of the API. */
  health(signal: AbortSignal): Promise<MlflowResult<null>>;
  /** One call of the API that changes nothing. */
  ask(signal: AbortSignal): Promise<MlflowResult<null>>;
  /** The experiment of a name, made when there is none. */
  ensureExperiment(name: string, signal: AbortSignal): Promise<MlflowResult<string>>;
  createRun(run: NewRun, signal: AbortSignal): Promise<MlflowResult<FoundRun>>;
  /** Runs with this tag, deleted ones left out. The value is `[A-Za-z0-9]+`: it is not quoted. */
  findRuns(
    query: { readonly experimentId: string; readonly tag: string; readonly value: string },
    signal: AbortSignal,
  ): Promise<MlflowResult<readonly FoundRun[]>>;
  logBatch(runId: string, batch: Batch, signal: AbortSignal): Promise<MlflowResult<null>>;
  updateRun(
    runId: string,
    change: { readonly status: RunStatus; readonly endedAt?: number },
    signal: AbortSignal,
  ): Promise<MlflowResult<null>>;
  /** Into MLflow's bin, from where it can be restored. */
  deleteRun(runId: string, signal: AbortSignal): Promise<MlflowResult<null>>;
  /** Streams a file to a path under a run's artifacts; what is there already is replaced. */
  putArtifact(
    upload: { readonly folder: string; readonly path: string; readonly file: string },
    signal: AbortSignal,
  ): Promise<Upload>;
  /** Ends its connections; calls under way come to `unreachable`. */
  close(): Promise<void>;
}

const API = "/api/2.0/mlflow";
const ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts";
/** SQLite behind MLflow waits 20 s for its lock (`busy_timeout`), and then answers. */
const CALL_TIMEOUT_MS = 30_000;
/** Of an upload: this, and what its bytes take at the slowest rate that still counts as moving. */
const UPLOAD_TIMEOUT_MS = 60_000;
const UPLOAD_BYTES_PER_MS_MIN = 100;
/** Two would be one too many already. */
const RUNS_FOUND_MAX = 10;

/** Makes a client with at most this many connections. */
export function createMlflowClient(options: ClientOptions): MlflowClient {
  const http = createHttpPort(options);
  const ask = createCalls(http, options);
  return {
    async health(signal) {
      // It answers with a word that is no JSON.
      const answer = await ask.raw({ method: "GET", path: "/health", signal });
      if (answer.kind !== "answer") return answer;
      const isWell = answer.status >= 200 && answer.status <= 299;
      return isWell ? { kind: "ok", value: null } : asNull(ask.read(answer, yes));
    },
    async ask(signal) {
      return asNull(await ask.get("/experiments/search?max_results=1", yes, signal));
    },
    ensureExperiment: (name, signal) => ensureExperiment(ask, name, signal),
    async createRun({ experimentId, name, startedAt, tags }, signal) {
      const body = { experiment_id: experimentId, run_name: name, start_time: startedAt, tags };
      const made = await ask.post("/runs/create", body, runCreated, signal);
      return made.kind === "ok" ? { kind: "ok", value: toRun(made.value.run) } : made;
    },
    async findRuns({ experimentId, tag, value }, signal) {
      const body = {
        experiment_ids: [experimentId],
        filter: `tags.\`${tag}\` = '${value}'`,
        run_view_type: "ACTIVE_ONLY",
        max_results: RUNS_FOUND_MAX,
      };
      const found = await ask.post("/runs/search", body, runsFound, signal);
      return found.kind === "ok"
        ? { kind: "ok", value: (found.value.runs ?? []).map(toRun) }
        : found;
    },
    async logBatch(runId, batch, signal) {
      return asNull(await ask.post("/runs/log-batch", { run_id: runId, ...batch }, yes, signal));
    },
    async updateRun(runId, { status, endedAt }, signal) {
      const end = endedAt === undefined ? {} : { end_time: endedAt };
      const body = { run_id: runId, status, ...end };
      return asNull(await ask.post("/runs/update", body, yes, signal));
    },
    async deleteRun(runId, signal) {
      return asNull(await ask.post("/runs/delete", { run_id: runId }, yes, signal));
    },
    putArtifact: (upload, signal) => putArtifact(ask, upload, signal),
    close: () => http.close(),
  };
}

/** How a client is made. */
interface ClientOptions {
  readonly target: TrackingTarget;
  readonly clock: Clock;
  readonly connections: number;
  readonly callTimeoutMs?: number;
}

type Calls = ReturnType<typeof createCalls>;

/** Calls, and their answers as what they should be. */
function createCalls(http: HttpPort, options: ClientOptions) {
  const { host } = new URL(options.target.baseUrl);
  const timeoutMs = options.callTimeoutMs ?? CALL_TIMEOUT_MS;
  const raw = (call: Omit<Call, "timeoutMs"> & { readonly timeoutMs?: number }) =>
    http.call({ timeoutMs, ...call });
  const read = <T>(answer: Answer, schema: z.ZodType<T>) => readAnswer(answer, schema, host);
  async function exchange<T>(
    call: Parameters<typeof raw>[0],
    schema: z.ZodType<T>,
  ): Promise<MlflowResult<T>> {
    const answer = await raw(call);
    return answer.kind === "answer" ? read(answer, schema) : answer;
  }
  return {
    raw,
    read,
    exchange,
    get: <T>(path: string, schema: z.ZodType<T>, signal: AbortSignal) =>
      exchange({ method: "GET", path: API + path, signal }, schema),
    post: <T>(path: string, body: unknown, schema: z.ZodType<T>, signal: AbortSignal) =>
      exchange({ method: "POST", path: API + path, body: JSON.stringify(body), signal }, schema),
  };
}

async function ensureExperiment(
  ask: Calls,
  name: string,
  signal: AbortSignal,
): Promise<MlflowResult<string>> {
  const found = await findExperiment(ask, name, signal);
  if (found.kind !== "ok") return found;
  if (found.value !== null) return { kind: "ok", value: found.value };
  const made = await ask.post("/experiments/create", { name }, experimentCreated, signal);
  if (made.kind === "ok") return { kind: "ok", value: made.value.experiment_id };
  if (made.kind !== "refused" || made.code !== "RESOURCE_ALREADY_EXISTS") return made;
  // Somebody else was quicker, or an earlier call of ours was carried out after all.
  const again = await findExperiment(ask, name, signal);
  if (again.kind !== "ok") return again;
  return again.value === null ? made : { kind: "ok", value: again.value };
}

async function findExperiment(
  ask: Calls,
  name: string,
  signal: AbortSignal,
): Promise<MlflowResult<string | null>> {
  const query = `experiment_name=${encodeURIComponent(name)}`;
  const found = await ask.get(`/experiments/get-by-name?${query}`, experimentFound, signal);
  if (found.kind === "refused" && found.code === "RESOURCE_DOES_NOT_EXIST") {
    return { kind: "ok", value: null };
  }
  if (found.kind !== "ok") return found;
  const { experiment_id: experimentId, lifecycle_stage: stage } = found.value.experiment;
  if (stage === "deleted") return { kind: "experiment_deleted", name, experimentId };
  return { kind: "ok", value: experimentId };
}

async function putArtifact(
  ask: Calls,
  { folder, path, file }: Parameters<MlflowClient["putArtifact"]>[0],
  signal: AbortSignal,
): Promise<Upload> {
  const opened = await openFile(file);
  if (opened.kind === "no_file") return opened;
  const parts = `${folder}/${path}`.split("/").map(encodeURIComponent).join("/");
  const call = {
    method: "PUT",
    path: `${ARTIFACTS}/${parts}`,
    body: opened,
    timeoutMs: UPLOAD_TIMEOUT_MS + Math.ceil(opened.sizeBytes / UPLOAD_BYTES_PER_MS_MIN),
    signal,
  } as const;
  return asNull(await ask.exchange(call, yes));
}

function asNull(result: MlflowResult<unknown>): MlflowResult<null> {
  return result.kind === "ok" ? { kind: "ok", value: null } : result;
}

function toRun({ info, data }: AnsweredRun): FoundRun {
  const { params = [], tags = [], metrics = [] } = data ?? {};
  return {
    id: info.run_id,
    status: info.status ?? "",
    artifactRoot: readArtifactRoot(info.artifact_uri),
    entryCount: params.length + tags.length + metrics.length,
  };
}

type OpenedFile =
  | { readonly kind: "file"; readonly stream: Readable; readonly sizeBytes: number }
  | { readonly kind: "no_file"; readonly message: string };

/**
 * Opened before MLflow is asked: a file that may not be read would look as a connection that breaks, and
 * be tried for ever. Just the bytes that are there now: one that grows would break the upload.
 */
async function openFile(file: string): Promise<OpenedFile> {
  try {
    // Not opened unseen: to open a pipe that nobody writes to never ends.
    const info = await stat(file);
    if (!info.isFile()) return { kind: "no_file", message: `${file} is not a file` };
    const handle = await open(file, "r");
    const sizeBytes = info.size;
    if (sizeBytes === 0) {
      await handle.close();
      return { kind: "file", stream: Readable.from([]), sizeBytes };
    }
    return { kind: "file", stream: handle.createReadStream({ end: sizeBytes - 1 }), sizeBytes };
  } catch (error) {
    return { kind: "no_file", message: `${file} cannot be read: ${(error as Error).message}` };
  }
}
