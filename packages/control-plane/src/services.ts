/** Every feature's services, made and joined: who is told what by whom. */
import { DEFAULT_GRAPH_LIMITS, type GraphLimits } from "@holdfast/comfyui/protocol";
import { HoldfastError, type EventType } from "@holdfast/contract";
import type { Clock, Failpoints, IdSource, Random, Service } from "@holdfast/runtime";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  createEnrolment,
  createEnrolmentService,
  type EnrolmentService,
} from "./access/enrolment-service.ts";
import { createAlerts, type Alerts } from "./alerts/alerts.ts";
import { createEnrolmentLoop } from "./access/loop.ts";
import { createGuardedFetch, type GuardedFetch } from "./access/guarded-fetch.ts";
import { createAccess, hasAnyKey, type Access } from "./access/service.ts";
import { LOCAL_CALLER } from "./access/model.ts";
import { parseUrlRules } from "./access/url-rules.ts";
import type { Batches } from "./batches/batches.ts";
import { createBookFeature } from "./books.ts";
import { createBlobKeeper, type BlobKeeper } from "./files/blob-service.ts";
import { createCircuitStore } from "./files/circuit-store.ts";
import { createCollector, createUnusedFilesLoop } from "./files/loop.ts";
import { DEFAULT_BLOB_GRACE_MS, type BlobStore } from "./files/model.ts";
import { createPutAhead, type PutAhead } from "./files/put-ahead.ts";
import { createRegistrar } from "./files/registrar.ts";
import { createFileService, resolveInputs, type FileService } from "./files/service.ts";
import { createFleet, type Fleet } from "./fleet/fleet.ts";
import type { FleetPlan } from "./fleet/fleet-settings.ts";
import { pingHealthServer } from "./fleet/ping.ts";
import type { FleetService } from "./fleet/service.ts";
import { createEventFeed, type EventFeed } from "./jobs/event-feed.ts";
import { createJobWatch, type JobWatch } from "./jobs/job-watch.ts";
import {
  createFoldLoop,
  createHoldLoop,
  createKeyPruneLoop,
  createRetentionLoop,
  createUnnamedLoop,
} from "./jobs/loop.ts";
import { createRetention } from "./jobs/retention-service.ts";
import type { JobRetention } from "./jobs/retention.ts";
import { expectationsOf } from "./expectations.ts";
import { createJobsService, type JobsService } from "./jobs/service.ts";
import { createMachineLoops, createRunPruneLoop } from "./machines/loop.ts";
import {
  createMachineReportService,
  type MachineReportService,
} from "./machines/report-service.ts";
import { createMachinesService, type MachinesService } from "./machines/service.ts";
import type { Db, PgTarget } from "./platform/db.ts";
import type { Log } from "./platform/log.ts";
import type { Metrics } from "./platform/metrics.ts";
import { createListener, createNotifier } from "./platform/notify.ts";
import { createEventPruneLoop } from "./platform/event-prune.ts";
import { EVENTS_CHANNEL } from "./platform/outbox.ts";
import { stallTimes, type ControlPlaneSettings } from "./platform/settings.ts";
import { createProfileLoop } from "./profiles/loop.ts";
import { createProfilesService, type ProfilesService } from "./profiles/service.ts";
import { checkReadiness, type ReadinessCheck } from "./readiness.ts";
import { createErrorFoldLoop } from "./recovery/loop.ts";
import { createRecoveryService, type RecoveryService } from "./recovery/service.ts";
import {
  createRecoveryStatistics,
  type RecoveryStatisticsService,
} from "./recovery/statistics-service.ts";
import { createRemovalTally, type RemovalTally, type RemovedKind } from "./removal-tally.ts";
import { createPatternLoop } from "./recovery/pattern-loop.ts";
import { createPatternService, type PatternService } from "./recovery/pattern-service.ts";
import { leaseTimes } from "./scheduler/lease-times.ts";
import { createScheduler, type Scheduler } from "./scheduler/scheduler.ts";
import { openStore } from "./store-choice.ts";
import { createSlaLoop } from "./sla/loop.ts";
import { createSlaService, type SlaService } from "./sla/service.ts";
import { createWebhookLoops } from "./webhooks/loop.ts";
import { createWebhookService, type WebhookService } from "./webhooks/service.ts";
import { isSecret, signedHeaders } from "./webhooks/signing.ts";

