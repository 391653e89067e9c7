import type { FailureEvidence } from "./evidence.ts";

/** How much of a message is read for its numbers; they stand in its first lines. */
const HEAD = 4_096;
/** Reserved memory over allocated memory from which fragmentation is the likelier cause. */
const FRAGMENTATION_RATIO = 0.5;
/** An out-of-memory this soon after the start, with this much free, is no lack of memory. */
const REVOKED_WITHIN_MS = 3_000;
const REVOKED_FREE_BYTES = 2 * 1024 ** 3;

/** Why a GPU ran out of memory, where the allocator's own figures tell; null where they do not. */
export type GpuMemoryCause = "revoked_card" | "above_card" | "foreign_vram" | "fragmentation";

const UNIT_BYTES: Readonly<Record<string, number>> = {
  bytes: 1,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
  kb: 1024,
  mb: 1024 ** 2,
  gb: 1024 ** 3,
  tb: 1024 ** 4,
};

/**
 * Reads torch's out-of-memory report (2.0–2.9 wordings) and the clock. In order of what they rule
 * out: a card that was taken away; a request no card of this size can serve; memory held by other
 * processes; memory reserved but not used.
 */
export function gpuMemoryCause(evidence: FailureEvidence): GpuMemoryCause | null {
  const text = evidence.message.slice(0, HEAD);
  const elapsedMs = evidence.timing?.elapsedMs;
  const free = evidence.vramFreeBytes;
  const wanted = wantedMemory(evidence);
  if (
    elapsedMs !== undefined &&
    elapsedMs <= REVOKED_WITHIN_MS &&
    free !== undefined &&
    free >= REVOKED_FREE_BYTES &&
    (wanted ?? 0) < free
  ) {
    return "revoked_card";
  }
  const capacity = size(
    text,
    /(?:total capacity of|device limit *:|max allowed:) *([\d.]+) ?([KMGT]i?B|bytes)/i,
  );
  if (wanted !== null && capacity !== null && wanted > capacity) return "above_card";
  const allocated = size(text, /allocated memory ([\d.]+) ?([KMGT]i?B|bytes)/i);
  const reserved = size(text, /([\d.]+) ?([KMGT]i?B|bytes) is reserved by PyTorch but/i);
  if (isForeign(text, allocated, capacity)) return "foreign_vram";
  if (reserved !== null && allocated !== null && wanted !== null) {
    if (reserved > allocated * FRAGMENTATION_RATIO && reserved > wanted) return "fragmentation";
  }
  return null;
}

/** What a failed request for memory asked for, in bytes; null where the message does not say. */
export function wantedMemory({ message }: FailureEvidence): number | null {
  return size(message.slice(0, HEAD), WANTED);
}

const WANTED = /(?:tried to allocate|requested *:) *([\d.]+) ?([KMGT]i?B|bytes)/i;

/**
 * Whether other processes, not this one, hold most of the card. In a container torch does not know its own
 * process among those that the driver names ("this process has" is not there): then the smallest that can
 * hold what it has allocated is taken for it.
 */
function isForeign(text: string, allocated: number | null, capacity: number | null): boolean {
  if (/\b0 bytes (?:is )?allocated by PyTorch/i.test(text)) return true;
  if (allocated === 0) return true;
  const named = [...text.matchAll(PROCESS_HAS)].map((match) => toBytes(match[1], match[2]) ?? 0);
  const sizes = named.sort((one, other) => one - other);
  const isOwnNamed = /\bthis process has\b/i.test(text);
  const least = allocated ?? 0;
  const most = least * OWN_SHARE + OWN_OVERHEAD_BYTES;
  const own = isOwnNamed ? -1 : sizes.findIndex((bytes) => bytes >= least && bytes <= most);
  const foreign = sizes.reduce((sum, bytes, at) => (at === own ? sum : sum + bytes), 0);
  return foreign > (allocated ?? 0) && capacity !== null && foreign > capacity / 4;
}

/** What a process has beside its tensors: what it reserved and does not use, its context and libraries. */
const OWN_SHARE = 1.5;
const OWN_OVERHEAD_BYTES = 3 * 1024 ** 3;
const PROCESS_HAS = /\bprocess \d{1,10} has ([\d.]{1,12}) ?([KMGT]i?B) memory in use/gi;

function size(text: string, pattern: RegExp): number | null {
  const match = pattern.exec(text);
  return match === null ? null : toBytes(match[1], match[2]);
}

function toBytes(digits: string | undefined, unit: string | undefined): number | null {
  const value = Number.parseFloat(digits ?? "");
  const factor = UNIT_BYTES[(unit ?? "").toLowerCase()];
  return Number.isNaN(value) || factor === undefined ? null : value * factor;
}
