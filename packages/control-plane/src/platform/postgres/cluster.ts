import { chown, mkdir, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import { Client } from "pg";
import {
  isProcessAlive,
  processCommand,
  processFolder,
  signalProcess,
  waitForExit,
} from "@holdfast/runtime/host";
import type { PgConnection } from "../db.ts";
import { sqlState } from "../db-errors.ts";
import { program } from "./binaries.ts";
import type { Places } from "./places.ts";
import { PostgresError } from "./postgres-error.ts";
import { parsePostmasterPid, type ClusterFacts } from "./postmaster-pid.ts";
import { runToEnd, spawnDetached } from "./run-as.ts";

/** The superuser and the database of the embedded cluster. */
export const CLUSTER_USER = "holdfast";
/** The database that Holdfast's tables live in. */
export const CLUSTER_DATABASE = "holdfast";

const INITDB_TIMEOUT_MS = 120_000;
const PROBE_TIMEOUT_MS = 2_000;
/** Time for a fast shutdown, which writes a checkpoint; after it an immediate one, then a kill. */
const FAST_STOP_MS = 20_000;
const IMMEDIATE_STOP_MS = 5_000;
const KILL_WAIT_MS = 5_000;
const LOG_TAIL_BYTES = 2_000;

/**
 * How the server runs: small, durable, quiet. One box runs it beside everything else, so its
 * memory counts; nothing replicates from it, so the log of changes can be minimal.
 */
export const SERVER_SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  max_connections: "40",
  shared_buffers: "64MB",
  work_mem: "8MB",
  maintenance_work_mem: "64MB",
  effective_cache_size: "1GB",
  huge_pages: "off",
  // Postgres 18 would start three I/O workers, memory that a queue's small reads do not repay.
  io_method: "sync",
  max_worker_processes: "4",
  max_parallel_workers: "2",
  jit: "off",
  fsync: "on",
  synchronous_commit: "on",
  full_page_writes: "on",
  wal_level: "minimal",
  max_wal_senders: "0",
  max_logical_replication_workers: "0",
  max_wal_size: "512MB",
  min_wal_size: "80MB",
  wal_compression: "on",
  autovacuum: "on",
  autovacuum_naptime: "15s",
  autovacuum_vacuum_cost_delay: "1ms",
  password_encryption: "scram-sha-256",
  timezone: "UTC",
  log_timezone: "UTC",
  log_line_prefix: "%m [%p] ",
  log_min_messages: "warning",
  log_checkpoints: "off",
  log_autovacuum_min_duration: "-1",
  logging_collector: "off",
};

/** Makes the cluster unless there is one; whole or not at all. Checks that its version is ours. */
export async function ensureCluster(
  places: Places,
  options: { readonly sync: boolean },
): Promise<void> {
  const { dataFolder, binaries } = places;
  const found = await readFile(join(dataFolder, "PG_VERSION"), "utf8").catch(() => undefined);
  if (found === undefined) {
    await initCluster(places, options);
    return;
  }
  if (Number.parseInt(found, 10) !== binaries.major) {
    throw new PostgresError(
      "version_mismatch",
      `the data in ${dataFolder} was written by Postgres ${found.trim()}, this Holdfast brings Postgres ${binaries.major}: dump it with the release that wrote it and restore it here, or set DATABASE_URL`,
    );
  }
}

async function initCluster(places: Places, options: { readonly sync: boolean }): Promise<void> {
  const { as, binaries, dataFolder, password } = places;
  const partial = `${dataFolder}.partial`;
  const passwordFile = `${dataFolder}.password`;
  await mkdir(dirname(dataFolder), { recursive: true, mode: 0o700 });
  await rm(partial, { recursive: true, force: true });
  try {
    await mkdir(partial, { mode: 0o700 });
    await writeFile(passwordFile, password, { mode: 0o600 });
    if (as.kind === "account") {
      await chown(partial, as.account.uid, as.account.gid);
      await chown(passwordFile, as.account.uid, as.account.gid);
    }
    const args = ["-D", partial, "-U", CLUSTER_USER, "-E", "UTF8", "--auth=scram-sha-256"];
    // The builtin locale sorts by code point and never changes under us with a library update.
    args.push("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8");
    args.push(`--pwfile=${passwordFile}`, ...(options.sync ? [] : ["--no-sync"]));
    const result = await runToEnd(as, program(binaries, "initdb"), args, INITDB_TIMEOUT_MS);
    if (result.exitCode !== 0) {
      throw new PostgresError(
        "init_failed",
        `the database folder could not be made: ${result.output.trim().slice(-LOG_TAIL_BYTES)}`,
      );
    }
    await rename(partial, dataFolder);
  } finally {
    await rm(passwordFile, { force: true });
    await rm(partial, { recursive: true, force: true });
  }
}

/** A server that was spawned: its pid, and what ends it. */
export interface Postmaster {
  readonly pid: number;
  /** Resolves when it ended by itself or could not be started, with words about it. */
  readonly ended: Promise<string>;
}

/** Spawns the server on a port. It outlives this process. */
export async function spawnPostmaster(
  places: Places,
  port: number,
  settings: Readonly<Record<string, string>>,
): Promise<Postmaster> {
  const args = ["-D", places.dataFolder, "-p", String(port)];
  for (const [name, value] of Object.entries({ ...SERVER_SETTINGS, ...settings })) {
    args.push("-c", `${name}=${value}`);
  }
  const log = await open(places.logFile, "a", 0o600);
  try {
    const child = spawnDetached(places.as, program(places.binaries, "postgres"), args, log.fd);
    const ended = new Promise<string>((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) =>
        resolve(signal === null ? `exit code ${code ?? "unknown"}` : `signal ${signal}`),
      );
    });
    return { pid: child.pid ?? 0, ended };
  } finally {
    await log.close();
  }
}

