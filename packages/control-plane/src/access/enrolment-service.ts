import {
  EVENT_VERSION,
  HoldfastError,
  type EnrollRequest,
  type EnrollResponse,
  type EventType,
} from "@holdfast/contract";
import { assertNever, type Clock, type IdSource } from "@holdfast/runtime";
import { randomBytes } from "node:crypto";
import type { Db, Queryable, Transaction } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { appendEvents } from "../platform/outbox.ts";
import { hashSecret, matchesHash, mintKey } from "./api-key.ts";
import {
  decideEnrolment,
  DEFAULT_ENROLMENT_SECONDS,
  keySecret,
  parseToken,
  tokenText,
  type Enrolment,
} from "./enrolment.ts";
import {
  findEnrolment,
  insertEnrolment,
  lockEnrolment,
  revokeEnrolmentRow,
  selectEnrolments,
  useEnrolment,
  type StoredEnrolment,
} from "./enrolment-store.ts";
import { MAX_KEY_NAME_LENGTH } from "./model.ts";
import { toPage, type PageRequest } from "./pages.ts";
import { createRateLimiter, type RateLimit } from "./rate-limit.ts";
import { insertKey, selectHasAdminKey } from "./store.ts";

/** Bytes of a token's secret, as of a key's. */
const SECRET_BYTES = 32;
/** Tries from one address, and from all: each one that looks like a token costs a query. */
const PEER_LIMIT: RateLimit = { perSecond: 0.5, burst: 20 };
const ALL_LIMIT: RateLimit = { perSecond: 20, burst: 200 };

/** What a new token is to be. */
export interface CreateEnrolment {
  readonly name: string;
  readonly machineName?: string | null;
  readonly ttlSeconds?: number;
  /** `key_…` of whoever asks. */
  readonly createdBy: string;
}

/** A token as it is shown; `readAt` is the database's clock, which decides whether it is over. */
export type ShownEnrolment = Enrolment & { readonly readAt: number };

/**
 * Makes a one-time token. `text` is the only copy of it there will ever be. Throws `admin_key_missing`
 * while there is no key to administer with: the machine's would be the first one, and close the API to
 * everybody else.
 */
export async function createEnrolment(
  db: Queryable,
  ids: IdSource,
  wanted: CreateEnrolment,
): Promise<{ readonly enrolment: ShownEnrolment; readonly text: string }> {
  if (!(await selectHasAdminKey(db))) {
    throw new HoldfastError(
      "admin_key_missing",
      "no API key exists, so no agent needs one yet. Make one first with `holdfast keys create --role admin`: the machine's own key would close the API to everybody without one",
    );
  }
  const id = ids.next("enr");
  const secret = randomBytes(SECRET_BYTES).toString("base64url");
  const stored = await insertEnrolment(db, {
    id,
    name: wanted.name,
    secretHash: hashSecret(secret),
    machineName: wanted.machineName ?? null,
    createdBy: wanted.createdBy,
    ttlSeconds: wanted.ttlSeconds ?? DEFAULT_ENROLMENT_SECONDS,
  });
  return { enrolment: toShown(stored), text: tokenText(id, secret) };
}

/** A page of tokens, newest first. */
export async function listEnrolments(
  db: Queryable,
  page: PageRequest,
): Promise<{ readonly items: readonly ShownEnrolment[]; readonly next: string | null }> {
  const rows = await selectEnrolments(db, { cursor: page.cursor, limit: page.limit + 1 });
  return toPage(rows.map(toShown), page.limit);
}

/** Revokes a token. The key of one that was used is another thing: revoke that. Throws `not_found`. */
export async function revokeEnrolment(db: Queryable, id: string): Promise<ShownEnrolment> {
  const row = await revokeEnrolmentRow(db, id);
  if (row === undefined) throw new HoldfastError("not_found", `there is no enrolment ${id}`);
  return toShown(row);
}

/** Gives machines their keys. */
export interface EnrolmentService {
  /**
   * Takes a token and gives a key; `peer` is who is counted. Throws `unauthorized`, `enrolment_used`,
   * `enrolment_expired`, `forbidden` for another name than the token's, `rate_limited`.
   */
  enroll(request: EnrollRequest, peer: string): Promise<EnrollResponse>;
}

/** What it is made of. */
export interface EnrolmentDeps {
  readonly db: Db;
  readonly clock: Pick<Clock, "elapsed">;
  readonly ids: IdSource;
  readonly log: Log;
  /** Told after commit. */
  readonly onEvents: (written: readonly EventType[]) => void;
}

