import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  assertNever,
  backoffMs,
  type Clock,
  invariant,
  type Random,
  type Service,
} from "@holdfast/runtime";
import type { PgConnection } from "../db.ts";
import { withFileLock } from "../file-lock.ts";
import type { Log } from "../log.ts";
import { isProcessAlive } from "../processes.ts";
import {
  boundLog,
  clusterConnection,
  endServer,
  ensureCluster,
  ensureDatabase,
  freePort,
  logTail,
  probeServer,
  readClusterFacts,
  spawnPostmaster,
} from "./cluster.ts";
import { preparePlaces, type Places } from "./places.ts";
import { PostgresError } from "./postgres-error.ts";
import { decideCluster } from "./postmaster-pid.ts";

/** How to run an embedded Postgres. */
export interface EmbeddedPostgresOptions {
  /** Ours alone: data, password, log. Made when missing. */
  readonly dir: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Use the Postgres that another process of ours runs on this folder; never start or end one. */
  readonly join?: boolean;
  /** Server settings over the usual ones. Tests turn durability off. */
  readonly settings?: Readonly<Record<string, string>>;
  /** False: act as on a machine that forbids user namespaces. */
  readonly allowNamespaces?: boolean;
}

/**
 * A Postgres of our own, run from the binaries that npm installed. It outlives a kill of this
 * process; the next start takes it over. While started it is watched, and started again when it
 * crashes. Invariants:
 * I1  At most one server runs on a folder: starting happens under a lock file.
 * I2  `postmaster.pid` is removed only when the process it names is gone or is no Postgres of ours.
 * I3  A folder holds a whole cluster or none: `initdb` works beside it and is renamed into place.
 */
export interface EmbeddedPostgres extends Service {
  /** Where it listens now. Throws PostgresError `not_running` before the start. May change on a restart. */
  connection(): PgConnection;
  /** The server's process id; undefined before the start. */
  pid(): number | undefined;
  /** Whether the last start found a server running instead of starting one. */
  wasAdopted(): boolean;
  /** A connection failed: look at the server now instead of at the next tick. */
  check(): void;
  /** Calls back after the server was started again. Returns a function that stops the calls. */
  onRestart(listener: (connection: PgConnection) => void): () => void;
}

const WATCH_EVERY_MS = 1_000;
/** Recovery after a crash replays at most `max_wal_size`; longer than this it hangs. */
const RECOVERY_LIMIT_MS = 120_000;
const READY_POLL_MS = 20;
const LOCK_WAIT_MS = RECOVERY_LIMIT_MS + 30_000;
const MAX_START_TRIES = 6;
const START_BACKOFF = { initialMs: 200, factor: 2, maxMs: 3_000, jitter: 0.3 };
const RESTART_BACKOFF = { initialMs: 250, factor: 2, maxMs: 30_000, jitter: 0.3 };
const MAX_LOG_BYTES = 4 * 1024 * 1024;

interface Running {
  readonly pid: number;
  readonly port: number;
  readonly adopted: boolean;
}

