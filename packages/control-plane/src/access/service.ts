import { HoldfastError } from "@holdfast/contract";
import type { Clock, IdSource } from "@holdfast/runtime";
import type { Db, Queryable } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { matchesHash, mintKey, parseKey } from "./api-key.ts";
import {
  decideHost,
  decideKey,
  decideOrigin,
  keyRefusal,
  readCredential,
  type AccessRequest,
} from "./logic.ts";
import {
  KEY_CACHE_MS,
  KEY_CACHE_SIZE,
  LAST_USED_EVERY_MS,
  LOCAL_CALLER,
  assertActsAs,
  type ApiKey,
  type Caller,
  type RegisteredMachine,
  type Role,
} from "./model.ts";
import { toPage, type PageRequest } from "./pages.ts";
import { createRateLimiter, DEFAULT_RATE_LIMIT, type RateLimit } from "./rate-limit.ts";
import {
  findKey,
  insertKey,
  revokeKeyRow,
  selectHasKeys,
  selectKeys,
  touchKey,
  bindKey,
  type StoredKey,
} from "./store.ts";

/** Finds out who calls, and whether the caller may do what it asks. */
export interface Access {
  /**
   * The caller of a request, if its role is one of `allowed`. Throws `unauthorized`, `forbidden`,
   * `rate_limited`.
   */
  identify(request: AccessRequest, allowed: readonly Role[]): Promise<Caller>;
  /** Whether callers need a key: true as soon as one was ever made. */
  hasKeys(): Promise<boolean>;
}

/** How to make an {@link Access}. */
export interface AccessOptions {
  readonly db: Db;
  readonly clock: Clock;
  readonly log: Log;
  /** Names, beside loopback ones, under which this server is called while no key exists. */
  readonly ownHosts?: readonly string[];
  /** What each caller may send; agents are not limited. */
  readonly rateLimit?: RateLimit;
}

/** Tries with ids that do not exist, over all callers: each one costs a query. */
const UNKNOWN_ID_LIMIT: RateLimit = { perSecond: 20, burst: 200 };

/** Checks keys against the table, and remembers the answer for {@link KEY_CACHE_MS}. */
export function createAccess(options: AccessOptions): Access {
  const { db, clock, log } = options;
  const keys = createCache<StoredKey | undefined>(clock);
  const door = createCache<boolean>(clock);
  const callers = createRateLimiter(options.rateLimit ?? DEFAULT_RATE_LIMIT, clock);
  const strangers = createRateLimiter(UNKNOWN_ID_LIMIT, clock);
  const touchedAt = new Map<string, number>();

  const hasKeys = (): Promise<boolean> => door.get("any", () => selectHasKeys(db));

  const touch = async (id: string): Promise<void> => {
    const now = clock.elapsed();
    const last = touchedAt.get(id);
    if (last !== undefined && now - last < LAST_USED_EVERY_MS) return;
    if (touchedAt.size >= KEY_CACHE_SIZE) touchedAt.clear();
    touchedAt.set(id, now);
    try {
      await touchKey(db, id, LAST_USED_EVERY_MS);
    } catch (err) {
      // When a key was last used is nice to know; no request fails for it.
      log.debug({ err, keyId: id }, "could not note the use of a key");
    }
  };

  const checkKey = async (text: string): Promise<Caller> => {
    const parsed = parseKey(text);
    if (parsed === undefined) throw unauthorized("this is not an API key (hf_…)");
    const row = await keys.get(parsed.id, () => {
      const rate = strangers.take("all");
      if (rate.kind === "limited") throw limited(rate.retryAfterSeconds);
      return findKey(db, parsed.id);
    });
    if (row === undefined || !matchesHash(parsed.secret, row.secretHash)) {
      throw unauthorized("this API key is not known here");
    }
    const state = decideKey(row, clock.now());
    if (state !== "valid") throw unauthorized(keyRefusal(state));
    await touch(row.id);
    const caller = { id: row.id, role: row.role, allowedClasses: row.allowedClasses };
    if (!row.isBound) return caller;
    // Its first registration may be a moment ago, at another replica: asked anew until it is known.
    if (row.machineId === null) keys.forget(parsed.id);
    return { ...caller, boundTo: row.machineId };
  };

  return {
    hasKeys,
    async identify(request, allowed) {
      const credential = readCredential(request.headers);
      if (credential.kind === "malformed") throw unauthorized(credential.message);
      let caller: Caller;
      if (credential.kind === "key") {
        caller = await checkKey(credential.text);
      } else if (await hasKeys()) {
        throw unauthorized("an API key is needed: Authorization: Bearer <key> or X-API-Key: <key>");
      } else {
        for (const decision of [
          decideHost(request, options.ownHosts ?? []),
          decideOrigin(request),
        ]) {
          if (decision.kind === "refused") throw new HoldfastError("forbidden", decision.message);
        }
        caller = LOCAL_CALLER;
      }
      if (!allowed.includes(caller.role)) {
        throw new HoldfastError(
          "forbidden",
          `this needs a key of role ${allowed.join(" or ")}; yours is ${caller.role}`,
        );
      }
      // A fleet of agents may share a key; how often they call is set by their own configuration.
      if (caller.role === "agent") return caller;
      const rate = callers.take(caller.id);
      if (rate.kind === "limited") throw limited(rate.retryAfterSeconds);
      return caller;
    },
  };
}

