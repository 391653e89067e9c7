/** Numbers in sentences for operators. */
import { numberText } from "@holdfast/alerts";

const PERCENT = 100;
const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;

/** A share, with one decimal at most. */
export function percentText(share: number): string {
  return `${numberText(Math.round(share * PERCENT * 10) / 10)}%`;
}

/** A count with its noun: `1 job`, `2 jobs`. */
export function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Bytes in powers of 1000. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1_000 && unit < UNITS.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}
