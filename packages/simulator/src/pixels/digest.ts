import { hash } from "node:crypto";

/** A short stable fingerprint of facts: the same parts give the same text in every process. */
export function digest(...parts: readonly (string | number | boolean | null)[]): string {
  return hash("sha1", JSON.stringify(parts));
}

/** A fingerprint of bytes. */
export function digestBytes(bytes: Uint8Array): string {
  return hash("sha1", bytes);
}

/** One of a fingerprint's five 32-bit words. */
export function wordOf(key: string, index: 0 | 1 | 2 | 3 | 4): number {
  return Number.parseInt(key.slice(index * 8, index * 8 + 8), 16) >>> 0;
}

/** Scrambles 32 bits: cheap, and good enough for grain. */
export function scramble(value: number): number {
  let x = Math.imul(value ^ (value >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
