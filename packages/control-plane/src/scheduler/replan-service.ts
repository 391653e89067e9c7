/**
 * Jobs that nobody can serve because a model is nowhere. They are never leased, so no failure tells of
 * them: after a time they get another model that is there, as far as their policies allow it.
 */
import type { Graph } from "@holdfast/comfyui/protocol";
import { EVENT_VERSION, type EventType } from "@holdfast/contract";
import {
  EMPTY_RECIPE,
  LOSS_LEVELS,
  nextChange,
  RECOVERIES_MAX,
  type GraphChange,
  type LossLevel,
  type ModelFacts,
} from "@holdfast/recovery";
import type { IdSource } from "@holdfast/runtime";
import { ensureRequirement } from "../jobs/requirement-service.ts";
import type { Needs } from "../machines/model.ts";
import type { Db, Transaction } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { appendEvents } from "../platform/outbox.ts";
import { changedPlan, needsWith } from "./failure.ts";
import { buildGraph, type GraphCache } from "./graph-cache.ts";
import type { RecordUnserved, SchedulerSettings } from "./model.ts";
import { lockWaitingJobs, replanWaitingJob, type WaitingJob } from "./replan-store.ts";
import type { Servers } from "../machines/servers.ts";

/** What replanning is made of. */
export interface ReplanDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly log: Log;
  readonly settings: SchedulerSettings;
  readonly graphs: GraphCache;
  readonly recordUnserved: RecordUnserved;
  /** Told after commit. */
  readonly onEvents: (written: readonly EventType[]) => void;
}

/** One look at the jobs under a requirement. */
export interface Replanned {
  /** Requirements under which jobs wait now. */
  readonly requirementIds: readonly number[];
  readonly changed: number;
  /** Where the next look goes on; empty when this one came to the end. */
  readonly nextAfterId: string;
}

/** Jobs looked at in one transaction. */
const JOBS_AT_ONCE = 100;

/** Gives the jobs that wait under a requirement other models, where there are any to give. */
export async function replanWaiting(
  deps: ReplanDeps,
  waiting: {
    readonly requirementId: number;
    readonly needs: Needs;
    readonly afterId: string;
    /** The most that is done now, whatever the jobs allow. */
    readonly maxLoss: LossLevel;
  },
  servers: Servers,
): Promise<Replanned> {
  const known = servers.models(waiting.needs);
  const nothing = { requirementIds: [], changed: 0, nextAfterId: "" };
  if (!deps.settings.recoveryEnabled || known === null || known.missing.length === 0) {
    return nothing;
  }
  const models: ModelFacts = { ...known, fallbacks: deps.settings.fallbackModels };
  const done = await deps.db.transaction(async (tx) => {
    const jobs = await lockWaitingJobs(tx, waiting.requirementId, waiting.afterId, JOBS_AT_ONCE);
    const templates = await deps.graphs.load(tx, [...new Set(jobs.map(({ graphId }) => graphId))]);
    const requirementIds = new Set<number>();
    const events = [];
    for (const job of jobs) {
      const graph = buildGraph(templates, job.graphId, [job.patch]);
      const change = changeOf(deps.settings, job, { ...waiting, graph, models, servers });
      if (change.kind === "none") continue;
      requirementIds.add(await replanOne(tx, job, change, waiting.needs));
      await deps.recordUnserved(tx, {
        id: deps.ids.next("evt"),
        jobId: job.id,
        owner: job.owner,
        class: "model_missing",
        strategy: "SWITCH_MODEL",
        rung: change.rung,
      });
      events.push(eventOf(deps.ids, job, change));
    }
    await appendEvents(tx, events);
    const last = jobs.length < JOBS_AT_ONCE ? undefined : jobs.at(-1);
    return {
      requirementIds: [...requirementIds],
      changed: events.length,
      nextAfterId: last?.id ?? "",
    };
  });
  if (done.changed > 0) {
    deps.onEvents(["job.changed"]);
    const missing = models.missing.map(({ folder, name }) => `${folder}/${name}`);
    deps.log.warn({ jobs: done.changed, missing }, "jobs waited for models nobody has, switched");
  }
  return done;
}

function changeOf(
  settings: SchedulerSettings,
  job: WaitingJob,
  facts: {
    readonly graph: Graph;
    readonly models: ModelFacts;
    readonly servers: Servers;
    readonly needs: Needs;
    readonly maxLoss: LossLevel;
  },
): GraphChange {
  const { graph, models, servers, needs } = facts;
  const maxChanges = job.maxRetryAttempts ?? settings.maxRetryAttempts;
  if (maxChanges === 0 || job.recoveryCount >= RECOVERIES_MAX) return { kind: "none", skipped: [] };
  const allowed = job.maxLoss ?? "content";
  const isLess = LOSS_LEVELS.indexOf(facts.maxLoss) < LOSS_LEVELS.indexOf(allowed);
  return nextChange({
    class: "model_missing",
    custom: null,
    graph,
    recipe: job.plan?.recipe ?? EMPTY_RECIPE,
    failedNodeId: null,
    hasClass: (classType) => servers.haveClass(needs, classType),
    maxLoss: isLess ? facts.maxLoss : allowed,
    maxChanges,
    models,
    memory: null,
  });
}

async function replanOne(
  tx: Transaction,
  job: WaitingJob,
  change: Extract<GraphChange, { kind: "changed" }>,
  needs: Needs,
): Promise<number> {
  const earlier = job.plan?.recipe?.models?.length ?? 0;
  const next = needsWith(needs, (change.recipe.models ?? []).slice(earlier));
  const requirementId = await ensureRequirement(tx, next);
  await replanWaitingJob(tx, job.id, {
    plan: {
      before: "nothing",
      ...job.plan,
      version: (job.plan?.version ?? 0) + 1,
      ...changedPlan(job.plan, change),
      ownNeeds: job.plan?.ownNeeds ?? needs,
    },
    requirementId,
    startsLineage: change.loss !== "none",
    rung: change.rung,
    explain: change.explain,
  });
  return requirementId;
}

function eventOf(
  ids: IdSource,
  job: WaitingJob,
  { rung, loss, explain }: Extract<GraphChange, { kind: "changed" }>,
) {
  return {
    id: ids.next("evt"),
    type: "job.changed" as const,
    version: EVENT_VERSION,
    owner: job.owner,
    jobId: job.id,
    payload: { jobId: job.id, number: job.number, batchId: job.batchId, rung, loss, explain },
  };
}
