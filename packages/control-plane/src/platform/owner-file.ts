import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import { z } from "zod";
import { isSameProcess, processStartTime, withFileLock } from "@holdfast/runtime/host";

/**
 * `owner.json` in the home folder says which process owns it, and which children that process
 * started, so that the next one can adopt or end them after a kill. Invariants:
 * F1  a living owner is never replaced: pid and start time must both match a living process;
 * F2  the file is whole at every instant: written beside, synced, renamed into place;
 * F3  who reads and then writes does so under the lock, so two starters cannot both become owner;
 * F4  a child is in the file before anything depends on it, and until it is known to have ended.
 */
const childSchema = z.object({
  name: z.string(),
  pid: z.int().positive(),
  startTime: z.string().optional(),
  port: z.int().optional(),
  /** What tells a child adopted by its pid that we are its owner. */
  secret: z.string().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
});

const ownerSchema = z.object({
  pid: z.int().positive(),
  startTime: z.string().optional(),
  host: z.string().optional(),
  port: z.int().optional(),
  secret: z.string(),
  version: z.string(),
  children: z.array(childSchema),
});

/** A child process on record. */
export type RecordedChild = z.infer<typeof childSchema>;
type OwnerRecord = z.infer<typeof ownerSchema>;

/** Who owns a home folder after {@link claimOwnership}. */
export type OwnershipClaim =
  | {
      readonly kind: "owned";
      readonly ownership: Ownership;
      /** Children of an owner that died, to be adopted or ended. Still on record until then. */
      readonly orphans: readonly RecordedChild[];
    }
  | {
      readonly kind: "held_by";
      readonly pid: number;
      /** Undefined while that process is still starting. */
      readonly port: number | undefined;
      readonly url: string | undefined;
      readonly version: string;
      readonly secret: string;
    };

/** The right to a home folder, held by this process until `release`. */
export interface Ownership {
  /** Known to this process and whoever can read the home folder: guards local requests. */
  readonly secret: string;
  /** Tells where this process listens, for those who find the folder held. */
  recordAddress(address: { readonly host: string; readonly port: number }): Promise<void>;
  /** Puts a child on record, in place of one of the same name. */
  recordChild(child: RecordedChild): Promise<void>;
  /** Takes a child off the record, once it has ended. */
  forgetChild(name: string): Promise<void>;
  /** Gives the folder up. Children on record stay on record for the next owner. Safe to call twice. */
  release(): Promise<void>;
}

const SECRET_BYTES = 24;
const LOCK_WAIT_MS = 10_000;
const OWNER_FILE = "owner.json";

/** Takes the home folder for this process, or says who has it. Makes the folder when it is missing. */
export async function claimOwnership(
  home: string,
  options: { readonly version: string; readonly clock: Clock },
): Promise<OwnershipClaim> {
  const { clock } = options;
  await mkdir(home, { recursive: true, mode: 0o700 });
  const path = join(home, OWNER_FILE);
  const locked = <T>(fn: () => Promise<T>): Promise<T> =>
    withFileLock(`${path}.lock`, { clock, timeoutMs: LOCK_WAIT_MS }, fn);
  return await locked(async () => {
    const before = await readOwner(path);
    if (before !== undefined && (await isHeld(before))) return heldBy(before);
    const startTime = await processStartTime(process.pid);
    const record: OwnerRecord = {
      pid: process.pid,
      ...(startTime === undefined ? {} : { startTime }),
      secret: randomBytes(SECRET_BYTES).toString("base64url"),
      version: options.version,
      children: before?.children ?? [],
    };
    await writeOwner(path, record);
    return { kind: "owned", ownership: hold(path, record, locked), orphans: record.children };
  });
}

/** Who owns a home folder now, without taking it; undefined when nobody alive does. */
export async function readHolder(
  home: string,
): Promise<Extract<OwnershipClaim, { kind: "held_by" }> | undefined> {
  const owner = await readOwner(join(home, OWNER_FILE));
  return owner !== undefined && (await isHeld(owner)) ? heldBy(owner) : undefined;
}

const RELEASED_SECRET = "";

async function isHeld(owner: OwnerRecord): Promise<boolean> {
  return owner.secret !== RELEASED_SECRET && (await isSameProcess(owner.pid, owner.startTime));
}

function heldBy(owner: OwnerRecord): Extract<OwnershipClaim, { kind: "held_by" }> {
  const { pid, port, host, version, secret } = owner;
  const url = port === undefined ? undefined : `http://${reachableHost(host)}:${port}`;
  return { kind: "held_by", pid, port, url, version, secret };
}

/** The address to reach a server from this machine, given what it listens on. */
function reachableHost(host: string | undefined): string {
  if (host === undefined || host === "0.0.0.0" || host === "::") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}

function hold(
  path: string,
  first: OwnerRecord,
  locked: <T>(fn: () => Promise<T>) => Promise<T>,
): Ownership {
  let record = first;
  let isReleased = false;
  let last: Promise<void> = Promise.resolve();
  // One after the other: each change is made to the outcome of the one before.
  const change = (edit: (before: OwnerRecord) => OwnerRecord): Promise<void> => {
    const next = last.then(() =>
      locked(async () => {
        if (isReleased) return;
        record = edit(record);
        await writeOwner(path, record);
      }),
    );
    last = next.catch(() => undefined);
    return next;
  };
  const without = (before: OwnerRecord, name: string): RecordedChild[] =>
    before.children.filter((child) => child.name !== name);
  return {
    secret: first.secret,
    recordAddress: ({ host, port }) => change((before) => ({ ...before, host, port })),
    recordChild: (child) =>
      change((before) => ({ ...before, children: [...without(before, child.name), child] })),
    forgetChild: (name) => change((before) => ({ ...before, children: without(before, name) })),
    async release() {
      await last;
      await locked(async () => {
        if (isReleased) return;
        isReleased = true;
        if (record.children.length === 0) await rm(path, { force: true });
        else await writeOwner(path, { ...record, secret: RELEASED_SECRET });
      });
    },
  };
}

async function readOwner(path: string): Promise<OwnerRecord | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    const parsed = ownerSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined; // F2 keeps it whole; what is torn was torn by a failing disk and owns nothing.
  }
}

async function writeOwner(path: string, record: OwnerRecord): Promise<void> {
  const next = `${path}.${process.pid}.next`;
  const file = await open(next, "w", 0o600);
  try {
    await file.writeFile(`${JSON.stringify(record, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(next, path);
  await syncFolder(dirname(path));
}

async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return; // Folders cannot be opened there.
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
