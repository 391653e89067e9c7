import { InvalidArgumentError } from "commander";
import { parseDuration } from "../terminal/durations.ts";

/** For options that may be given several times. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** A whole number, or words for commander to print. */
export function wholeNumber(text: string): number {
  if (!/^-?\d{1,9}$/.test(text)) throw new InvalidArgumentError("expected a whole number.");
  return Number(text);
}

/** A whole number from 1. */
export function positiveNumber(text: string): number {
  const value = wholeNumber(text);
  if (value < 1) throw new InvalidArgumentError("expected a whole number from 1.");
  return value;
}

/** Milliseconds, or words for commander to print. */
export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError("expected a duration such as 90s or 10min.");
  return ms;
}

/** Milliseconds of a duration that names its unit: a bare number is read as another one elsewhere. */
export function durationWithUnit(text: string): number {
  if (!/[a-z]\s*$/i.test(text)) {
    throw new InvalidArgumentError("expected a duration with its unit, such as 90s, 10min or 2h.");
  }
  return duration(text);
}

/** A number from 0, with fractions. */
export function factor(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 1000)) {
    throw new InvalidArgumentError("expected a number from 0.");
  }
  return value;
}

/** A TCP port; 0 is any. */
export function portNumber(text: string): number {
  const value = wholeNumber(text);
  if (value < 0 || value > 65_535) throw new InvalidArgumentError("expected 0 to 65535.");
  return value;
}
