/**
 * One replica of the control plane: the real services and loops, put together as `services.ts` does,
 * without HTTP, webhooks and streams. Notifications between replicas travel over the network, and
 * may get lost: polling is the truth.
 */
import { classify } from "@holdfast/recovery";
import {
  createIdSource,
  NO_FAILPOINTS,
  seededRandom,
  startInOrder,
  type Clock,
} from "@holdfast/runtime";
import { createDirectLink } from "../../../packages/control-plane/src/direct-link.ts";
import { createBlobKeeper } from "../../../packages/control-plane/src/files/blob-service.ts";
import { createCircuitStore } from "../../../packages/control-plane/src/files/circuit-store.ts";
import { createPutAhead } from "../../../packages/control-plane/src/files/put-ahead.ts";
import { createRegistrar } from "../../../packages/control-plane/src/files/registrar.ts";
import { resolveInputs } from "../../../packages/control-plane/src/files/service.ts";
import { createFoldLoop, createHoldLoop } from "../../../packages/control-plane/src/jobs/loop.ts";
import {
  createJobsService,
  type JobsService,
} from "../../../packages/control-plane/src/jobs/service.ts";
import { createMachineReportService } from "../../../packages/control-plane/src/machines/report-service.ts";
import { createMachinesService } from "../../../packages/control-plane/src/machines/service.ts";
import { expectationsOf } from "../../../packages/control-plane/src/expectations.ts";
import { createProfileLoop } from "../../../packages/control-plane/src/profiles/loop.ts";
import { createProfilesService } from "../../../packages/control-plane/src/profiles/service.ts";
import { leaseTimes } from "../../../packages/control-plane/src/scheduler/lease-times.ts";
import { createErrorFoldLoop } from "../../../packages/control-plane/src/recovery/loop.ts";
import { createRecoveryStatistics } from "../../../packages/control-plane/src/recovery/statistics-service.ts";
import type { SchedulerSettings } from "../../../packages/control-plane/src/scheduler/model.ts";
import { createScheduler } from "../../../packages/control-plane/src/scheduler/scheduler.ts";
import type { ControlPlaneLink } from "@holdfast/contract";
import type { SimDatabase } from "./database.ts";
import { createProcess, type SimProcess, type Skew } from "./process.ts";
import type { SimStore } from "./store.ts";
import type { Timeline } from "./timeline.ts";
import type { Trace } from "./trace.ts";
import { traceLog } from "./trace-log.ts";
import type { Server } from "./network.ts";

/** What a replica offers to those who reach it. */
export interface ReplicaApi {
  readonly link: ControlPlaneLink;
  readonly jobs: JobsService;
}

/** A place where a replica runs, dies, and is started again. */
export interface Replica extends Server<ReplicaApi> {
  readonly skew: Skew;
  process(): SimProcess | undefined;
  /** Agents' polls that it holds open. */
  waitingPolls(): number;
  /** Another replica has queued jobs under these requirements, or taken leases from a machine. */
  hear(news: News): void;
  start(): void;
  kill(): void;
}

/** What replicas tell each other, as their notifications do. */
export type News =
  | { readonly kind: "queued"; readonly requirementIds: readonly number[] }
  | { readonly kind: "revoked"; readonly machineId: string };

/** Times of scheduling in a simulation, in ms: shorter than the defaults, in the same proportions. */
export const SETTINGS = {
  ...leaseTimes(21_000, 20_000),
  stalls: {
    progressMs: 12_000,
    firstLoadMs: 20_000,
    isFixed: { progress: true, firstLoad: true },
  },
  maxRetryAttempts: 3,
  recoveryEnabled: true,
  fallbackModels: [],
  modelWaitMs: 60_000,
  checkpoints: "auto",
  checkpointMinWork: 20,
} as const;

const NOTIFY_MS = 5;
/** Share of notifications that get lost. */
const NEWS_LOST = 0.1;
const MAX_FILE_BYTES = 1024 * 1024 * 1024;
/** The longest pause of a loop that is stretched, and how much. */
const LOOKS_MS = 1_000;
const LOOKS_SLOWER = 4;

/** How to make a {@link Replica}. */
export interface ReplicaOptions {
  readonly name: string;
  readonly seed: number;
  readonly skew: Skew;
  readonly timeline: Timeline;
  readonly trace: Trace;
  readonly database: SimDatabase;
  readonly store: SimStore;
  /** Other times than {@link SETTINGS}. */
  readonly settings?: Partial<SchedulerSettings>;
  /** The other replicas, that are told of what this one queues and revokes. */
  readonly others: () => readonly Replica[];
}

