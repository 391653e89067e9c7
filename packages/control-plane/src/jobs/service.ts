import { applyPatch, parseGraph, type Graph, type GraphLimits } from "@holdfast/comfyui/protocol";
import {
  HoldfastError,
  JOB_STATUSES,
  type AttemptView,
  type JobStatus,
  type JobView,
  type OutputView,
  type statsSchema,
} from "@holdfast/contract";
import { invariant, type Clock, type IdSource } from "@holdfast/runtime";
import type { z } from "zod";
import { maySee, ownerScope, type Caller } from "../access/model.ts";
import type { Db } from "../platform/db.ts";
import { createChangeService, type ChangeService } from "./change-service.ts";
import {
  countWaitingAgain,
  readCounts,
  readOldestQueuedAgeMs,
  readRecentEnds,
  readRemovedCount,
} from "./count-store.ts";
import { decodeCursor, encodeCursor, type ListOrder } from "./cursor.ts";
import { createHoldService, type HoldService } from "./hold-service.ts";
import { idStartAt, timeOfId } from "./id-time.ts";
import { DEFAULT_MAX_QUEUED_JOBS, type Job, type JobWithLease } from "./model.ts";
import type { JobsPorts } from "./ports.ts";
import { createQueueGauge } from "./queue-gauge.ts";
import * as reads from "./read-store.ts";
import { KEEP_ALL, removalHint, type JobRetention } from "./retention.ts";
import { createSubmitService, type SubmitService } from "./submit-service.ts";
import { toAttemptView, toEventView, toJobView, toOutputView, type EventView } from "./view.ts";

/** What the jobs service is made of. */
export interface JobsDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly ports: JobsPorts;
  /** Jobs that may wait at once, over all callers. */
  readonly maxQueuedJobs?: number;
  readonly graphLimits?: GraphLimits;
  /** How long ended jobs are kept; by default for ever. */
  readonly retention?: JobRetention;
  /** How long checkpoints are kept; 48 by default. */
  readonly checkpointRetentionHours?: number;
}

/** What to list. */
export interface ListRequest {
  readonly statuses: readonly JobStatus[];
  readonly tag?: string | undefined;
  readonly batchId?: string | undefined;
  /** Epoch milliseconds: created at or after. */
  readonly createdAfter?: number | undefined;
  /** Epoch milliseconds: created before. */
  readonly createdBefore?: number | undefined;
  readonly order: ListOrder;
  readonly cursor?: string | undefined;
  readonly limit: number;
}

/** Jobs as callers use them. `ref` is a job's id or its number. A job of somebody else is `not_found`. */
export interface JobsService extends SubmitService, ChangeService, HoldService {
  get(caller: Caller, ref: string): Promise<JobView>;
  list(
    caller: Caller,
    request: ListRequest,
  ): Promise<{ readonly items: JobView[]; readonly next: string | null }>;
  attempts(caller: Caller, ref: string): Promise<AttemptView[]>;
  outputs(caller: Caller, ref: string): Promise<OutputView[]>;
  /**
   * The outputs of jobs that the caller knows to be its own, by job; those that are not there any more
   * are left out. At most {@link MAX_OUTPUTS_LISTED} of each.
   */
  outputsOf(jobIds: readonly string[]): Promise<ReadonlyMap<string, readonly OutputView[]>>;
  /**
   * The graph as it runs now: template, the caller's values, the plan of recovery in force; or as it
   * was submitted, without the plan.
   */
  graph(caller: Caller, ref: string, as?: "running" | "submitted"): Promise<Graph>;
  /** A job's events in order, after the one named. */
  timeline(
    caller: Caller,
    ref: string,
    page: { readonly after?: string | undefined; readonly limit: number },
  ): Promise<{ readonly items: EventView[]; readonly next: string | null }>;
  stats(caller: Caller): Promise<z.infer<typeof statsSchema>>;
  /** The job itself, for routes that go on with it. */
  find(caller: Caller, ref: string): Promise<JobWithLease>;
}

/** Most attempts and outputs that one answer carries. */
export const MAX_ATTEMPTS_LISTED = 1_000;
export const MAX_OUTPUTS_LISTED = 10_000;
/** Jobs that wait again after an attempt are counted up to here. */
const MAX_WAITING_AGAIN_COUNTED = 100_000;
/** As the setting has it. */
const DEFAULT_CHECKPOINT_HOURS = 48;
/** What "the last hour" of the numbers is; counted by the minute. */
const HOUR_MS = 60 * 60 * 1000;
/** How far the clocks of replicas may differ from one another before a list by time misses a job. */
const MAX_CLOCK_SPREAD_MS = 10 * 60 * 1000;
/** The largest number a job can have; larger ones are nobody's. */
const NUMBER = /^[1-9][0-9]{0,14}$/;
const JOB_ID = /^job_[0-9a-z]{26}$/;