/** What the services are made of. */
export interface ServicesOptions {
  readonly settings: ControlPlaneSettings;
  readonly clock: Clock;
  readonly random: Random;
  readonly failpoints: Failpoints;
  readonly log: Log;
  readonly db: Db;
  readonly ids: IdSource;
  readonly target: PgTarget;
  readonly fleet?: FleetPlan | undefined;
  /** Where this replica listens, once it does; left out: as the settings say. */
  readonly listensAt?: () => string;
  readonly metrics: Pick<Metrics, "samples">;
}

/** The services of one replica. */
export interface Services {
  readonly access: Access;
  readonly enrolments: EnrolmentService;
  readonly store: BlobStore;
  readonly blobs: BlobKeeper;
  readonly putAhead: PutAhead;
  readonly files: FileService;
  readonly machines: MachinesService;
  readonly machineReports: MachineReportService;
  readonly jobs: JobsService;
  readonly watch: JobWatch;
  readonly feed: EventFeed;
  readonly scheduler: Scheduler;
  readonly fleet: FleetService;
  readonly webhooks: WebhookService;
  readonly alerts: Alerts;
  readonly batches: Batches["service"];
  readonly patterns: PatternService;
  readonly profiles: ProfilesService;
  readonly graphLimits: GraphLimits;
  readonly recovery: RecoveryService;
  readonly statistics: RecoveryStatisticsService;
  readonly sla: SlaService;
  /** What a job needs to start, and whether it is there. */
  readonly readiness: () => Promise<readonly ReadinessCheck[]>;
  readonly leases: Scheduler["leases"];
  readonly reports: Scheduler["reports"];
  readonly checkpoints: Scheduler["checkpoints"];
  /** What this process has removed because its time was over. */
  readonly removals: RemovalTally;
  /** What runs in the background, in the order in which it starts. */
  readonly loops: readonly Service[];
  /** Lets go of what is no service: connections of the store and of guarded calls. */
  close(): Promise<void>;
}

/** Channel: jobs were queued; the payload is a requirement's id. */
const QUEUED_CHANNEL = "holdfast_queued";
/** Channel: leases were ended by somebody else; the payload is a machine's id. */
const REVOKED_CHANNEL = "holdfast_revoked";
/** Channel: custom error patterns were written. */
const PATTERNS_CHANNEL = "holdfast_error_patterns";
const BYTES_PER_MB = 1024 * 1024;
/** Stands for "no limit". */
const UNLIMITED = { perSecond: 1e9, burst: 1e9 };
const SECONDS_PER_MINUTE = 60;
const MS_PER_SECOND = 1_000;
const MS_PER_HOUR = 3_600_000;

