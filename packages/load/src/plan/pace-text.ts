/**
 * A pace as people write it, and as a run's file keeps it: `4`, `closed:4`, `open:2/s`,
 * `poisson:30/min`, `ramp:1..20@5min`, `ramp:0/s..10/s@5min`, `step:1,2,4,8@60s`,
 * `step-poisson:1/s@60s,2/s@90s`.
 */
import { paceProblems, type Arrivals, type Loop, type Pace, type PaceLevel } from "./pace.ts";

/** A pace, or what is wrong with its text. */
export type PaceReading =
  | { readonly kind: "ok"; readonly pace: Pace }
  | { readonly kind: "invalid"; readonly problems: readonly string[] };

const EXAMPLES =
  "4, closed:4, open:2/s, poisson:30/min, ramp:1..20@5min, ramp:0/s..10/s@5min or step:1,2,4,8@60s";
const UNITS_MS: Readonly<Record<string, number>> = { h: 3_600_000, min: 60_000, s: 1_000, ms: 1 };
const NUMBER = "\\d+(?:\\.\\d+)?(?:e-?\\d+)?";
const VALUE = new RegExp(`^(${NUMBER})(?:/(s|min))?$`);
const TIME = new RegExp(`^(${NUMBER})(ms|s|min|h)$`);
/** Longest text that is looked at. */
const TEXT_LENGTH_MAX = 4_000;

/** Reads a pace. */
export function parsePace(text: string): PaceReading {
  const pace = text.length <= TEXT_LENGTH_MAX ? toPace(text.trim()) : undefined;
  if (pace === undefined) {
    const found = text.length <= 100 ? text : `${text.slice(0, 100)}…`;
    return { kind: "invalid", problems: [`pace: expected ${EXAMPLES}, found "${found}"`] };
  }
  const problems = paceProblems(pace);
  return problems.length > 0 ? { kind: "invalid", problems } : { kind: "ok", pace };
}

/** The one text of a pace: two paces are the same where their texts are. */
export function paceText(pace: Pace): string {
  switch (pace.kind) {
    case "closed":
      return `closed:${pace.inFlight}`;
    case "open":
      return `${pace.arrivals === "poisson" ? "poisson" : "open"}:${pace.perSecond}/s`;
    case "ramp": {
      const { loop, from, to, overMs } = pace;
      const values = `${valueText(from, loop)}..${valueText(to, loop)}`;
      return `ramp${spread(pace.arrivals)}:${values}@${timeText(overMs)}`;
    }
    default: {
      const levels = pace.levels.map(
        ({ value, forMs }) => `${valueText(value, pace.loop)}@${timeText(forMs)}`,
      );
      return `step${spread(pace.arrivals)}:${levels.join(",")}`;
    }
  }
}

function toPace(text: string): Pace | undefined {
  const colon = text.indexOf(":");
  const kind = colon === -1 ? "closed" : text.slice(0, colon);
  const rest = text.slice(colon + 1);
  const arrivals: Arrivals = kind.endsWith("poisson") ? "poisson" : "constant";
  switch (kind) {
    case "closed":
    case "open":
    case "poisson": {
      const value = toValue(rest);
      if (value === undefined || (value.loop === "closed") !== (kind === "closed")) {
        return undefined;
      }
      return kind === "closed"
        ? { kind, inFlight: value.amount }
        : { kind: "open", perSecond: value.amount, arrivals };
    }
    case "ramp":
    case "ramp-poisson":
      return toRamp(rest, arrivals);
    case "step":
    case "step-poisson":
      return toSteps(rest, arrivals);
    default:
      return undefined;
  }
}

function toRamp(text: string, arrivals: Arrivals): Pace | undefined {
  const [values = "", time = "", ...more] = text.split("@");
  const [first = "", last = "", ...others] = values.split("..");
  const from = toValue(first);
  const to = toValue(last);
  const overMs = toMs(time);
  if (from === undefined || to === undefined || overMs === undefined) return undefined;
  if (more.length > 0 || others.length > 0 || from.loop !== to.loop) return undefined;
  return { kind: "ramp", loop: from.loop, from: from.amount, to: to.amount, overMs, arrivals };
}

function toSteps(text: string, arrivals: Arrivals): Pace | undefined {
  const levels: PaceLevel[] = [];
  let loop: Loop | undefined;
  let forMs: number | undefined;
  // From the end: a time stands for every level before it that has none.
  for (const part of text.split(",").reverse()) {
    const [value = "", time, ...more] = part.split("@");
    const read = toValue(value);
    if (time !== undefined) forMs = toMs(time);
    if (read === undefined || forMs === undefined || more.length > 0) return undefined;
    if (loop !== undefined && loop !== read.loop) return undefined;
    loop = read.loop;
    levels.unshift({ value: read.amount, forMs });
  }
  return loop === undefined ? undefined : { kind: "step", loop, levels, arrivals };
}

function toValue(text: string): { readonly amount: number; readonly loop: Loop } | undefined {
  const [, amount, unit] = VALUE.exec(text.trim()) ?? [];
  if (amount === undefined) return undefined;
  if (unit === undefined) return { amount: Number(amount), loop: "closed" };
  return { amount: unit === "min" ? Number(amount) / 60 : Number(amount), loop: "open" };
}

function toMs(text: string): number | undefined {
  const [, amount, unit = ""] = TIME.exec(text.trim()) ?? [];
  const factor = UNITS_MS[unit];
  return amount === undefined || factor === undefined ? undefined : Number(amount) * factor;
}

function valueText(value: number, loop: Loop): string {
  return loop === "open" ? `${value}/s` : String(value);
}

function timeText(ms: number): string {
  const [unit, factor] = Object.entries(UNITS_MS).find(([, one]) => ms % one === 0) ?? ["ms", 1];
  return `${ms / factor}${unit}`;
}

function spread(arrivals: Arrivals): string {
  return arrivals === "poisson" ? "-poisson" : "";
}
