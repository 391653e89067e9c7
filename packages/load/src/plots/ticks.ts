/** Places on an axis that get a text: few, and at numbers that people count in. */
import { amountText, secondsText } from "./amounts.ts";

/** What runs along the bottom of a plot. */
export interface PlotAxis {
  readonly label: string;
  /** Never smaller than the one before. */
  readonly values: readonly number[];
  readonly text: (value: number) => string;
  /** Where texts stand, within the values. */
  readonly ticks: readonly number[];
}

/** As many as a phone has room for. */
const TICKS_MAX = 5;
const TOP_STEPS = [1, 2, 4, 6, 8, 10] as const;
const STEPS = [1, 2, 5, 10] as const;
const SECOND_STEPS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400,
] as const;

/** An axis of seconds since the start. */
export function timeAxis(seconds: readonly number[]): PlotAxis {
  const span = spanOf(seconds);
  const step =
    SECOND_STEPS.find((one) => span / one <= TICKS_MAX) ?? Math.max(1, niceStep(span / TICKS_MAX));
  return {
    label: "Since the start",
    values: seconds,
    text: secondsText,
    ticks: ticksOf(seconds, step),
  };
}

/** An axis of amounts. Few different ones stand for themselves. */
export function amountAxis(label: string, values: readonly number[]): PlotAxis {
  const different = [...new Set(values)];
  const ticks =
    different.length <= TICKS_MAX + 1
      ? different
      : ticksOf(values, niceStep(spanOf(values) / TICKS_MAX));
  return { label, values, text: amountText, ticks };
}

/** The least number at or above another whose quarters are short. */
export function niceTop(value: number): number {
  return nextOf(TOP_STEPS, value);
}

function niceStep(value: number): number {
  return nextOf(STEPS, value);
}

function nextOf(steps: readonly number[], value: number): number {
  if (!(value > 0) || !Number.isFinite(value)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return (steps.find((one) => one * power >= value * (1 - 1e-9)) ?? 10) * power;
}

function ticksOf(values: readonly number[], step: number): readonly number[] {
  const [first, last] = [values[0] ?? 0, values.at(-1) ?? 0];
  const from = Math.ceil(first / step);
  const count = Math.max(0, Math.floor(last / step) - from + 1);
  return Array.from({ length: Math.min(count, TICKS_MAX + 1) }, (_, at) => (from + at) * step);
}

function spanOf(values: readonly number[]): number {
  return (values.at(-1) ?? 0) - (values[0] ?? 0);
}