/** Makes the services; loops do not run before they are started. */
export async function createServices(options: ServicesOptions): Promise<Services> {
  const { settings, clock, random, log, db, ids } = options;
  const base = { db, clock, random, log };
  const notifying = { target: options.target, clock, random, log, processName: ids.next("rpl") };
  const listener = createListener(notifying);
  const notifier = createNotifier(notifying);
  const guarded = createGuardedFetch({ clock, rules: parseUrlRules(settings.allowPrivateUrls) });
  const access = createAccess({
    db,
    clock,
    log,
    rateLimit: toRateLimit(settings.rateLimitPerMinute),
  });
  const { store, blobs, files, registrar, putAhead } = await createFileServices(options, guarded);
  const machines = createMachinesService(db, clock);
  const removals = createRemovalTally();
  const kept: JobRetention = {
    endedHours: settings.jobRetentionHours,
    failedHours: settings.failedJobRetentionHours,
  };

  // Events are read here at once, and by the other replicas within the notifier's gathering time.
  const feed = createEventFeed({ ...base, listener });
  const onEvents = (written: readonly EventType[]): void => {
    feed.wake(written);
    hooks.fanOut.wake();
    books.wake(written);
    notifier.notify(EVENTS_CHANNEL);
  };
  listener.on(EVENTS_CHANNEL, () => books.wake());
  const patterns = createPatternService({
    db,
    log,
    filePatterns: settings.errorPatterns,
    onChanged: () => notifier.notify(PATTERNS_CHANNEL),
  });
  const enrolments = createEnrolmentService({ db, clock, ids, log, onEvents });
  const machineReports = createMachineReportService({
    db,
    ids,
    log,
    blobs,
    registerBlobs: (sha256s) => registrar.register(sha256s),
    onEvents,
  });
  await patterns.refresh();
  const profiles = createProfilesService({ db, log });
  const patternLoop = createPatternLoop({ clock, random, log, patterns });
  listener.on(PATTERNS_CHANNEL, () => patternLoop.wake());
  const statistics = createRecoveryStatistics(db, settings.recoveryStatisticsEnabled);
  const scheduler = createScheduler({
    ...base,
    ids,
    failpoints: options.failpoints,
    machines,
    blobs: registrar,
    profiles,
    classify: patterns.classify,
    recordFailure: (tx, failed) => statistics.record(tx, failed),
    recordUnserved: (tx, unserved) => statistics.recordUnserved(tx, unserved),
    settings: {
      ...leaseTimes(settings.leaseTtlMs, settings.pollWaitMs),
      stalls: stallTimes(settings),
      maxRetryAttempts: settings.maxRetryAttempts,
      recoveryEnabled: settings.errorRecoveryEnabled,
      fallbackModels: settings.fallbackModels,
      modelWaitMs: settings.modelWaitSeconds * MS_PER_SECOND,
      checkpoints: settings.checkpoints,
      checkpointMinWork: settings.checkpointMinWork,
    },
    checkpointRetentionHours: settings.checkpointRetentionHours,
    onCheckpointsRemoved: (count) => removals.add("checkpoint", count),
    announceQueued: (requirementIds) => {
      for (const id of requirementIds) notifier.notify(QUEUED_CHANNEL, String(id));
    },
    announceEvents: onEvents,
  });
  const graphLimits = { ...DEFAULT_GRAPH_LIMITS, maxNodes: settings.maxGraphNodes };
  const jobs = createJobsService({
    db,
    clock,
    ids,
    maxQueuedJobs: settings.maxQueuedJobs,
    graphLimits,
    retention: kept,
    checkpointRetentionHours: settings.checkpointRetentionHours,
    ports: {
      resolveInputs,
      validateStrictly: (graph) => machines.validateStrictly(graph),
      declaredOutputs: (graph) => machines.declaredOutputs(graph),
      checkWebhookUrl: (url) => checkUrl(guarded, url),
      onQueued: (requirements) => {
        scheduler.queued(requirements);
        for (const { id } of requirements) notifier.notify(QUEUED_CHANNEL, String(id));
      },
      onRevoked: (machineIds) => {
        for (const id of machineIds) {
          scheduler.revoked(id);
          notifier.notify(REVOKED_CHANNEL, id);
        }
      },
      onEvents,
      expectations: (live) => expectationsOf(live, profiles, scheduler),
      fleetNumbers: async () => {
        const [numbers, busy] = await Promise.all([machines.numbers(), scheduler.busyInstances()]);
        return { ...numbers, instances: { ...numbers.instances, busy } };
      },
    },
  });
  listener.on(QUEUED_CHANNEL, (id) =>
    scheduler.queued(id === undefined || id === "" ? [] : [{ id: Number(id), needs: null }]),
  );
  listener.on(REVOKED_CHANNEL, (id) => {
    if (id !== undefined) scheduler.revoked(id);
  });
  const watch = createJobWatch({ ...base, feed });
  const webhooks = createWebhookService({
    db,
    ids,
    clock,
    fetch: guarded,
    onDue: () => hooks.deliver.wake(),
  });
  const hooks = createWebhookLoops({
    ...base,
    ids,
    listener,
    fetch: guarded,
    onRemoved: (count) => removals.add("webhook_delivery", count),
  });
  const books = createBookFeature({ ...options, jobs, removals, graphLimits, onEvents });
  const fleet = await createFleetFeature(options, { jobs, scheduler, machines, onEvents });
  const alerts = createAlerts({
    ...base,
    ids,
    jobs,
    machines,
    deadWebhooks: (withinMs) => webhooks.deadWithin(withinMs),
    fleet: () => fleet.service.samples(),
    endedOnPurpose: () => fleet.service.endedAgents(),
    metricSamples: async (names) => {
      const samples = await options.metrics.samples(names);
      return { told: [...new Set(samples.map(({ metric }) => metric))], samples };
    },
    sign: (secret, message) => (isSecret(secret) ? signedHeaders(secret, message) : undefined),
    fileRules: settings.alertRules,
    channels: settings.alertChannels,
    onEvents,
    onRemoved: (kind, count) => removals.add(kind, count),
  });
  const sla = createSlaService(db, settings.slaBookWindow);
  const readiness = () => checkReadiness({ db, store, machines });
  const recovery = createRecoveryService({
    db,
    random,
    jobs,
    machines,
    maxRetries: settings.maxRetryAttempts,
    isRecoveryEnabled: settings.errorRecoveryEnabled,
    fallbackModels: settings.fallbackModels,
    classify: patterns.classify,
    graphLimits,
    ports: {
      usableCheckpoints: (jobId) => scheduler.checkpoints.usable(jobId),
      removeCheckpoints: (endedHoursAgo) => scheduler.checkpoints.removeOfEnded(endedHoursAgo),
    },
  });
  return {
    access,
    enrolments,
    store,
    blobs,
    putAhead,
    files,
    machines,
    machineReports,
    jobs,
    watch,
    feed,
    scheduler,
    fleet: fleet.service,
    webhooks,
    alerts,
    batches: books.service,
    patterns,
    profiles,
    graphLimits,
    recovery,
    statistics,
    sla,
    readiness,
    leases: scheduler.leases,
    reports: scheduler.reports,
    checkpoints: scheduler.checkpoints,
    removals,
    loops: [
      notifier,
      listener,
      feed,
      watch,
      createFoldLoop(base),
      createErrorFoldLoop(base),
      createSlaLoop({ ...base, sla }),
      createHoldLoop({ ...base, hold: jobs }),
      registrar,
      ...createRemovalLoops(options, { store, removals, kept }),
      hooks.fanOut,
      hooks.deliver,
      hooks.prune,
      ...alerts.loops,
      ...books.loops,
      patternLoop,
      createProfileLoop({ clock, random, log, profiles }),
      scheduler,
      ...fleet.loops,
    ],
    async close() {
      await jobs.drain();
      await fleet.close();
      await alerts.close();
      await guarded.close();
      await store.close();
    },
  };
}

