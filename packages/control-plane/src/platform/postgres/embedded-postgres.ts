import { backoffMs, type Clock, invariant, type Random, type Service } from "@holdfast/runtime";
import { isProcessAlive } from "@holdfast/runtime/host";
import type { PgConnection } from "../db.ts";
import type { Log } from "../log.ts";
import { createWakeablePause, type WakeablePause } from "../wakeable-pause.ts";
import { joinServer, MAX_LOG_BYTES, startOrAdopt, type Running } from "./bring-up.ts";
import { boundLog, clusterConnection, endServer, probeServer } from "./cluster.ts";
import { preparePlaces, type Places } from "./places.ts";
import { PostgresError } from "./postgres-error.ts";

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
 * crashes.
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
const RESTART_BACKOFF = { initialMs: 250, factor: 2, maxMs: 30_000, jitter: 0.3 };

/** Makes the supervisor of an embedded Postgres; nothing happens before `start`. */
export function createEmbeddedPostgres(options: EmbeddedPostgresOptions): EmbeddedPostgres {
  const { clock, log } = options;
  const listeners = new Set<(connection: PgConnection) => void>();
  const sleeper = createWakeablePause(clock);
  let stopping = new AbortController();
  let supervised: Supervised | undefined;
  let watching: Promise<void> | undefined;

  return {
    name: "postgres",
    async start() {
      invariant(watching === undefined, "the embedded Postgres is started once");
      stopping = new AbortController();
      const places = await preparePlaces(options);
      const running = await bringUp(places, options, stopping.signal);
      const { pid, port, adopted } = running;
      log.info({ pid, port, adopted, runAs: places.as.kind }, "database ready");
      supervised = { places, running };
      watching = watch(supervised, { ...options, sleeper, listeners, signal: stopping.signal });
    },
    async stop() {
      stopping.abort(new Error("stopping"));
      sleeper.wake();
      await watching;
      watching = undefined;
      const last = supervised;
      supervised = undefined;
      if (last === undefined || options.join === true) return;
      const { pid } = last.running;
      if (await isProcessAlive(pid)) await endServer(last.places, pid, clock);
    },
    connection() {
      if (supervised === undefined) {
        throw new PostgresError("not_running", "the embedded Postgres is not started");
      }
      return clusterConnection(supervised.running.port, supervised.places.password);
    },
    pid: () => supervised?.running.pid,
    wasAdopted: () => supervised?.running.adopted ?? false,
    check: () => sleeper.wake(),
    onRestart(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

interface Supervised {
  readonly places: Places;
  running: Running;
}

interface WatchOptions extends EmbeddedPostgresOptions {
  readonly sleeper: WakeablePause;
  readonly listeners: ReadonlySet<(connection: PgConnection) => void>;
  readonly signal: AbortSignal;
}

async function bringUp(
  places: Places,
  options: EmbeddedPostgresOptions,
  signal: AbortSignal,
): Promise<Running> {
  return options.join === true
    ? await joinServer(places, options.clock)
    : await startOrAdopt(places, { ...options, signal });
}

/** Looks at the server every second, and when told to, and brings it back until stopped. */
async function watch(supervised: Supervised, options: WatchOptions): Promise<void> {
  const { log, signal, sleeper } = options;
  const { places } = supervised;
  while (!signal.aborted) {
    const woken = (await sleeper.pause(WATCH_EVERY_MS)) === "woken";
    if (signal.aborted) return;
    const { pid, port } = supervised.running;
    if (await isProcessAlive(pid)) {
      await boundLog(places.logFile, MAX_LOG_BYTES).catch(ignore);
      if (!woken || (await probeServer(port, places.password)) === "ok") continue;
      log.warn({ pid }, "database does not answer");
    } else {
      log.warn({ pid }, "database ended unasked");
    }
    await bringBack(supervised, options);
  }
}

async function bringBack(supervised: Supervised, options: WatchOptions): Promise<void> {
  const { clock, log, random, signal } = options;
  const { places } = supervised;
  for (let attempt = 1; !signal.aborted; attempt += 1) {
    try {
      const before = supervised.running;
      supervised.running = await bringUp(places, options, signal);
      const { pid, port } = supervised.running;
      if (before.pid === pid) return;
      log.warn({ pid, port }, "database runs again");
      const connection = clusterConnection(port, places.password);
      for (const listener of options.listeners) listener(connection);
      return;
    } catch (err) {
      if (signal.aborted) return;
      log.error({ err, attempt }, "database could not be started again, trying on");
      await clock.sleep(backoffMs(RESTART_BACKOFF, attempt, random), signal).catch(ignore);
    }
  }
}

function ignore(): void {
  // The loop that calls looks again at its next turn.
}
