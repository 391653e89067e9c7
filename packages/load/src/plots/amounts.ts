/** Amounts as reports write them: short, with their unit, and never a number where none was measured. */
import { NOT_KNOWN } from "./markup.ts";

const MS_PER_SECOND = 1_000;
const SECONDS_PER_MINUTE = 60;
const SECONDS_PER_HOUR = 3_600;
const PERCENT = 100;
const BYTES_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;
const BYTES_STEP = 1_024;

/** Three digits that count, without an exponent: 0.0123, 1.23, 12.3, 123, 1234. */
export function amountText(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return NOT_KNOWN;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 100) return String(Math.round(value));
  const digits = Math.min(6, 2 - Math.floor(Math.log10(size)));
  return String(Number(value.toFixed(digits)));
}

/** Milliseconds: `850 ms`, from a second on `45.2 s`. */
export function msText(ms: number | null): string {
  if (ms === null || !Number.isFinite(ms)) return NOT_KNOWN;
  return Math.abs(ms) < MS_PER_SECOND
    ? `${amountText(ms)} ms`
    : `${amountText(ms / MS_PER_SECOND)} s`;
}

/** An instant of a run or a duration: `0.54 ms`, `42 s`, `3:20 min`, `2:05 h`. */
export function secondsText(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds)) return NOT_KNOWN;
  if (seconds !== 0 && Math.abs(seconds) < 1) return msText(seconds * MS_PER_SECOND);
  const whole = Math.round(seconds);
  if (whole < 2 * SECONDS_PER_MINUTE) return `${amountText(seconds)} s`;
  const isHours = whole >= 2 * SECONDS_PER_HOUR;
  const unit = isHours ? SECONDS_PER_HOUR : SECONDS_PER_MINUTE;
  const rest = Math.floor((whole % unit) / (unit / SECONDS_PER_MINUTE));
  return `${Math.floor(whole / unit)}:${String(rest).padStart(2, "0")} ${isHours ? "h" : "min"}`;
}

/** A share, 0 to 1, in percent. */
export function shareText(share: number | null): string {
  return share === null ? NOT_KNOWN : `${amountText(share * PERCENT)} %`;
}

/** A relative change with its sign: `+12.3 %`. */
export function changeText(change: number | null): string {
  if (change === null || !Number.isFinite(change)) return NOT_KNOWN;
  return `${change > 0 ? "+" : ""}${amountText(change * PERCENT)} %`;
}

/** Bytes in the unit that fits. */
export function bytesText(bytes: number | null): string {
  if (bytes === null || !Number.isFinite(bytes)) return NOT_KNOWN;
  const power = bytes < 1 ? 0 : Math.floor(Math.log(bytes) / Math.log(BYTES_STEP));
  const at = Math.min(BYTES_UNITS.length - 1, power);
  return `${amountText(bytes / BYTES_STEP ** at)} ${BYTES_UNITS[at]}`;
}

/** Memory of a card, which is told in MiB, in the unit that fits. */
export function mebibytesText(mebibytes: number | null): string {
  return bytesText(mebibytes === null ? null : mebibytes * BYTES_STEP ** 2);
}
