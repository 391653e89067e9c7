import { createHash, randomBytes } from "node:crypto";
import {
  chmod,
  chown,
  cp,
  lchown,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { createExclusively } from "@holdfast/runtime/host";
import type { Log } from "../log.ts";
import { copyBinaries, findBinaries, program, type Binaries } from "./binaries.ts";
import { PostgresError } from "./postgres-error.ts";
import {
  decideRunAs,
  hasUserName,
  readAccounts,
  runToEnd,
  type Account,
  type RunAs,
} from "./run-as.ts";

/** Everything that is settled before a Postgres can be started on a folder. */
export interface Places {
  readonly as: RunAs;
  readonly binaries: Binaries;
  /** The folder that belongs to us: password, log, lock. */
  readonly dir: string;
  /** The cluster itself; elsewhere than `dir` when its account cannot reach that. */
  readonly dataFolder: string;
  readonly logFile: string;
  readonly password: string;
}

/** Where root keeps what an unprivileged account must reach. */
export const SHARED_FOLDER = "/var/lib/holdfast";

const PROBE_TIMEOUT_MS = 20_000;
const PASSWORD_BYTES = 24;
/** Enough of a hash to tell the homes of one machine apart. */
const HASH_CHARS = 16;

/** How a test narrows the choice: as if this machine allowed no user namespaces. */
export interface PlaceOptions {
  readonly dir: string;
  readonly log: Log;
  readonly allowNamespaces?: boolean;
}

/** Settles who runs Postgres, from where, on which folder, and makes the folders and the password. */
export async function preparePlaces(options: PlaceOptions): Promise<Places> {
  const { dir } = options;
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const installed = await findBinaries();
  const accounts = await readAccounts();
  const pointed = await readPointer(dir);
  const existing = pointed ?? join(dir, "data");
  const owner = await stat(existing).then(
    ({ uid, gid }) => ({ uid, gid }),
    () => undefined,
  );
  if (pointed !== undefined && !(await exists(dirname(pointed)))) {
    // A fresh cluster in its place would look as if every job had never been.
    throw new PostgresError(
      "data_missing",
      `the database folder ${pointed} is gone: restore it, or remove ${join(dir, "location")} to begin with an empty one`,
    );
  }
  const uid = process.getuid?.();
  const hasName = uid === undefined || hasUserName();
  const needsNamespace = (uid === 0 && (owner === undefined || owner.uid === 0)) || !hasName;
  const namespaceWorks =
    needsNamespace && options.allowNamespaces !== false && (await probeNamespace(dir));
  const decision = decideRunAs({ uid, hasName, dataOwner: owner, namespaceWorks, accounts });
  if (decision.kind === "refuse") throw refusal(decision.reason, existing);
  const { as } = decision;
  const dataFolder =
    as.kind === "account" ? await placeForAccount(options, as.account, existing, owner) : existing;
  return {
    as,
    binaries: await reachableBinaries(installed, as, dir),
    dir,
    dataFolder,
    logFile: join(dir, "postgres.log"),
    password: await readOrMakePassword(join(dir, "password")),
  };
}

function refusal(reason: "no_account" | "folder_owner", folder: string): PostgresError {
  return reason === "no_account"
    ? new PostgresError(
        "no_account",
        "Postgres does not run as root, and this machine has no account to borrow (postgres, nobody or daemon): start Holdfast as another user, or set DATABASE_URL",
      )
    : new PostgresError(
        "folder_owner",
        `${folder} belongs to another user: start Holdfast as that user, or choose another HOLDFAST_HOME`,
      );
}

/** Whether a user namespace can be made, and our folder be written from inside it. */
async function probeNamespace(dir: string): Promise<boolean> {
  if (process.platform !== "linux") return false;
  const as: RunAs = { kind: "namespace", uid: 65_534 };
  const result = await runToEnd(as, "/bin/sh", ["-c", 'test -w "$1"', "sh", dir], PROBE_TIMEOUT_MS);
  return result.exitCode === 0;
}

/** The installed binaries when they work where they are, else a copy that the account can reach. */
async function reachableBinaries(installed: Binaries, as: RunAs, dir: string): Promise<Binaries> {
  if (installed.isComplete && (await binariesWork(installed, as))) return installed;
  const target = as.kind === "account" ? join(SHARED_FOLDER, "postgres") : join(dir, "binaries");
  const copy = await copyBinaries(installed, target);
  if (as.kind === "account") await chmod(SHARED_FOLDER, 0o755);
  const result = await runToEnd(as, program(copy, "postgres"), ["--version"], PROBE_TIMEOUT_MS);
  if (result.exitCode === 0) return copy;
  throw new PostgresError(
    "no_binaries",
    `the embedded Postgres does not run on this machine (${result.output.trim()}): set DATABASE_URL to a Postgres of your own`,
  );
}

async function binariesWork(binaries: Binaries, as: RunAs): Promise<boolean> {
  const result = await runToEnd(as, program(binaries, "postgres"), ["--version"], PROBE_TIMEOUT_MS);
  return result.exitCode === 0;
}

/**
 * The data folder for a borrowed account: in our folder where the account can reach it, else under
 * {@link SHARED_FOLDER}, with a pointer left in our folder. Data that root owns moves there.
 */
async function placeForAccount(
  options: PlaceOptions,
  account: Account,
  existing: string,
  owner: { readonly uid: number } | undefined,
): Promise<string> {
  if (owner?.uid === account.uid) return existing;
  const { dir, log } = options;
  await chmod(dir, 0o711);
  const as: RunAs = { kind: "account", account };
  const reach = await runToEnd(as, "/bin/sh", ["-c", 'test -x "$1"', "sh", dir], PROBE_TIMEOUT_MS);
  if (reach.exitCode === 0) {
    if (owner !== undefined) await chownTree(existing, account);
    return existing;
  }
  const hash = createHash("sha256").update(dir).digest("hex").slice(0, HASH_CHARS);
  const parent = join(SHARED_FOLDER, hash);
  await mkdir(parent, { recursive: true });
  await chmod(SHARED_FOLDER, 0o755);
  await chmod(parent, 0o711);
  const dataFolder = join(parent, "data");
  if (owner !== undefined) {
    await cp(existing, dataFolder, { recursive: true, errorOnExist: true, force: false });
    await chownTree(dataFolder, account);
    await rm(existing, { recursive: true });
  }
  await writeFile(join(dir, "location"), `${dataFolder}\n`, { mode: 0o600 });
  log.info(
    { dataFolder, account: account.name },
    "database folder placed where its account reaches it",
  );
  return dataFolder;
}

async function chownTree(folder: string, account: Account): Promise<void> {
  await chown(folder, account.uid, account.gid);
  for (const entry of await readdir(folder, { recursive: true })) {
    await lchown(join(folder, entry), account.uid, account.gid);
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

async function readPointer(dir: string): Promise<string | undefined> {
  const text = await readFile(join(dir, "location"), "utf8").catch(() => "");
  return text.trim() === "" ? undefined : text.trim();
}

/** The cluster's password: made once, whole or not at all, whoever of two starters is first. */
async function readOrMakePassword(file: string): Promise<string> {
  const read = (): Promise<string> => readFile(file, "utf8");
  const existing = await read().catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (existing !== undefined) return existing.trim();
  await createExclusively(file, `${randomBytes(PASSWORD_BYTES).toString("base64url")}\n`);
  return (await read()).trim();
}