/** The fleet, joined with what it needs of the others. */
async function createFleetFeature(
  { db, clock, random, ids, log, settings, fleet: plan, listensAt }: ServicesOptions,
  others: {
    readonly jobs: JobsService;
    readonly scheduler: Scheduler;
    readonly machines: MachinesService;
    readonly onEvents: (written: readonly EventType[]) => void;
  },
): Promise<Fleet> {
  const { jobs, scheduler, machines, onEvents } = others;
  return await createFleet({
    db,
    clock,
    random,
    ids,
    log,
    plan,
    onEvents,
    breaker: {
      threshold: settings.maxWorkerFailureRate,
      windowMs: settings.failureWindowMinutes * SECONDS_PER_MINUTE * MS_PER_SECOND,
      minimum: settings.minWorkersForRateCheck,
      clearedBefore: null,
    },
    heartbeatTimeoutMs: settings.gpuIdleTimeoutSec * MS_PER_SECOND,
    publicUrl: () =>
      settings.publicUrl ?? listensAt?.() ?? `http://${settings.host}:${settings.port}`,
    ports: {
      async demand() {
        const [stats, jobMs] = await Promise.all([jobs.stats(LOCAL_CALLER), scheduler.jobMs()]);
        const waiting = stats.jobs.queued + stats.jobs.recovering - stats.held;
        return {
          waitingJobs: Math.max(0, waiting),
          runningJobs: stats.jobs.processing,
          jobMs,
          oldestWaitMs: stats.oldestQueuedAgeMs,
        };
      },
      cordon: (tx, machineId, isCordoned) => machines.setMachineCordon(tx, machineId, isCordoned),
      enrol: (machineName) => enrolMachine(db, ids, machineName),
      ping: (url, token, signal) => pingHealthServer(url, token, { clock, signal }),
    },
  });
}

