import type { Clock, Random } from "@holdfast/runtime";
import { HEARTBEAT_TIMEOUT_MS } from "../machines/model.ts";
import type { MachinesService } from "../machines/service.ts";
import type { Db } from "../platform/db.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import type { Log } from "../platform/log.ts";
import type { ActiveRequirements } from "./active-requirements.ts";
import { countQueued, setWaitingReason } from "./lease-store.ts";
import type { SchedulerSettings } from "./model.ts";
import { createUnservedWatch } from "./unserved-watch.ts";
import * as store from "./outcome-store.ts";
import type { ModelFetching } from "./fetch-service.ts";
import type { ReplanDeps } from "./replan-service.ts";
import type { ReportService } from "./report-service.ts";
import type { WorkSignal } from "./work-signal.ts";

/** Pause between two looks at the queue: a job queued by another replica starts at most so late. */
const QUEUE_LOOK_EVERY_MS = 500;
/** Pause between two looks for run-out leases and due backoffs. */
const RECONCILE_EVERY_MS = 500;
/** Leases ended, or jobs queued again, in one tick. */
const RECONCILE_BATCH = 200;
/** A job that only other instances may take waits for them so long, then any may take it. */
const AVOIDANCE_MS = 60_000;
/** How often the slow checks run: lost machines, forgotten avoidance. */
const SLOW_EVERY_MS = 5_000;

/** What the loops are made of. */
export interface SchedulerLoopDeps extends ReplanDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly settings: SchedulerSettings;
  readonly machines: MachinesService;
  readonly reports: ReportService;
  readonly active: ActiveRequirements;
  readonly signal: WorkSignal;
  readonly fetching: ModelFetching;
  /** Told after jobs were queued again. */
  readonly onQueued: (requirementIds: readonly number[]) => void;
}

/**
 * Ends leases that have run out and queues jobs whose backoff is over. Every replica runs it; each
 * job is settled under its row lock, so two replicas cannot settle one twice.
 */
export function createReconcileLoop(deps: SchedulerLoopDeps): Loop {
  const { db, settings } = deps;
  let slowAt = Number.NEGATIVE_INFINITY;
  return createLoop({
    name: "scheduler.reconcile",
    everyMs: Math.min(RECONCILE_EVERY_MS, settings.leaseTtlMs / 4),
    clock: deps.clock,
    random: deps.random,
    log: deps.log,
    async tick() {
      const wasAway = await db.transaction((tx) => store.noteReconcile(tx, settings.leaseTtlMs));
      if (wasAway) {
        deps.log.warn({}, "nobody watched the leases for a while, all prolonged once");
      }
      const expired = await store.readExpiredLeases(db, RECONCILE_BATCH, 2 * settings.leaseTtlMs);
      for (const lease of expired) await expireOne(deps, lease);
      const requeued = await store.queueRecovered(db, RECONCILE_BATCH);
      if (requeued.length > 0) deps.onQueued(requeued);
      if (deps.clock.elapsed() - slowAt >= SLOW_EVERY_MS) {
        slowAt = deps.clock.elapsed();
        await slowChecks(deps);
      }
      return Math.max(expired.length, requeued.length) >= RECONCILE_BATCH ? "more" : "idle";
    },
  });
}

/** One that cannot be settled must not keep the others, and the backoffs, from their turn. */
async function expireOne(deps: SchedulerLoopDeps, lease: store.ExpiredLease): Promise<void> {
  try {
    await deps.reports.expire(lease);
  } catch (err) {
    deps.log.warn({ err, jobId: lease.jobId }, "a run-out lease could not be ended");
  }
}

async function slowChecks(deps: SchedulerLoopDeps): Promise<void> {
  const lost = await deps.machines.markLost(HEARTBEAT_TIMEOUT_MS);
  for (const machine of lost) {
    deps.log.warn({ machineId: machine.id, name: machine.name }, "machine lost, no heartbeat");
  }
  const free = await store.forgetAvoidance(deps.db, AVOIDANCE_MS, RECONCILE_BATCH);
  const stray = await store.mendLeases(deps.db);
  if (stray.length > 0) {
    deps.log.error({ jobs: stray.length }, "jobs were processing without a lease, queued again");
    deps.onQueued(stray);
  }
  if (free.length > 0) deps.onQueued(free);
}

/**
 * Looks which requirements have queued jobs, wakes polls that can serve them, and writes down why
 * nobody can where that is so. Models that a machine offers to fetch are asked of it; after a time
 * without, jobs that lack a model get another.
 */
export function createQueueLoop(deps: SchedulerLoopDeps): Loop {
  const unserved = createUnservedWatch(deps);
  return createLoop({
    name: "scheduler.queue",
    everyMs: QUEUE_LOOK_EVERY_MS,
    clock: deps.clock,
    random: deps.random,
    log: deps.log,
    async tick() {
      await deps.fetching.refresh();
      const requirements = await deps.active.refresh(deps.db);
      if (requirements.length === 0) return "idle";
      const ids = requirements.map((requirement) => requirement.id);
      // No more than there is work for: each that wakes looks into the database.
      deps.signal.wakeInTurn(ids, await countQueued(deps.db, ids, deps.signal.waiting()));
      const servers = await deps.machines.servers();
      const looks = requirements.map((requirement) => {
        const isServed = servers.inventories.some((inventory) =>
          deps.active.canServe(inventory, requirement.id),
        );
        return { requirement, why: isServed ? null : servers.explainWaiting(requirement.needs) };
      });
      const lacking = looks.filter(({ why }) => why !== null).map(({ requirement }) => requirement);
      await deps.fetching.look(lacking, servers);
      for (const { requirement, why } of looks) {
        const reason = why === null ? null : (deps.fetching.underWay(requirement.id) ?? why);
        unserved.note(requirement, reason);
        if (reason === requirement.waitingReason) continue;
        await setWaitingReason(deps.db, requirement.id, reason);
        if (reason !== null) {
          deps.log.warn({ requirementId: requirement.id, reason }, "jobs wait, nobody can serve");
        }
      }
      await unserved.replan(servers, (id) => deps.fetching.underWay(id) !== null);
      return "idle";
    },
  });
}