/** Makes the jobs service. */
export function createJobsService(deps: JobsDeps): JobsService {
  const { db, clock, ids, ports, retention = KEEP_ALL } = deps;
  const checkpointKeptMs = (deps.checkpointRetentionHours ?? DEFAULT_CHECKPOINT_HOURS) * HOUR_MS;
  const gauge = createQueueGauge(db, clock);
  const submits = createSubmitService({
    db,
    clock,
    ids,
    gauge,
    ports,
    maxQueuedJobs: deps.maxQueuedJobs ?? DEFAULT_MAX_QUEUED_JOBS,
    ...(deps.graphLimits !== undefined && { graphLimits: deps.graphLimits }),
  });

  const noSuchJob = (ref: string): HoldfastError => {
    const hint = removalHint(ref, clock.now(), retention);
    return new HoldfastError("not_found", `there is no job ${ref.slice(0, 64)}${hint}`);
  };
  const find = async (caller: Caller, ref: string): Promise<JobWithLease> => {
    const job = parseRef(ref);
    let found: JobWithLease | undefined;
    if (job !== undefined && "id" in job) [found] = await reads.readJobs(db, [job.id]);
    else if (job !== undefined) found = await reads.readJobByNumber(db, job.number);
    if (found === undefined || !maySee(caller, found.job.owner)) throw noSuchJob(ref);
    return found;
  };
  const toViews = async (found: readonly JobWithLease[]): Promise<JobView[]> => {
    const live = found.flatMap(({ job }) => (job.endedAt === null ? [job] : []));
    if (live.length === 0) return found.map((one) => toJobView(one));
    const expected = await ports.expectations(live);
    return found.map((one) => toJobView(one, expected.get(one.job.id)));
  };
  const toView = async (found: JobWithLease): Promise<JobView> => {
    const [shown] = await toViews([found]);
    invariant(shown !== undefined, "one job has one view");
    return shown;
  };
  const view = async (jobId: string): Promise<JobView> => {
    const [found] = await reads.readJobs(db, [jobId]);
    // One that was cancelled before, and is cancelled again, may be removed between the two.
    if (found === undefined) {
      throw new HoldfastError("not_found", `there is no job ${jobId} any more`);
    }
    return await toView(found);
  };
  const outputsOf: JobsService["outputsOf"] = async (jobIds) => {
    const { byJob, isCut } = await reads.readOutputsOf(db, jobIds, MAX_OUTPUTS_LISTED);
    const half = Math.floor(jobIds.length / 2);
    if (isCut && half > 0) {
      // Too many at once: each half by itself, so that no job's are left out.
      const first = await outputsOf(jobIds.slice(0, half));
      return new Map([...first, ...(await outputsOf(jobIds.slice(half)))]);
    }
    return new Map([...byJob].map(([id, outputs]) => [id, outputs.map(toOutputView)]));
  };

  return {
    ...submits,
    find,
    get: async (caller, ref) => await toView(await find(caller, ref)),
    async list(caller, request) {
      const { order, limit, cursor } = request;
      const after = cursor === undefined ? null : decodeCursor(cursor, order).id;
      const { createdAfter = null, createdBefore = null } = request;
      const bounds = await findIdBounds(db, createdAfter, createdBefore);
      if (bounds === "nothing") return { items: [], next: null };
      const filter: reads.JobFilter = {
        owner: ownerScope(caller),
        slices: request.statuses.flatMap(toSlices),
        tag: request.tag ?? null,
        batchId: request.batchId ?? null,
        createdAfter,
        createdBefore,
        ...bounds,
      };
      const found = await reads.listJobs(db, filter, { order, after, limit: limit + 1 });
      const items = await toViews(found.slice(0, limit));
      const last = items.at(-1);
      const hasMore = found.length > limit && last !== undefined;
      return { items, next: hasMore ? encodeCursor({ order, id: last.id }) : null };
    },
    ...createChangeService({ db, ids, ports, gauge, find, view }),
    ...createHoldService({ db, ids, ports }),
    async attempts(caller, ref) {
      const { job } = await find(caller, ref);
      const found = await reads.readAttempts(db, job.id, MAX_ATTEMPTS_LISTED);
      const checkpoints = await reads.readCheckpoints(db, job.id, MAX_ATTEMPTS_LISTED);
      return found.map((attempt) => toAttemptView(attempt, checkpoints, checkpointKeptMs));
    },
    async outputs(caller, ref) {
      const job = parseRef(ref);
      const found = job && (await reads.readOutputs(db, job, MAX_OUTPUTS_LISTED));
      if (found === undefined || !maySee(caller, found.owner)) throw noSuchJob(ref);
      return found.outputs.map(toOutputView);
    },
    outputsOf,
    async graph(caller, ref, as = "running") {
      const { job } = await find(caller, ref);
      const plan = as === "running" ? job.plan : null;
      return effectiveGraph(await reads.readGraphBody(db, job.graphId), { ...job, plan });
    },
    async timeline(caller, ref, { after, limit }) {
      const { job } = await find(caller, ref);
      const found = await reads.readTimeline(db, job.id, after ?? null, limit + 1);
      const items = found.slice(0, limit).map(toEventView);
      return { items, next: found.length > limit ? (items.at(-1)?.id ?? null) : null };
    },
    stats: (caller) => readStats({ db, ports, retention }, ownerScope(caller)),
  };
}

