import { createHash } from "node:crypto";

/** Which keys were seen, in memory that does not grow. */
export interface KeyFilter {
  add(key: string): void;
  /** Never false for a key that was added; now and then true for one that was not. */
  mayHave(key: string): boolean;
}

/** 128 KiB; after 100,000 keys one of ten others looks as if it had been seen. */
const BITS = 2 ** 20;

/** Makes an empty filter. */
export function createKeyFilter(): KeyFilter {
  const bytes = new Uint8Array(BITS / 8);
  return {
    add(key) {
      const bit = bitOf(key);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (1 << (bit & 7));
    },
    mayHave(key) {
      const bit = bitOf(key);
      return ((bytes[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0;
    },
  };
}

function bitOf(key: string): number {
  return createHash("sha256").update(key).digest().readUInt32BE(0) % BITS;
}
