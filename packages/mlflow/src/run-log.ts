/**
 * The log of an experiment's runs: on the disk first, delivered to MLflow behind. Nobody who logs waits for
 * the network; what is kept is delivered by this process, or by the next one that opens the folder.
 */
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { invariant, nextUuid, type Abortable, type Clock, type Random } from "@holdfast/runtime";
import { tryFileLock } from "@holdfast/runtime/host";
import { createMlflowClient, type RunStatus } from "./client/client.ts";
import type { TrackingTarget } from "./client/tracking-target.ts";
import type { MlflowTrouble } from "./client/trouble.ts";
import { createDeliverer, type Deliverer, type DeliveryEvent } from "./delivery/deliverer.ts";
import { createExperiment } from "./delivery/experiment.ts";
import { createPending, type Pending } from "./delivery/pending.ts";
import { createRunIdentities } from "./delivery/run-identity.ts";
import { createRunQueues } from "./delivery/run-queues.ts";
import { readIdentity, writeIdentity, type JournalIdentity } from "./journal/identity-file.ts";
import { openJournal, type Journal } from "./journal/journal.ts";
import { openProgress } from "./journal/progress.ts";
import type { JournalRecord } from "./journal/record.ts";
import { openSetAside, SET_ASIDE_FILE, type SetAside } from "./journal/set-aside.ts";
import type { Kept } from "./journal/writer.ts";
import { toArtifactPath } from "./names.ts";
import { checkKey, toDataRecords, toFileReference, type RunData } from "./to-records.ts";

/** A run that begins. Its key is the caller's own, and the same for ever: begun twice, it is one run. */
export interface RunStart extends RunData {
  readonly key: string;
  /** What MLflow shows. */
  readonly name: string;
  /** Key of the run that it is shown under. */
  readonly parent?: string;
}

/** Where delivery stands. */
export interface LogStatus {
  /** Records that MLflow does not have yet. */
  readonly pending: number;
  /** Records and entries that it refused for good. */
  readonly setAside: number;
  /** The file that has them. */
  readonly setAsideFile: string;
  /** Why nothing goes through now. */
  readonly trouble: MlflowTrouble | undefined;
}

/** What waiting for delivery came to. */
export type Flushed = { readonly kind: "delivered" | "pending" } & LogStatus;

/**
 * The log of one experiment. Each call resolves when the disk has what was logged (`kept`), or could not take
 * it (`not_kept`, with the reason); it rejects for nothing but a bug of the caller's. Names that MLflow does
 * not take are written in its alphabet, values that are too long for it are cut: see `names.ts`.
 */
export interface RunLog {
  startRun(run: RunStart): Promise<Kept>;
  params(key: string, params: Readonly<Record<string, string>>): Promise<Kept>;
  tags(key: string, tags: Readonly<Record<string, string>>): Promise<Kept>;
  /** `step` is 0 and the instant now unless given. NaN and the infinities are values. */
  metrics(
    key: string,
    metrics: Readonly<Record<string, number>>,
    instant?: { readonly step?: number; readonly at?: number },
  ): Promise<Kept>;
  /** `file` stays where it is until it is delivered, and unchanged. `path` is its name in MLflow. */
  artifact(key: string, path: string, file: string): Promise<Kept>;
  endRun(key: string, status: Exclude<RunStatus, "RUNNING">): Promise<Kept>;
  /** Tries at once what is paused; resolves when all is delivered, or at the time limit. */
  flush(limit: { readonly timeoutMs: number; readonly signal?: Abortable }): Promise<Flushed>;
  status(): LogStatus;
  /** Ends what is under way, and gives the folder to whoever wants it. What is pending stays in it. */
  close(): Promise<void>;
}

/** What became of opening a log. */
export type OpenedLog =
  | { readonly kind: "open"; readonly log: RunLog; readonly experiment: string }
  /** Another process delivers this folder. */
  | { readonly kind: "locked"; readonly pid: number }
  /** The folder has none, and no experiment was named to begin one. */
  | { readonly kind: "no_log" }
  | { readonly kind: "other_experiment"; readonly expected: string; readonly found: string }
  /** The folder cannot be read or written, or is of another version. */
  | { readonly kind: "unusable"; readonly message: string };

/** How to open a log. */
export interface LogOptions {
  /** Made when it is missing, and the log's alone. */
  readonly folder: string;
  /** MLflow's name of the experiment. Without it, only a log that is there is opened. */
  readonly experiment?: string;
  readonly target: TrackingTarget;
  readonly clock: Clock;
  readonly random: Random;
  readonly onEvent?: (event: DeliveryEvent) => void;
  readonly limits?: Partial<LogLimits>;
}

/** What grows or waits, and how far. */
export interface LogLimits {
  /** All files of the journal together; beyond it nothing more is kept. */
  readonly journalBytes: number;
  readonly segmentBytes: number;
  /** Records in memory that wait for MLflow. */
  readonly bufferBytes: number;
  /** Runs that are delivered side by side. */
  readonly workers: number;
  readonly callTimeoutMs: number;
}

const LIMITS: LogLimits = {
  journalBytes: 2 * 1024 ** 3,
  segmentBytes: 4 * 1024 ** 2,
  bufferBytes: 8 * 1024 ** 2,
  workers: 4,
  callTimeoutMs: 30_000,
};
const EXPERIMENT_NAME_MAX = 500;
/** Somebody waits: pauses are no longer than this. */
const FLUSH_RETRY_MS = 5_000;