/** Makes the supervisor of an embedded Postgres; nothing happens before `start`. */
export function createEmbeddedPostgres(options: EmbeddedPostgresOptions): EmbeddedPostgres {
  const { clock, log, random } = options;
  const listeners = new Set<(connection: PgConnection) => void>();
  let places: Places | undefined;
  let running: Running | undefined;
  let stopping = new AbortController();
  let wake = new AbortController();
  let watching: Promise<void> | undefined;

  const bringUp = async (): Promise<Running> => {
    invariant(places !== undefined, "places are settled before the server is started");
    return options.join === true
      ? await joinServer(places, clock)
      : await startOrAdopt(places, { ...options, signal: stopping.signal });
  };

  const restart = async (settled: Places): Promise<void> => {
    for (let attempt = 1; !stopping.signal.aborted; attempt += 1) {
      try {
        const before = running;
        running = await bringUp();
        await boundLog(settled.logFile, MAX_LOG_BYTES);
        if (before?.pid === running.pid) return;
        const { pid, port } = running;
        log.warn({ pid, port }, "database runs again");
        const connection = clusterConnection(port, settled.password);
        for (const listener of listeners) listener(connection);
        return;
      } catch (err) {
        if (stopping.signal.aborted) return;
        log.error({ err, attempt }, "database could not be started again, trying on");
        await clock
          .sleep(backoffMs(RESTART_BACKOFF, attempt, random), stopping.signal)
          .catch(ignore);
      }
    }
  };

  const watch = async (settled: Places): Promise<void> => {
    while (!stopping.signal.aborted) {
      const woken = await pause(clock, WATCH_EVERY_MS, [stopping.signal, wake.signal]);
      if (stopping.signal.aborted) return;
      wake = new AbortController();
      const current = running;
      if (current !== undefined && (await isProcessAlive(current.pid))) {
        await boundLog(settled.logFile, MAX_LOG_BYTES).catch(ignore);
        if (!woken || (await probeServer(current.port, settled.password)) === "ok") continue;
        log.warn({ pid: current.pid }, "database does not answer");
      } else {
        log.warn({ pid: current?.pid }, "database ended unasked");
      }
      await restart(settled);
    }
  };

  return {
    name: "postgres",
    async start() {
      invariant(watching === undefined, "the embedded Postgres is started once");
      stopping = new AbortController();
      places = await preparePlaces(options);
      running = await bringUp();
      const { pid, port, adopted } = running;
      log.info({ pid, port, adopted, runAs: places.as.kind }, "database ready");
      watching = watch(places);
    },
    async stop() {
      stopping.abort(new Error("stopping"));
      await watching;
      watching = undefined;
      const last = running;
      running = undefined;
      if (places === undefined || last === undefined || options.join === true) return;
      if (await isProcessAlive(last.pid)) await endServer(places, last.pid, clock);
    },
    connection() {
      if (places === undefined || running === undefined) {
        throw new PostgresError("not_running", "the embedded Postgres is not started");
      }
      return clusterConnection(running.port, places.password);
    },
    pid: () => running?.pid,
    wasAdopted: () => running?.adopted ?? false,
    check: () => wake.abort(),
    onRestart(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

function ignore(): void {
  // The loop that calls looks again at its next turn.
}

/** Sleeps; true when woken early. */
async function pause(clock: Clock, ms: number, signals: readonly AbortSignal[]): Promise<boolean> {
  try {
    await clock.sleep(ms, AbortSignal.any([...signals]));
    return false;
  } catch {
    return true;
  }
}

interface StartOptions extends EmbeddedPostgresOptions {
  readonly signal: AbortSignal;
}

/** Ends with a server that answers, started or adopted, or throws. Keeps I1. */
async function startOrAdopt(places: Places, options: StartOptions): Promise<Running> {
  const { clock } = options;
  return await withFileLock(
    join(places.dir, "start.lock"),
    { clock, timeoutMs: LOCK_WAIT_MS },
    async () => {
      let failed = 0;
      for (;;) {
        options.signal.throwIfAborted();
        const outcome = await stepTowardsServer(places, options);
        if ("port" in outcome) return outcome;
        failed += 1;
        if (failed >= MAX_START_TRIES) {
          throw new PostgresError(
            "start_failed",
            `Postgres does not start (${outcome.why}); its log ends: ${await logTail(places.logFile)}`,
          );
        }
        await clock.sleep(backoffMs(START_BACKOFF, failed, options.random), options.signal);
      }
    },
  );
}

async function stepTowardsServer(
  places: Places,
  options: StartOptions,
): Promise<Running | { readonly why: string }> {
  const { log } = options;
  const decision = decideCluster(await readClusterFacts(places));
  switch (decision.kind) {
    case "adopt":
      await ensureDatabase(decision.port, places.password);
      return { pid: decision.pid, port: decision.port, adopted: true };
    case "wait":
      return await waitForServer(places, decision.pid, options);
    case "refuse":
      throw new PostgresError(
        "wrong_password",
        `the Postgres running on ${places.dataFolder} (process ${decision.pid}) does not take the password in ${join(places.dir, "password")}: restore that file`,
      );
    case "clean_and_start":
      // I2: decided from a process that is gone or not ours, under the lock.
      log.warn({ dataFolder: places.dataFolder }, "removing a stale postmaster.pid");
      await rm(join(places.dataFolder, "postmaster.pid"), { force: true });
      return await startServer(places, options);
    case "start":
      return await startServer(places, options);
    default:
      return assertNever(decision);
  }
}

async function waitForServer(
  places: Places,
  pid: number,
  options: StartOptions,
): Promise<Running | { readonly why: string }> {
  const { clock, log } = options;
  const deadline = clock.elapsed() + RECOVERY_LIMIT_MS;
  while (await isProcessAlive(pid)) {
    options.signal.throwIfAborted();
    const decision = decideCluster(await readClusterFacts(places));
    if (decision.kind !== "wait") return await stepTowardsServer(places, options);
    if (clock.elapsed() > deadline) {
      log.error({ pid }, "database does not come up, ending it");
      await endServer(places, pid, clock);
      break;
    }
    await clock.sleep(READY_POLL_MS);
  }
  return { why: "the running server ended before it answered" };
}

async function startServer(
  places: Places,
  options: StartOptions,
): Promise<Running | { readonly why: string }> {
  const { clock } = options;
  const settings = options.settings ?? {};
  await ensureCluster(places, { sync: settings["fsync"] !== "off" });
  await boundLog(places.logFile, MAX_LOG_BYTES);
  // The port of last time, where it is free: connections made before a crash find it again.
  const portFile = join(places.dir, "port");
  const lastPort = Number(await readFile(portFile, "utf8").catch(() => "0"));
  const port = await freePort(lastPort > 0 && lastPort < 65_536 ? lastPort : undefined);
  const server = await spawnPostmaster(places, port, settings);
  let endedBy: string | undefined;
  void server.ended.then((how) => (endedBy = how));
  const deadline = clock.elapsed() + RECOVERY_LIMIT_MS;
  for (;;) {
    // A port taken meanwhile, a folder held by a dying server: the next try may do better.
    if (endedBy !== undefined) return { why: endedBy };
    if ((await probeServer(port, places.password)) === "ok") break;
    if (options.signal.aborted || clock.elapsed() > deadline) {
      await endServer(places, server.pid, clock);
      options.signal.throwIfAborted();
      return { why: "it did not answer in time" };
    }
    await clock.sleep(READY_POLL_MS);
  }
  if (endedBy !== undefined) return { why: endedBy };
  await writeFile(portFile, String(port), { mode: 0o600 });
  await ensureDatabase(port, places.password);
  return { pid: server.pid, port, adopted: false };
}

async function joinServer(places: Places, clock: Clock): Promise<Running> {
  await mkdir(places.dir, { recursive: true });
  const deadline = clock.elapsed() + RECOVERY_LIMIT_MS;
  for (;;) {
    const decision = decideCluster(await readClusterFacts(places));
    if (decision.kind === "adopt") {
      return { pid: decision.pid, port: decision.port, adopted: true };
    }
    if (decision.kind !== "wait" || clock.elapsed() > deadline) {
      throw new PostgresError(
        "not_running",
        `no Postgres answers on ${places.dataFolder}: the process that started it must run`,
      );
    }
    await clock.sleep(READY_POLL_MS);
  }
}
