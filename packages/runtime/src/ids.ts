import type { Clock } from "./clock.ts";
import type { Random } from "./random.ts";

/** Crockford's base 32: no I, L, O, U, and in ASCII order, so ids sort as text by time. */
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const TIME_CHARS = 10;
const RANDOM_CHARS = 16;

/**
 * Mints ids: `<prefix>_<26 chars>`, time-sortable (48 bits of milliseconds, 80 random bits), like a
 * ULID in lower case. Ids of one source grow strictly, also within a millisecond.
 */
export interface IdSource {
  next<P extends string>(prefix: P): `${P}_${string}`;
}

/** Makes an id source from a clock and a generator; see {@link IdSource}. */
export function createIdSource(clock: Pick<Clock, "now">, random: Random): IdSource {
  let lastMs = -1;
  let digits: number[] = [];
  return {
    next(prefix) {
      const ms = Math.max(clock.now(), lastMs);
      if (ms === lastMs) {
        increment(digits);
      } else {
        lastMs = ms;
        digits = Array.from({ length: RANDOM_CHARS }, () => Math.floor(random.next() * 32));
        // Room to count upwards within one millisecond.
        digits[0] = (digits[0] ?? 0) & 15;
      }
      return `${prefix}_${encodeTime(ms)}${digits.map((d) => ALPHABET[d]).join("")}`;
    },
  };
}

/** When an id was minted, in epoch milliseconds of the minter's clock; undefined for what is no such id. */
export function mintedAtMs(id: string): number | undefined {
  const digits = id.slice(id.lastIndexOf("_") + 1);
  if (!id.includes("_") || digits.length !== TIME_CHARS + RANDOM_CHARS) return undefined;
  let ms = 0;
  for (const digit of digits.slice(0, TIME_CHARS)) {
    const value = ALPHABET.indexOf(digit);
    if (value < 0) return undefined;
    ms = ms * 32 + value;
  }
  return ms;
}

function encodeTime(ms: number): string {
  let rest = ms;
  let text = "";
  for (let i = 0; i < TIME_CHARS; i += 1) {
    text = (ALPHABET[rest % 32] ?? "0") + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

function increment(digits: number[]): void {
  for (let i = digits.length - 1; i >= 0; i -= 1) {
    const digit = digits[i] ?? 0;
    if (digit < 31) {
      digits[i] = digit + 1;
      return;
    }
    digits[i] = 0;
  }
}

/** A version 4 UUID, as ComfyUI's `prompt_id` takes it. */
export function nextUuid(random: Random): string {
  const nibble = (): string => Math.floor(random.next() * 16).toString(16);
  const run = (length: number): string => Array.from({ length }, nibble).join("");
  const variant = "89ab"[Math.floor(random.next() * 4)] ?? "8";
  return `${run(8)}-${run(4)}-4${run(3)}-${variant}${run(3)}-${run(12)}`;
}