/** The last lines of the server's log, for an error message. */
export async function logTail(logFile: string): Promise<string> {
  const text = await readFile(logFile, "utf8").catch(() => "");
  return text.slice(-LOG_TAIL_BYTES).trim();
}

/** Keeps the server's log bounded: over the limit its end goes to `.old` and it starts anew. */
export async function boundLog(logFile: string, maxBytes: number): Promise<void> {
  const size = await stat(logFile).then(
    (info) => info.size,
    () => 0,
  );
  if (size <= maxBytes) return;
  // The server keeps the file open for appending, so it is emptied, not replaced.
  const log = await open(logFile, "r+");
  try {
    const { buffer, bytesRead } = await log.read(
      Buffer.alloc(Math.trunc(maxBytes / 4)),
      0,
      Math.trunc(maxBytes / 4),
      size - Math.trunc(maxBytes / 4),
    );
    await writeFile(`${logFile}.old`, buffer.subarray(0, bytesRead), { mode: 0o600 });
    await log.truncate(0);
  } finally {
    await log.close();
  }
}

/** Asks a real question on a port with our password. */
export async function probeServer(port: number, password: string): Promise<ClusterFacts["answer"]> {
  const client = new Client({
    ...clusterConnection(port, password),
    database: "postgres",
    connectionTimeoutMillis: PROBE_TIMEOUT_MS,
    query_timeout: PROBE_TIMEOUT_MS,
  });
  client.on("error", () => undefined); // Its queries reject, that is enough.
  try {
    await client.connect();
    await client.query("select 1");
    return "ok";
  } catch (error) {
    return sqlState(error) === "28P01" ? "wrong_password" : "none";
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Makes Holdfast's database in the cluster unless it is there. */
export async function ensureDatabase(port: number, password: string): Promise<void> {
  const client = new Client({ ...clusterConnection(port, password), database: "postgres" });
  client.on("error", () => undefined);
  try {
    await client.connect();
    const found = await client.query("select 1 from pg_database where datname = $1", [
      CLUSTER_DATABASE,
    ]);
    if (found.rowCount === 0) await client.query(`create database ${CLUSTER_DATABASE}`);
  } catch (error) {
    if (sqlState(error) !== "42P04" && sqlState(error) !== "23505") throw error; // Made by another starter.
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** How to connect to the cluster on a port. */
export function clusterConnection(port: number, password: string): PgConnection {
  return { host: "127.0.0.1", port, user: CLUSTER_USER, password, database: CLUSTER_DATABASE };
}

/** Looks at a data folder: who runs on it, and does it answer. */
export async function readClusterFacts(places: Places): Promise<ClusterFacts> {
  const text = await readFile(join(places.dataFolder, "postmaster.pid"), "utf8").catch(
    () => undefined,
  );
  if (text === undefined) {
    return { pidFile: undefined, isPidAlive: false, isOurPostgres: false, answer: "none" };
  }
  const pidFile = parsePostmasterPid(text) ?? "unreadable";
  if (pidFile === "unreadable") {
    return { pidFile, isPidAlive: false, isOurPostgres: false, answer: "none" };
  }
  const isPidAlive = await isProcessAlive(pidFile.pid);
  const isOurPostgres = isPidAlive && (await servesFolder(pidFile.pid, places.dataFolder));
  const answer =
    isOurPostgres && pidFile.port !== undefined
      ? await probeServer(pidFile.port, places.password)
      : "none";
  return { pidFile, isPidAlive, isOurPostgres, answer };
}

/** Whether a process is a Postgres on this folder. One that cannot be looked at counts as one. */
async function servesFolder(pid: number, dataFolder: string): Promise<boolean> {
  const folder = await processFolder(pid);
  const command = await processCommand(pid);
  if (folder === undefined && command === undefined) return true;
  return (
    folder === dataFolder ||
    (command !== undefined && command.includes("postgres") && command.includes(dataFolder))
  );
}

/** Ends a server: fast (transactions rolled back, checkpoint), then immediate, then a kill. */
export async function endServer(places: Places, pid: number, clock: Clock): Promise<void> {
  if (process.platform === "win32") {
    const pgCtl = program(places.binaries, "pg_ctl");
    await runToEnd(places.as, pgCtl, ["stop", "-D", places.dataFolder, "-m", "fast"], FAST_STOP_MS);
    return;
  }
  const steps = [
    ["SIGINT", FAST_STOP_MS],
    ["SIGQUIT", IMMEDIATE_STOP_MS],
    ["SIGKILL", KILL_WAIT_MS],
  ] as const;
  for (const [signal, waitMs] of steps) {
    if (!signalProcess(pid, signal) || (await waitForExit(pid, waitMs, clock))) return;
  }
  throw new PostgresError("start_failed", `Postgres (process ${pid}) does not end`);
}

/** A port nobody listens on: the wanted one when it is free, else one the system gives. */
export async function freePort(wanted: number | undefined): Promise<number> {
  if (wanted !== undefined && (await canListen(wanted)) !== undefined) return wanted;
  const port = await canListen(0);
  if (port === undefined) throw new PostgresError("start_failed", "no free port on 127.0.0.1");
  return port;
}

async function canListen(port: number): Promise<number | undefined> {
  return await new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => {
      const address = server.address();
      const got = typeof address === "object" && address !== null ? address.port : undefined;
      server.close(() => resolve(got));
    });
  });
}