/** Makes a replica; it is not started. */
export function createReplica(options: ReplicaOptions): Replica {
  const { name, skew, timeline, trace } = options;
  let boots = 0;
  let running: Running | undefined;
  return {
    name,
    skew,
    process: () => running?.process,
    current: () => running,
    waitingPolls: () => running?.waitingPolls() ?? 0,
    hear: (news) => void running?.process.deliver(() => running?.hear(news)),
    start() {
      if (running !== undefined) return;
      boots += 1;
      const process = createProcess(timeline, name, skew);
      trace.note(name, "life", "starts", "");
      running = run(options, process, options.seed + boots * 1_000);
    },
    kill() {
      trace.note(name, "life", "killed", "");
      running?.process.kill();
      running = undefined;
    },
  };
}

interface Running {
  readonly process: SimProcess;
  readonly api: ReplicaApi;
  waitingPolls(): number;
  hear(news: News): void;
}

/**
 * The clock of loops that look at something every so often: they look a quarter as often. Most of a
 * simulation's time is waiting, and most of what it costs would be the looks of those who wait.
 */
function unhurried(clock: Clock): Clock {
  return {
    ...clock,
    sleep: (ms, signal) => clock.sleep(ms <= LOOKS_MS ? ms * LOOKS_SLOWER : ms, signal),
  };
}

function run(options: ReplicaOptions, process: SimProcess, seed: number): Running {
  const clock = unhurried(process.clock);
  const random = seededRandom(seed);
  const db = options.database.connect(process, seed + 1);
  const log = traceLog(options.trace, process.name);
  const ids = createIdSource(clock, random);
  const base = { db, clock, random, log };
  const machines = createMachinesService(db, clock);
  const store = createCircuitStore({
    store: options.store.connect(process, seededRandom(seed + 2)),
    clock,
    random,
    log,
  });
  const registrar = createRegistrar(base);
  const blobs = createBlobKeeper({ db, store, maxBytes: MAX_FILE_BYTES });
  const putAhead = createPutAhead({
    store,
    registrar,
    maxBytes: MAX_FILE_BYTES,
    put: (source) => blobs.put(source),
  });
  const tellOthers = (news: News): void => {
    for (const other of options.others()) {
      if (random.next() < NEWS_LOST) continue;
      options.timeline.after(NOTIFY_MS * random.next(), () => other.hear(news));
    }
  };
  const profiles = createProfilesService({ db, log });
  const statistics = createRecoveryStatistics(db, true);
  const scheduler = createScheduler({
    ...base,
    ids,
    failpoints: NO_FAILPOINTS,
    machines,
    blobs: registrar,
    profiles,
    classify,
    recordFailure: (tx, failed) => statistics.record(tx, failed),
    recordUnserved: (tx, unserved) => statistics.recordUnserved(tx, unserved),
    settings: { ...SETTINGS, ...options.settings },
    checkpointRetentionHours: 48,
    onCheckpointsRemoved: () => undefined,
    announceQueued: (requirementIds) => tellOthers({ kind: "queued", requirementIds }),
    announceEvents: () => undefined,
  });
  const jobs = createJobsService({
    db,
    clock,
    ids,
    ports: {
      resolveInputs,
      validateStrictly: (graph) => machines.validateStrictly(graph),
      declaredOutputs: (graph) => machines.declaredOutputs(graph),
      checkWebhookUrl: () => Promise.resolve(),
      onQueued: (requirements) => {
        scheduler.queued(requirements);
        tellOthers({ kind: "queued", requirementIds: requirements.map(({ id }) => id) });
      },
      onRevoked: (machineIds) => {
        for (const id of machineIds) {
          scheduler.revoked(id);
          tellOthers({ kind: "revoked", machineId: id });
        }
      },
      onEvents: () => undefined,
      expectations: (live) => expectationsOf(live, profiles, scheduler),
      fleetNumbers: async () => {
        const [numbers, busy] = await Promise.all([machines.numbers(), scheduler.busyInstances()]);
        return { ...numbers, instances: { ...numbers.instances, busy } };
      },
    },
  });
  const { leases, reports, checkpoints } = scheduler;
  const machineReports = createMachineReportService({
    ...base,
    ids,
    blobs,
    registerBlobs: (sha256s) => registrar.register(sha256s),
    onEvents: () => undefined,
  });
  const link = createDirectLink({
    leases,
    reports,
    checkpoints,
    machines,
    machineReports,
    blobs,
    putAhead,
  });
  const upkeep = [
    createErrorFoldLoop(base),
    createHoldLoop({ ...base, hold: jobs }),
    createProfileLoop({ ...base, profiles }),
  ];
  void startInOrder([createFoldLoop(base), ...upkeep, registrar, scheduler]);
  return {
    process,
    api: { link, jobs },
    waitingPolls: () => scheduler.waitingPolls(),
    hear(news) {
      if (news.kind === "revoked") scheduler.revoked(news.machineId);
      else scheduler.queued(news.requirementIds.map((id) => ({ id, needs: null })));
    },
  };
}