/** What callers name a job by: its id or its number; undefined for what can be neither. */
function parseRef(ref: string): { readonly id: string } | { readonly number: number } | undefined {
  if (JOB_ID.test(ref)) return { id: ref };
  return NUMBER.test(ref) ? { number: Number(ref) } : undefined;
}

/**
 * Ids between which all jobs of a window of time lie. Ids carry the clock of the replica that took
 * the job, `created_at` that of the database: the job at the window's edge tells how the two differ.
 */
async function findIdBounds(
  db: Db,
  createdAfter: number | null,
  createdBefore: number | null,
): Promise<{ readonly idFrom: string | null; readonly idBefore: string | null } | "nothing"> {
  let idFrom: string | null = null;
  let idBefore: string | null = null;
  if (createdAfter !== null) {
    const first = await reads.readIdNear(db, "first_from", createdAfter);
    if (first === undefined) return "nothing";
    idFrom = idStartAt(timeOfId(first) - MAX_CLOCK_SPREAD_MS);
  }
  if (createdBefore !== null) {
    const last = await reads.readIdNear(db, "last_before", createdBefore);
    if (last === undefined) return "nothing";
    idBefore = idStartAt(timeOfId(last) + MAX_CLOCK_SPREAD_MS);
  }
  return { idFrom, idBefore };
}

/** What callers call a status, as states in the database (I4 of the model). */
function toSlices(status: JobStatus): reads.StateSlice[] {
  switch (status) {
    case "queued":
      return [{ state: "queued", started: "never" }];
    case "recovering":
      return [
        { state: "recovering", started: "any" },
        { state: "queued", started: "before" },
      ];
    default:
      return [{ state: status, started: "any" }];
  }
}

/** A job's graph as an attempt runs it now, from its template's body. */
export function effectiveGraph(body: unknown, job: Pick<Job, "id" | "patch" | "plan">): Graph {
  const parsed = parseGraph(body);
  invariant(parsed.kind === "graph", `the template of ${job.id} is a graph`);
  const own = job.patch === null ? parsed.graph : applyPatch(parsed.graph, job.patch);
  const planned = job.plan?.patch ?? null;
  return planned === null ? own : applyPatch(own, planned);
}

async function readStats(
  deps: Required<Pick<JobsDeps, "db" | "ports" | "retention">>,
  owner: string | null,
): Promise<z.infer<typeof statsSchema>> {
  const [counts, removed, waitingAgain, ends, fleet] = await Promise.all([
    readCounts(deps.db, owner),
    readRemovedCount(deps.db, owner),
    countWaitingAgain(deps.db, owner, MAX_WAITING_AGAIN_COUNTED),
    readRecentEnds(deps.db, owner, HOUR_MS),
    deps.ports.fleetNumbers(),
  ]);
  const jobs = Object.fromEntries(JOB_STATUSES.map((status) => [status, 0])) as Record<
    JobStatus,
    number
  >;
  let held = 0;
  let free = 0;
  for (const count of counts) {
    jobs[count.state] += count.jobs;
    if (count.held) held += count.jobs;
    else if (count.state === "queued") free += count.jobs;
  }
  const again = Math.min(waitingAgain, jobs.queued);
  jobs.queued -= again;
  jobs.recovering += again;
  return {
    jobs,
    held,
    // While everything is held there is none to be found, and all of them would be looked at.
    oldestQueuedAgeMs: free > 0 ? await readOldestQueuedAgeMs(deps.db, owner) : null,
    completedLastHour: ends.completed,
    failedLastHour: ends.failed,
    removed,
    retention: {
      endedJobHours: deps.retention.endedHours,
      failedJobHours: deps.retention.failedHours,
    },
    ...fleet,
  };
}
