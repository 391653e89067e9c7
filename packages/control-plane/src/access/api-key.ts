import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** Bytes of a key's secret: as many as its hash has, so guessing either is the same work. */
const SECRET_BYTES = 32;
const ID_PREFIX = "key_";
/** `hf_`, the id without its prefix, and 43 characters of base64url. */
const KEY_TEXT = /^hf_([0-9a-z]{26})_([A-Za-z0-9_-]{43})$/;

/** A new key: `text` is shown once, `secretHash` is stored. */
export interface MintedKey {
  readonly text: string;
  readonly secretHash: string;
}

/**
 * Makes the key of an id (`key_…`). The secret comes from the operating system; tests may pass their
 * own bytes.
 */
export function mintKey(id: string, secret: Uint8Array = randomBytes(SECRET_BYTES)): MintedKey {
  const secretText = Buffer.from(secret).toString("base64url");
  return {
    text: `hf_${id.slice(ID_PREFIX.length)}_${secretText}`,
    secretHash: hashSecret(secretText),
  };
}

/** The parts of a key's text; undefined when it cannot be one of ours. */
export function parseKey(text: string): { id: string; secret: string } | undefined {
  const match = KEY_TEXT.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  return { id: ID_PREFIX + match[1], secret: match[2] };
}

/**
 * SHA-256 of a secret, in hex. A fast hash is right here: the secret has 256 random bits, there is
 * nothing to guess that a slow one would protect.
 */
export function hashSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/** Whether a secret has this hash, in a time that does not depend on where they differ. */
export function matchesHash(secret: string, hash: string): boolean {
  const found = Buffer.from(hashSecret(secret), "hex");
  const expected = Buffer.from(hash, "hex");
  return found.length === expected.length && timingSafeEqual(found, expected);
}
