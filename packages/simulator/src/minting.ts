import type { Random } from "@holdfast/runtime";

/** Bytes from a seeded generator: for ids of simulated things, not for secrets. */
export function randomBytesFrom(random: Random, length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, () => Math.floor(random.next() * 256)));
}
