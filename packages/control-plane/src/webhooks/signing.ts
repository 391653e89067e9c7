/** Signatures of Standard Webhooks 1.0 (symmetric, `v1`): https://www.standardwebhooks.com */
import { createHmac, randomBytes } from "node:crypto";

const PREFIX = "whsec_";
const SECRET_BYTES = 32;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;
/** What the standard allows for the length of a key. */
const MIN_SECRET_BYTES = 24;
const MAX_SECRET_BYTES = 64;

/** A new signing secret, `whsec_…`. */
export function newSecret(): string {
  return PREFIX + randomBytes(SECRET_BYTES).toString("base64");
}

/** Whether a text is a signing secret. */
export function isSecret(text: string): boolean {
  if (!text.startsWith(PREFIX) || !BASE64.test(text.slice(PREFIX.length))) return false;
  const { length } = Buffer.from(text.slice(PREFIX.length), "base64");
  return length >= MIN_SECRET_BYTES && length <= MAX_SECRET_BYTES;
}

/** The headers of one try of a message. */
export function signedHeaders(
  secret: string,
  message: { readonly id: string; readonly body: string; readonly timestampSeconds: number },
): Record<string, string> {
  const timestamp = String(message.timestampSeconds);
  const signature = createHmac("sha256", Buffer.from(secret.slice(PREFIX.length), "base64"))
    .update(`${message.id}.${timestamp}.${message.body}`)
    .digest("base64");
  return {
    "webhook-id": message.id,
    "webhook-timestamp": timestamp,
    "webhook-signature": `v1,${signature}`,
  };
}
