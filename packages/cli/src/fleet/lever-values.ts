/** Values of levers as a person types them. Pure. */
import { MINIMUM_MAX, parseInstant, WINDOW_MS_MAX } from "@holdfast/fleet";
import type { LeverRequest } from "../api/fleet-calls.ts";
import { parseDuration } from "../terminal/durations.ts";

/** A value for the server, or what was expected instead of the text. */
export type LeverReading =
  | { readonly kind: "ok"; readonly value: LeverRequest["value"] }
  | { readonly kind: "wrong"; readonly message: string };

const MS_PER_MINUTE = 60_000;
const PERCENT = 100;
/** The last instant that a date holds. */
const INSTANT_MS_MAX = 8.64e15;

/** `0.9` or `90%`: over 0 and at most 1. */
export function readThreshold(text: string, name = "threshold"): LeverReading {
  const number = /^\d+(\.\d+)?\s*%$/.test(text.trim())
    ? Number.parseFloat(text) / PERCENT
    : readNumber(text);
  return number > 0 && number <= 1
    ? { kind: "ok", value: number }
    : wrong(name, "a share over 0 and at most 1 such as 0.9, or 90%", text);
}

/** Minutes, or a duration such as `90s` or `2h`. */
export function readWindow(text: string, name = "window"): LeverReading {
  const hasUnit = /[a-z]$/i.test(text.trim());
  const minutes = hasUnit ? (parseDuration(text) ?? Number.NaN) / MS_PER_MINUTE : readNumber(text);
  return minutes > 0 && minutes * MS_PER_MINUTE <= WINDOW_MS_MAX
    ? { kind: "ok", value: minutes }
    : wrong(name, `minutes over 0 and at most ${WINDOW_MS_MAX / MS_PER_MINUTE}, or 90s, 2h`, text);
}

/** A number of machines. */
export function readMinimum(text: string, name = "minimum"): LeverReading {
  const number = readNumber(text);
  return Number.isInteger(number) && number >= 1 && number <= MINIMUM_MAX
    ? { kind: "ok", value: number }
    : wrong(name, `a whole number of machines from 1 to ${MINIMUM_MAX}`, text);
}

/** An instant (RFC 3339, epoch ms), or so long ago: `10min`, `2h`. `now` is epoch ms. */
export function readClearBefore(text: string, now: number): LeverReading {
  const at = readPast(text, now);
  // Before 1970, and beyond what a date can hold, there is no failure.
  return at === undefined || !(at >= 0 && at <= INSTANT_MS_MAX)
    ? wrong("--before", PAST_WORDS, text)
    : { kind: "ok", value: new Date(at).toISOString() };
}

/** What {@link readPast} takes, for whoever typed something else. */
export const PAST_WORDS = "an instant such as 2026-01-31T12:00:00Z, or so long ago: 10min, 2h";

/** Epoch ms of an instant (RFC 3339, epoch ms), or of so long before `now`; undefined if neither. */
export function readPast(text: string, now: number): number | undefined {
  const agoMs = /^\d+(\.\d+)?\s*[a-z]+$/i.test(text.trim()) ? parseDuration(text) : undefined;
  return agoMs === undefined ? parseInstant(text) : now - agoMs;
}

function readNumber(text: string): number {
  return text.trim() === "" ? Number.NaN : Number(text);
}

function wrong(name: string, expected: string, text: string): LeverReading {
  return { kind: "wrong", message: `${name}: expected ${expected}, found ${JSON.stringify(text)}` };
}
