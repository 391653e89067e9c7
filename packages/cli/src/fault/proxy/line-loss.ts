import type { Random } from "@holdfast/runtime";

/**
 * Loss of packets as a program behind TCP sees it: what is lost comes later, and what comes after it waits.
 * The times are those of Linux: a lost segment is sent again after 200 ms, then after twice as long, a lost
 * SYN after 1 s.
 */
export interface LineLoss {
  /** Chance for each chunk, 0..1. */
  readonly share: number;
  readonly random: Random;
}

const RETRANSMIT_MS = 200;
const SYN_RETRANSMIT_MS = 1_000;
/** Linux gives up after 15; nobody here waits for so long. */
const RETRANSMITS_MAX = 5;

/** How long a chunk is late; 0 for most. */
export function chunkDelayMs(loss: LineLoss): number {
  return delayOf(loss, RETRANSMIT_MS);
}

/** How long the opening of a connection is late; 0 for most. */
export function openDelayMs(loss: LineLoss): number {
  return delayOf(loss, SYN_RETRANSMIT_MS);
}

function delayOf({ share, random }: LineLoss, first: number): number {
  let sum = 0;
  let next = first;
  for (let lost = 0; lost < RETRANSMITS_MAX && random.next() < share; lost += 1) {
    sum += next;
    next *= 2;
  }
  return sum;
}
