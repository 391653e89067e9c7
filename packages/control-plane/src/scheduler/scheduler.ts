import type { EventType } from "@holdfast/contract";
import type { Classifier } from "@holdfast/recovery";
import type { Clock, Failpoints, IdSource, Random, Service } from "@holdfast/runtime";
import { startInOrder, stopInOrder } from "@holdfast/runtime";
import type { Needs } from "../machines/model.ts";
import type { MachinesService } from "../machines/service.ts";
import type { Db } from "../platform/db.ts";
import type { ProfilesService } from "../profiles/service.ts";
import type { Log } from "../platform/log.ts";
import { createActiveRequirements } from "./active-requirements.ts";
import { createCheckpointLoop } from "./checkpoint-loop.ts";
import { createCheckpointService, type CheckpointService } from "./checkpoint-service.ts";
import { createForecastService } from "./forecast-service.ts";
import { createModelFetching } from "./fetch-service.ts";
import { readRecentJobMs } from "./job-time-store.ts";
import { createGraphCache } from "./graph-cache.ts";
import { createLeaseService, type LeaseService } from "./lease-service.ts";
import { countBusyInstances, readRequirementNeeds } from "./lease-store.ts";
import { createQueueLoop, createReconcileLoop } from "./loop.ts";
import type { RecordFailure, RecordUnserved, SchedulerSettings } from "./model.ts";
import { createRecentEnds } from "./recent-ends.ts";
import { createReportService, type ConfirmedBlobs, type ReportService } from "./report-service.ts";
import { createWorkSignal } from "./work-signal.ts";

/** What the scheduler is made of; `app.ts` fills the ports. */
export interface SchedulerDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: IdSource;
  readonly log: Log;
  readonly failpoints: Failpoints;
  readonly settings: SchedulerSettings;
  readonly machines: MachinesService;
  readonly blobs: ConfirmedBlobs;
  readonly profiles: ProfilesService;
  /** Says what a failure is: built-in rules and the operators' patterns. */
  readonly classify: Classifier;
  readonly recordFailure: RecordFailure;
  readonly recordUnserved: RecordUnserved;
  /** `CHECKPOINT_RETENTION_HOURS`. */
  readonly checkpointRetentionHours: number;
  /** Told how many checkpoints were removed because their time was over. */
  readonly onCheckpointsRemoved: (count: number) => void;
  /** Tells the other replicas that jobs were queued under these requirements. */
  readonly announceQueued: (requirementIds: readonly number[]) => void;
  /** Tells the readers of the outbox that there is something of these types to read. */
  readonly announceEvents: (written: readonly EventType[]) => void;
}

/** Gives jobs to instances and takes the outcomes back. */
export interface Scheduler extends Service {
  readonly leases: LeaseService;
  readonly reports: ReportService;
  readonly checkpoints: CheckpointService;
  /** Jobs were queued, here or at another replica: wakes polls that could take them. */
  queued(requirements: readonly { readonly id: number; readonly needs: Needs | null }[]): void;
  /** Leases of this machine were ended by somebody else: its poll answers at once. */
  revoked(machineId: string): void;
  /** Instances that hold a lease now. */
  busyInstances(): Promise<number>;
  /**
   * What a job takes an instance, ms on average: those that wait, by their profiles; where most of them
   * have none, those that were completed lately. Null when that is not known either.
   */
  jobMs(): Promise<number | null>;
  /** Ms until jobs are completed, as far as that can be told. */
  etas(): Promise<ReadonlyMap<string, number>>;
  /** Agents' polls that this replica holds open. */
  waitingPolls(): number;
}

/** Puts the scheduler together; nothing runs before `start`. */
export function createScheduler(deps: SchedulerDeps): Scheduler {
  const active = createActiveRequirements();
  const graphs = createGraphCache();
  const recentEnds = createRecentEnds();
  const signal = createWorkSignal((run, ms) => cancellableTimer(deps.clock, run, ms));
  const needs = new Map<number, Needs>();
  const needsOf = async (id: number): Promise<Needs> => {
    const known = needs.get(id);
    if (known !== undefined) return known;
    const read = await readRequirementNeeds(deps.db, id);
    if (needs.size >= NEEDS_KEPT) needs.clear();
    needs.set(id, read);
    return read;
  };
  const requeued = (ids: readonly number[]): void => {
    deps.announceQueued(ids);
    void Promise.all(ids.map(async (id) => ({ id, needs: await needsOf(id) }))).then(
      (known) => {
        active.note(known);
        signal.wakeForWork(ids, ids.length);
      },
      // The queue loop finds the jobs within its pause all the same.
      (err: unknown) => deps.log.warn({ err }, "needs of queued jobs could not be read"),
    );
  };
  const reports = createReportService({
    ...deps,
    active,
    graphs,
    recentEnds,
    needsOf,
    onQueued: (id) => requeued([id]),
    onEvents: deps.announceEvents,
  });
  const { leaseTtlMs } = deps.settings;
  const forecasts = createForecastService({ ...deps, needsOf, leaseTtlMs });
  const fetching = createModelFetching({ ...deps, signal });
  const leases = createLeaseService({
    ...deps,
    wantedModels: (machineId) => fetching.wantedOf(machineId),
    active,
    graphs,
    signal,
    recentEnds,
    onEvents: deps.announceEvents,
  });
  const checkpoints = createCheckpointService({ ...deps, onEvents: deps.announceEvents });
  const checkpointLoop = createCheckpointLoop({
    ...deps,
    retentionHours: deps.checkpointRetentionHours,
    onRemoved: deps.onCheckpointsRemoved,
  });
  const loopDeps = {
    ...deps,
    reports,
    active,
    signal,
    fetching,
    graphs,
    onQueued: requeued,
    onEvents: deps.announceEvents,
  };
  const queueLoop = createQueueLoop(loopDeps);
  const loops = [createReconcileLoop(loopDeps), queueLoop, checkpointLoop];
  return {
    name: "scheduler",
    leases,
    reports,
    checkpoints,
    queued(requirements) {
      const known = requirements.flatMap(({ id, needs: own }) =>
        own === null ? [] : [{ id, needs: own }],
      );
      active.note(known);
      // Another replica's notification, or the echo of our own, names the requirement alone.
      const ids = requirements.map(({ id }) => id).filter((id) => active.has(id));
      if (ids.length < requirements.length) queueLoop.wake();
      if (ids.length > 0) signal.wakeForWork(ids, ids.length);
    },
    revoked(machineId) {
      leases.forget(machineId);
      signal.wakeMachine(machineId);
    },
    waitingPolls: () => signal.waiting(),
    busyInstances: () => countBusyInstances(deps.db),
    async jobMs() {
      const { waitingJobMs } = await forecasts.forecast();
      return waitingJobMs ?? (await readRecentJobMs(deps.db));
    },
    etas: async () => (await forecasts.forecast()).etas,
    start: () => startInOrder(loops),
    async stop() {
      signal.wakeAll();
      await stopInOrder(loops);
    },
  };
}

/** Needs of requirements kept in memory. */
const NEEDS_KEPT = 10_000;

/** One for all: an error for each timer costs more than the timer. */
const CALLED_OFF = new Error("called off");

function cancellableTimer(clock: Clock, run: () => void, ms: number): () => void {
  const cancelled = new AbortController();
  clock.sleep(ms, cancelled.signal).then(run, () => undefined);
  return () => cancelled.abort(CALLED_OFF);
}