function unauthorized(message: string): HoldfastError {
  return new HoldfastError("unauthorized", message);
}

function limited(retryAfterSeconds: number): HoldfastError {
  return new HoldfastError(
    "rate_limited",
    `too many requests; wait ${retryAfterSeconds} s before the next one`,
    { retryAfterSeconds },
  );
}

interface Cache<T> {
  get(name: string, load: () => Promise<T>): Promise<T>;
  forget(name: string): void;
}

/** Remembers answers for {@link KEY_CACHE_MS}; questions asked at the same time share one query. */
function createCache<T>(clock: Pick<Clock, "elapsed">): Cache<T> {
  const entries = new Map<string, { readonly value: Promise<T>; readonly askedAt: number }>();
  return {
    get(name, load) {
      const now = clock.elapsed();
      const known = entries.get(name);
      if (known !== undefined && now - known.askedAt < KEY_CACHE_MS) return known.value;
      if (entries.size >= KEY_CACHE_SIZE) entries.clear();
      const value = (async () => load())();
      const entry = { value, askedAt: now };
      entries.set(name, entry);
      value.catch(() => {
        // A failed question is asked again at once.
        if (entries.get(name) === entry) entries.delete(name);
      });
      return value;
    },
    forget: (name) => void entries.delete(name),
  };
}

/** What a new key is to be. */
export interface CreateKey {
  readonly name: string;
  readonly role: Role;
  readonly allowedClasses?: readonly string[] | null;
  /** Epoch milliseconds; null never expires. */
  readonly expiresAt?: number | null;
}

/** Makes a key. `text` is the only copy of it there will ever be (I1). */
export async function createKey(
  db: Queryable,
  ids: IdSource,
  wanted: CreateKey,
): Promise<{ readonly key: ApiKey; readonly text: string }> {
  const id = ids.next("key");
  const minted = mintKey(id);
  const stored = await insertKey(db, {
    id,
    name: wanted.name,
    role: wanted.role,
    secretHash: minted.secretHash,
    allowedClasses: wanted.allowedClasses ?? null,
    expiresAt: wanted.expiresAt ?? null,
    isBound: false,
  });
  return { key: toApiKey(stored), text: minted.text };
}

/** A page of keys, newest first; `next` is the cursor of the next page. */
export async function listKeys(
  db: Queryable,
  page: PageRequest,
): Promise<{ readonly items: readonly ApiKey[]; readonly next: string | null }> {
  const rows = await selectKeys(db, { cursor: page.cursor, limit: page.limit + 1 });
  return toPage(rows.map(toApiKey), page.limit);
}

/** Revokes a key, on every replica within {@link KEY_CACHE_MS}. Throws `not_found`. */
export async function revokeKey(db: Queryable, id: string): Promise<ApiKey> {
  const row = await revokeKeyRow(db, id);
  if (row === undefined) throw new HoldfastError("not_found", `there is no key ${id}`);
  return toApiKey(row);
}

/**
 * The machine that a caller's registration is of, before it is written: what it asks for, or, of a key
 * that is bound, its own. Throws `forbidden` for another one (I4).
 */
export function machineToRegister(caller: Caller, asked: string | null): string | null {
  const { boundTo } = caller;
  if (boundTo === undefined || boundTo === null) return asked;
  // An agent that lost its folder, or the answer to its first registration, is the same machine still.
  if (asked !== null) assertActsAs(caller, asked);
  return boundTo;
}

/**
 * Binds a caller's key to the machine it registers, whose row the transaction holds (I4, I5). Throws
 * `forbidden`.
 */
export async function bindToMachine(
  tx: Queryable,
  caller: Caller,
  machine: RegisteredMachine,
): Promise<void> {
  if (caller.boundTo === undefined) return;
  if (await bindKey(tx, caller.id, machine)) return;
  const name = JSON.stringify(machine.nameBefore ?? machine.id);
  throw new HoldfastError(
    "forbidden",
    `machine ${machine.id} is known here, and this key is not its own: it has another valid key, or this one was made for another machine; let the agent use the machine's own key, or revoke that and enrol from the same folder with a token of \`holdfast keys enroll --name ${name} --machine-name ${name}\`, or remove the agent's folder for a new machine`,
  );
}

/** Whether any key was ever made: what `decideBind` needs to know before listening. */
export function hasAnyKey(db: Queryable): Promise<boolean> {
  return selectHasKeys(db);
}

function toApiKey(row: StoredKey): ApiKey {
  const { secretHash: _, ...shown } = row;
  return shown;
}