/** Opens the log of a folder, and begins to deliver what is in it. Throws for nothing but a bug. */
export async function openRunLog(options: LogOptions): Promise<OpenedLog> {
  const { experiment, clock } = options;
  const folder = resolve(options.folder);
  invariant(
    experiment === undefined || (experiment !== "" && experiment.length <= EXPERIMENT_NAME_MAX),
    `the name of an experiment has 1 to ${EXPERIMENT_NAME_MAX} characters`,
  );
  try {
    if (experiment === undefined && (await readIdentity(folder)) === undefined) {
      return { kind: "no_log" };
    }
    await mkdir(folder, { recursive: true });
    const lock = await tryFileLock(join(folder, "lock"), clock);
    if (lock.kind === "theirs") return { kind: "locked", pid: lock.pid };
    try {
      const opened = await openLocked({ ...options, folder }, () => lock.release());
      if (opened.kind !== "open") await lock.release();
      return opened;
    } catch (error) {
      await lock.release();
      throw error;
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { kind: "unusable", message: `the log for MLflow in ${folder}: ${message}` };
  }
}

async function openLocked(options: LogOptions, release: () => Promise<void>): Promise<OpenedLog> {
  const { folder, experiment } = options;
  const found = await readIdentity(folder);
  if (found !== undefined && experiment !== undefined && found.experiment !== experiment) {
    return { kind: "other_experiment", expected: experiment, found: found.experiment };
  }
  const name = experiment ?? found?.experiment;
  if (name === undefined) return { kind: "no_log" };
  const identity = found ?? { version: 1, id: nextUuid(options.random), experiment: name };
  if (found === undefined) await writeIdentity(folder, identity);
  return {
    kind: "open",
    log: await createRunLog(options, { ...identity, isResumed: found !== undefined }, release),
    experiment: name,
  };
}

async function createRunLog(
  options: LogOptions,
  identity: JournalIdentity & { readonly isResumed: boolean },
  release: () => Promise<void>,
): Promise<RunLog> {
  const { folder, clock, random } = options;
  const limits = { ...LIMITS, ...options.limits };
  const progress = await openProgress(folder);
  const setAside = await openSetAside(folder);
  const pending = createPending();
  const journal = await openJournal({
    folder,
    lastDropped: progress.lastDropped,
    segmentBytes: limits.segmentBytes,
    maxBytes: limits.journalBytes,
    onDurable: (records) => {
      pending.add(records);
      deliverer.wake();
    },
  });
  for (const [segment, lines] of journal.inherited) {
    pending.add(Math.max(0, lines - progress.doneCount(segment)));
  }
  const client = createMlflowClient({ ...options, ...limits, connections: limits.workers });
  const queues = createRunQueues();
  const experiment = createExperiment(client, identity.experiment);
  const identities = createRunIdentities({
    client,
    progress,
    experiment,
    journalId: identity.id,
    clock,
    isResumed: identity.isResumed,
    isWaiting: (key) => queues.has(key),
  });
  const deliverer: Deliverer = createDeliverer({
    client,
    identities,
    experiment,
    journal,
    progress,
    setAside,
    queues,
    folder,
    clock,
    random,
    workers: limits.workers,
    bufferBytes: limits.bufferBytes,
    onEvent: options.onEvent ?? (() => undefined),
    onDone: (records) => pending.add(-records),
  });
  deliverer.start();
  const close = async (): Promise<void> => {
    await journal.close();
    await deliverer.stop();
    await client.close();
    await release();
  };
  return toRunLog({ folder, clock, journal, deliverer, setAside, pending, close });
}

interface Parts {
  readonly folder: string;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly deliverer: Deliverer;
  readonly setAside: SetAside;
  readonly pending: Pending;
  readonly close: () => Promise<void>;
}

function toRunLog({ folder, clock, journal, deliverer, setAside, pending, close }: Parts): RunLog {
  const append = async (records: readonly JournalRecord[]): Promise<Kept> =>
    records.length === 0 ? { kind: "kept" } : await journal.append(records);
  const data = async (key: string, values: RunData, step = 0, at = clock.now()): Promise<Kept> =>
    await append(toDataRecords(key, values, { step, at: Math.floor(at) }));
  const status = (): LogStatus => ({
    pending: pending.count(),
    setAside: setAside.count,
    setAsideFile: join(folder, SET_ASIDE_FILE),
    trouble: deliverer.trouble(),
  });
  let closing: Promise<void> | undefined;
  return {
    async startRun({ key, name, parent, ...values }) {
      checkKey(key);
      if (parent !== undefined) checkKey(parent);
      const at = Math.floor(clock.now());
      const start = { t: "start", key, name: name.toWellFormed(), at } as const;
      return await append([
        { ...start, ...(parent === undefined ? {} : { parent }) },
        ...toDataRecords(key, values, { at, step: 0 }),
      ]);
    },
    params: (key, params) => data(key, { params }),
    tags: (key, tags) => data(key, { tags }),
    metrics: (key, metrics, instant) => data(key, { metrics }, instant?.step, instant?.at),
    async artifact(key, path, file) {
      checkKey(key);
      const reference = toFileReference(folder, resolve(file));
      return await append([{ t: "artifact", key, path: toArtifactPath(path), file: reference }]);
    },
    async endRun(key, status_) {
      checkKey(key);
      return await append([{ t: "end", key, status: status_, at: Math.floor(clock.now()) }]);
    },
    async flush({ timeoutMs, signal }) {
      const endsAt = clock.elapsed() + timeoutMs;
      for (;;) {
        deliverer.retryNow();
        const leftMs = Math.max(0, endsAt - clock.elapsed());
        const isDelivered = await pending.none(clock, Math.min(leftMs, FLUSH_RETRY_MS), signal);
        if (isDelivered) return { kind: "delivered", ...status() };
        if (leftMs <= FLUSH_RETRY_MS || signal?.aborted === true) {
          return { kind: "pending", ...status() };
        }
      }
    },
    status,
    close: () => (closing ??= close()),
  };
}
