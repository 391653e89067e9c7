/**
 * Who calls, and what each role may do.
 *
 * I1 A key's secret is never stored: only its SHA-256, and it is shown once.
 * I2 Without any key in the table everybody on this machine is the local administrator; with one,
 *    a key is needed everywhere but for the health pages. A bind that others can reach needs one.
 * I3 A `user` sees and changes its own jobs and files only ({@link ownerScope}).
 * I4 A key that a machine got for a one-time token acts as one machine alone: the first that it
 *    registers ({@link assertActsAs}). A token makes one key, once.
 * I5 That machine is a new one, or the one whose earlier key, not valid any more, was got with the same
 *    nonce: the agent's folder keeps it. Where that is gone, a token for a machine of its name will do.
 */
import { HoldfastError } from "@holdfast/contract";

/** What a caller may be. `agent` keys serve machines and see no jobs of anybody. */
export const ROLES = ["admin", "operator", "user", "agent"] as const;
/** One of {@link ROLES}. */
export type Role = (typeof ROLES)[number];

/** A machine that a caller registers, as it is bound to the caller's key. */
export interface RegisteredMachine {
  readonly id: string;
  /** The registration has made it. */
  readonly isNew: boolean;
  /** What it was called before this registration, which may call it as it likes; null: it was not there. */
  readonly nameBefore: string | null;
}

/** Whoever sent a request, after its key was checked. */
export interface Caller {
  /** `key_…`, or {@link LOCAL_CALLER}'s. It is the owner of what the caller makes. */
  readonly id: string;
  readonly role: Role;
  /** Node classes that this caller's graphs may use; null allows all. */
  readonly allowedClasses: readonly string[] | null;
  /** The one machine that it may act as (I4), null before its first registration; left out: any. */
  readonly boundTo?: string | null;
}

/** Everybody on this machine, as long as no key exists. */
export const LOCAL_CALLER: Caller = { id: "local", role: "admin", allowedClasses: null };

/**
 * Which roles may do what. Routes pass one of these to `identify`.
 *
 * | | admin | operator | user | agent |
 * | --- | --- | --- | --- | --- |
 * | `use`: submit, read, cancel, files, webhooks | all | all | its own | – |
 * | `operate`: hold, cordon, drain, other callers' jobs | yes | yes | – | – |
 * | `administer`: keys, settings | yes | – | – | – |
 * | `serve`: the agent's wire | yes | – | – | yes |
 * | `know`: who am I | yes | yes | yes | yes |
 */
export const ALLOWED = {
  use: ["admin", "operator", "user"],
  operate: ["admin", "operator"],
  administer: ["admin"],
  serve: ["admin", "agent"],
  know: ROLES,
} as const satisfies Record<string, readonly Role[]>;

/** The owner a caller is limited to (I3), or null when it may see everybody's. */
export function ownerScope(caller: Caller): string | null {
  return caller.role === "admin" || caller.role === "operator" ? null : caller.id;
}

/** Throws `forbidden` when a caller speaks for a machine that is not its own (I4). */
export function assertActsAs(caller: Caller, machineId: string): void {
  const { boundTo } = caller;
  if (boundTo === undefined || boundTo === machineId) return;
  throw new HoldfastError(
    "forbidden",
    boundTo === null
      ? "this key is of a machine that has not registered yet: register first"
      : `this key acts as machine ${boundTo} alone, not as ${machineId}; enrol that machine for a key of its own`,
  );
}

/** Whether a caller may see or change what belongs to `owner`. */
export function maySee(caller: Caller, owner: string): boolean {
  const scope = ownerScope(caller);
  return scope === null || scope === owner;
}

/** A key as lists show it: everything but its secret. Instants are epoch milliseconds. */
export interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly allowedClasses: readonly string[] | null;
  readonly createdAt: number;
  readonly lastUsedAt: number | null;
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
  /** Made for a one-time token: it acts as one machine alone. */
  readonly isBound: boolean;
  /** That machine; null before it has registered. */
  readonly machineId: string | null;
}

/** Longest name of a key. */
export const MAX_KEY_NAME_LENGTH = 100;
/** Most node classes that a key's allow-list may name. */
export const MAX_ALLOWED_CLASSES = 2000;
/** How long a replica may go on believing a key that was revoked elsewhere. */
export const KEY_CACHE_MS = 5_000;
/** How often at most `last_used_at` of one key is written. */
export const LAST_USED_EVERY_MS = 60_000;
/** Keys that a replica remembers at once, known ones and wrong ones together. */
export const KEY_CACHE_SIZE = 10_000;