/** A token for a machine of the fleet; null as long as nobody needs a key. */
async function enrolMachine(db: Db, ids: IdSource, machineName: string): Promise<string | null> {
  if (!(await hasAnyKey(db))) return null;
  const wanted = { name: "the fleet", machineName, createdBy: "fleet" };
  return (await createEnrolment(db, ids, wanted)).text;
}

/** The loops that remove what is over, each as long after as its setting or its feature says. */
function createRemovalLoops(
  { settings, clock, random, log, db }: ServicesOptions,
  made: {
    readonly store: BlobStore;
    readonly removals: RemovalTally;
    readonly kept: JobRetention;
  },
): readonly Service[] {
  const base = { db, clock, random, log };
  const { store, kept } = made;
  const onRemoved = (kind: RemovedKind, count: number): void => made.removals.add(kind, count);
  const told = (kind: RemovedKind) => (count: number) => onRemoved(kind, count);
  const eventRetentionMs = settings.eventRetentionHours * MS_PER_HOUR;
  const retention = createRetention({ ...base, eventRetentionMs, onRemoved });
  const keptMs = settings.fileRetentionHours * MS_PER_HOUR;
  return [
    createRetentionLoop({ ...base, retention, kept }),
    createUnnamedLoop({ ...base, retention, kept }, "graphs"),
    createUnnamedLoop({ ...base, retention, kept }, "requirements"),
    createKeyPruneLoop({ ...base, onRemoved: told("idempotency_key") }),
    createEventPruneLoop({
      ...base,
      retentionHours: settings.eventRetentionHours,
      onRemoved: told("event"),
    }),
    ...createMachineLoops({
      ...base,
      keptMs: settings.machineRetentionHours * MS_PER_HOUR,
      onRemoved,
    }),
    createRunPruneLoop({ ...base, onRemoved: told("startup_run") }),
    createEnrolmentLoop({ ...base, onRemoved: told("enrolment") }),
    ...(keptMs === 0 ? [] : [createUnusedFilesLoop({ ...base, keptMs, onRemoved: told("file") })]),
    createCollector({
      ...base,
      store,
      graceMs: DEFAULT_BLOB_GRACE_MS,
      onRemoved: told("blob"),
    }),
  ];
}

function toRateLimit(perMinute: number) {
  if (perMinute === 0) return UNLIMITED;
  return { perSecond: perMinute / SECONDS_PER_MINUTE, burst: perMinute };
}

async function createFileServices(options: ServicesOptions, guarded: GuardedFetch) {
  const { settings, clock, random, log, db, ids } = options;
  const opened = await openStore(settings, { clock, ids });
  const store = createCircuitStore({ store: opened, clock, random, log });
  const spoolFolder = join(settings.home, "uploads");
  // What a process that was killed was just taking in; nobody was told that it is here.
  await rm(spoolFolder, { recursive: true, force: true });
  await mkdir(spoolFolder, { recursive: true, mode: 0o700 });
  const maxFileBytes = settings.maxFileMb * BYTES_PER_MB;
  const registrar = createRegistrar({ db, clock, random, log });
  const blobs = createBlobKeeper({ db, store, maxBytes: maxFileBytes });
  const putAhead = createPutAhead({
    store,
    registrar,
    maxBytes: maxFileBytes,
    put: (source) => blobs.put(source),
  });
  const files = createFileService({ db, blobs, ids, fetch: guarded, spoolFolder, maxFileBytes });
  return { store, blobs, files, registrar, putAhead };
}

async function checkUrl(guarded: GuardedFetch, url: string): Promise<void> {
  const decision = await guarded.check(url);
  if (decision.kind === "forbidden") {
    throw new HoldfastError("url_forbidden", `${url}: ${decision.reason}`);
  }
}
