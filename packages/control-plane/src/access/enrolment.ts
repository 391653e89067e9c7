/**
 * One-time tokens by which machines get keys of their own.
 *
 * E1 The token's secret is never stored, only its SHA-256; neither is the key's.
 * E2 A token makes one key. The same user (token and nonce) is answered the same key again for
 *    {@link REPEAT_MS}: the key's secret follows from token, nonce and the key's id, so nothing need be
 *    kept, and answers that overtake each other agree.
 * E3 Who does not know the token learns nothing of it: a wrong secret is an unknown token.
 */
import { createHmac } from "node:crypto";
import { enrolmentTokenSchema } from "@holdfast/contract";

/** What may become of a token. */
export const ENROLMENT_STATES = ["open", "used", "expired", "revoked"] as const;
/** One of {@link ENROLMENT_STATES}. */
export type EnrolmentState = (typeof ENROLMENT_STATES)[number];

/** How long a token may be used: at least, at most, and when nothing is said. */
export const MIN_ENROLMENT_SECONDS = 60;
export const MAX_ENROLMENT_SECONDS = 30 * 24 * 3_600;
export const DEFAULT_ENROLMENT_SECONDS = 3_600;
/** How long the user of a token is answered again. */
export const REPEAT_MS = 15 * 60_000;

const ID_PREFIX = "enr_";

/** A token as lists show it. Instants are epoch milliseconds. */
export interface Enrolment {
  readonly id: string;
  readonly name: string;
  readonly machineName: string | null;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly revokedAt: number | null;
  readonly usedAt: number | null;
  readonly usedByName: string | null;
  readonly keyId: string | null;
}

/** The parts of a token's text; undefined when it cannot be one of ours. */
export function parseToken(text: string): { id: string; secret: string } | undefined {
  if (!enrolmentTokenSchema.safeParse(text).success) return undefined;
  const [, id = "", ...rest] = text.split("_");
  return { id: ID_PREFIX + id, secret: rest.join("_") };
}

/** The token's text, from its id (`enr_…`) and its secret. */
export function tokenText(id: string, secret: string): string {
  return `hfe_${id.slice(ID_PREFIX.length)}_${secret}`;
}

/** The 32 bytes of the key that a token makes for one user (E2). */
export function keySecret(secret: string, nonce: string, keyId: string): Uint8Array {
  return createHmac("sha256", secret).update(`holdfast-key\n${keyId}\n${nonce}`).digest();
}

/** What a token may be used for now. */
export type EnrolmentDecision =
  | { readonly kind: "enrol" }
  /** The same user again: the key that it was answered. */
  | { readonly kind: "repeat"; readonly keyId: string }
  | { readonly kind: "used" }
  | { readonly kind: "over"; readonly why: "expired" | "revoked" }
  | { readonly kind: "other_name"; readonly expected: string };

/** Decides on one use of a token whose secret was right. `now` is the database's. */
export function decideEnrolment(
  token: Enrolment & { readonly nonceHash: string | null },
  use: { readonly machineName: string; readonly nonceHash: string; readonly now: number },
): EnrolmentDecision {
  if (token.revokedAt !== null) return { kind: "over", why: "revoked" };
  if (token.usedAt !== null && token.keyId !== null) {
    const isSameUser = token.nonceHash === use.nonceHash && token.usedByName === use.machineName;
    return isSameUser && use.now - token.usedAt < REPEAT_MS
      ? { kind: "repeat", keyId: token.keyId }
      : { kind: "used" };
  }
  if (token.expiresAt <= use.now) return { kind: "over", why: "expired" };
  if (token.machineName !== null && token.machineName !== use.machineName) {
    return { kind: "other_name", expected: token.machineName };
  }
  return { kind: "enrol" };
}

/** How a token stands now. */
export function stateOf(token: Enrolment, now: number): EnrolmentState {
  if (token.usedAt !== null) return "used";
  if (token.revokedAt !== null) return "revoked";
  return token.expiresAt <= now ? "expired" : "open";
}