/** Makes the {@link EnrolmentService}. */
export function createEnrolmentService(deps: EnrolmentDeps): EnrolmentService {
  const { db, ids, log } = deps;
  const peers = createRateLimiter(PEER_LIMIT, deps.clock);
  const all = createRateLimiter(ALL_LIMIT, deps.clock);
  return {
    async enroll(request, peer) {
      // In this order, one after the other: who is limited alone uses nothing up of everybody's.
      for (const take of [() => peers.take(peer), () => all.take("all")]) {
        const decision = take();
        if (decision.kind === "limited") throw limited(decision.retryAfterSeconds);
      }
      const token = parseToken(request.token);
      const known = token === undefined ? undefined : await findEnrolment(db, token.id);
      if (token === undefined || known === undefined) throw unknownToken();
      if (!matchesHash(token.secret, known.secretHash)) throw unknownToken();
      const use = { ...request, id: token.id, secret: token.secret };
      const made = await db.transaction((tx) => enrollIn(tx, ids, use));
      if (made.isNew) {
        deps.onEvents(["machine.enrolled"]);
        log.info(
          { enrolmentId: token.id, keyId: made.keyId, machineName: request.machineName },
          "machine enrolled",
        );
      }
      return { keyId: made.keyId, key: made.text };
    },
  };
}

async function enrollIn(
  tx: Transaction,
  ids: IdSource,
  use: Pick<EnrollRequest, "machineName" | "nonce"> & {
    readonly id: string;
    readonly secret: string;
  },
): Promise<{ readonly keyId: string; readonly text: string; readonly isNew: boolean }> {
  const { machineName, nonce } = use;
  const token = await lockEnrolment(tx, use.id);
  if (token === undefined) throw unknownToken();
  const nonceHash = hashSecret(nonce);
  const decision = decideEnrolment(token, { machineName, nonceHash, now: token.readAt });
  switch (decision.kind) {
    case "repeat": {
      const { keyId } = decision;
      const { text } = mintKey(keyId, keySecret(use.secret, nonce, keyId));
      return { keyId, text, isNew: false };
    }
    case "used":
      throw new HoldfastError(
        "enrolment_used",
        `this one-time token was used already, by ${token.usedByName ?? "a machine"}; make a new one with \`holdfast keys enroll\``,
      );
    case "over":
      throw new HoldfastError(
        "enrolment_expired",
        `this one-time token ${decision.why === "revoked" ? "was revoked" : "has expired"}; make a new one with \`holdfast keys enroll\``,
      );
    case "other_name":
      throw new HoldfastError(
        "forbidden",
        `this one-time token is for a machine named ${decision.expected}, not ${machineName}`,
      );
    case "enrol":
      break;
    default:
      return assertNever(decision);
  }
  const keyId = ids.next("key");
  const minted = mintKey(keyId, keySecret(use.secret, nonce, keyId));
  await insertKey(tx, {
    id: keyId,
    name: `machine ${machineName} (${token.name})`.slice(0, MAX_KEY_NAME_LENGTH).toWellFormed(),
    role: "agent",
    secretHash: minted.secretHash,
    allowedClasses: null,
    expiresAt: null,
    isBound: true,
  });
  await useEnrolment(tx, token.id, { machineName, nonceHash, keyId });
  const payload = { enrolmentId: token.id, name: token.name, machineName, keyId };
  await appendEvents(tx, [
    {
      id: ids.next("evt"),
      type: "machine.enrolled",
      version: EVENT_VERSION,
      owner: FLEET_OWNER,
      payload,
    },
  ]);
  return { keyId, text: minted.text, isNew: true };
}

/** Events of the fleet are nobody's own: those see them who see everybody's. */
const FLEET_OWNER = "fleet";

function toShown(row: StoredEnrolment): ShownEnrolment {
  const { secretHash: _, nonceHash: __, ...shown } = row;
  return shown;
}

function unknownToken(): HoldfastError {
  return new HoldfastError(
    "unauthorized",
    "this is no one-time token that is known here (hfe_…); make one with `holdfast keys enroll`",
  );
}

function limited(retryAfterSeconds: number): HoldfastError {
  return new HoldfastError(
    "rate_limited",
    `too many enrolments are tried; wait ${retryAfterSeconds} s before the next one`,
    { retryAfterSeconds },
  );
}
