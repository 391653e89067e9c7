import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { assertNever, backoffMs, type Clock, type Random } from "@holdfast/runtime";
import { withFileLock } from "@holdfast/runtime/host";
import type { Log } from "../log.ts";
import { isProcessAlive } from "@holdfast/runtime/host";
import {
  boundLog,
  endServer,
  ensureCluster,
  ensureDatabase,
  freePort,
  logTail,
  probeServer,
  readClusterFacts,
  spawnPostmaster,
} from "./cluster.ts";
import type { Places } from "./places.ts";
import { PostgresError } from "./postgres-error.ts";
import { decideCluster } from "./postmaster-pid.ts";

/**
 * From a folder to a server that answers. Invariants:
 * I1  At most one server runs on a folder: starting happens under a lock file.
 * I2  `postmaster.pid` is removed only when the process it names is gone or is no Postgres of ours.
 * I3  A folder holds a whole cluster or none: `initdb` works beside it and is renamed into place.
 */

/** A server that answered. */
export interface Running {
  readonly pid: number;
  readonly port: number;
  readonly adopted: boolean;
}

/** What starting needs. */
export interface StartOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly settings?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** The server's log is cut when it is larger. */
export const MAX_LOG_BYTES = 4 * 1024 * 1024;
/** Recovery after a crash replays at most `max_wal_size`; longer than this it hangs. */
const RECOVERY_LIMIT_MS = 120_000;
const READY_POLL_MS = 20;
const LOCK_WAIT_MS = RECOVERY_LIMIT_MS + 30_000;
const MAX_START_TRIES = 6;
const START_BACKOFF = { initialMs: 200, factor: 2, maxMs: 3_000, jitter: 0.3 };

/** Ends with a server that answers, started or adopted, or throws. Keeps I1. */
export async function startOrAdopt(places: Places, options: StartOptions): Promise<Running> {
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
  try {
    await ensureDatabase(port, places.password);
  } catch (error) {
    await endServer(places, server.pid, clock);
    throw error;
  }
  return { pid: server.pid, port, adopted: false };
}

/** Waits for the server that another process runs on the folder. Throws when there is none. */
export async function joinServer(places: Places, clock: Clock): Promise<Running> {
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
