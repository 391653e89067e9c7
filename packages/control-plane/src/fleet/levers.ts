/** What the levers in force come to, and which values they may have. Pure. */
import { DEFAULT_BREAKER_POLICY, policyProblems, type BreakerPolicy } from "@holdfast/fleet";
import type { Lever, LeverKind, LeversInForce } from "./model.ts";

const MS_PER_MINUTE = 60_000;

/** The policy of the settings with what people have set over it. */
export function leversInForce(settings: BreakerPolicy, levers: readonly Lever[]): LeversInForce {
  const of = (kind: LeverKind): Lever | undefined =>
    levers.find((lever) => lever.kind === kind && lever.undoneAt === null);
  const number = (kind: LeverKind): number | undefined => {
    const value = of(kind)?.value;
    return typeof value === "number" ? value : undefined;
  };
  const windowMinutes = number("window");
  return {
    breaker: {
      threshold: number("threshold") ?? settings.threshold,
      windowMs: windowMinutes === undefined ? settings.windowMs : windowMinutes * MS_PER_MINUTE,
      minimum: number("minimum") ?? settings.minimum,
      clearedBefore: number("clear") ?? settings.clearedBefore,
    },
    pauses: levers.filter(({ kind, undoneAt }) => kind === "pause" && undoneAt === null),
    levers: levers.filter(({ kind, undoneAt }) => undoneAt === null && kind !== "force"),
  };
}

/** What is wrong with a lever's value, in words; null when nothing is. `now` is epoch ms. */
export function leverProblem(kind: LeverKind, value: unknown, now: number): string | null {
  switch (kind) {
    case "threshold":
    case "window":
    case "minimum": {
      if (typeof value !== "number") return `${kind}: expected a number, found ${shown(value)}`;
      const policy = { ...DEFAULT_BREAKER_POLICY, ...policyPart(kind, value) };
      return policyProblems(policy)[0] ?? null;
    }
    case "clear":
      // Before 1970 there was no fleet, and long before it is no date.
      if (typeof value !== "number" || !(value >= 0)) {
        return `clear: expected an instant, found ${shown(value)}`;
      }
      return value <= now
        ? null
        : "clear: expected an instant that is past: failures to come are not cleared beforehand";
    case "pause":
      return value === true ? null : `pause: expected true, found ${shown(value)}`;
    default:
      return null;
  }
}

/** Pauses that are in force at once. */
export const PAUSES_MAX = 20;

/** Why a lever cannot stand beside those in force, in words; null when it can. */
export function standingProblem(
  kind: LeverKind,
  value: unknown,
  inForce: readonly Lever[],
): string | null {
  const others = inForce.filter((lever) => lever.kind === kind);
  if (kind === "pause" && others.length >= PAUSES_MAX) {
    return `pause: ${PAUSES_MAX} are in force already: undo those that are over (holdfast fleet levers)`;
  }
  const further = others.find((lever) => Number(lever.value) > Number(value));
  if (kind !== "clear" || further === undefined) return null;
  const [at, found] = [toInstant(Number(further.value)), toInstant(Number(value))];
  return `clear: expected an instant after ${at}, found ${found}: all failures before that one are cleared already, by ${further.id}. To have some of them back, undo it first`;
}

function toInstant(ms: number): string {
  return new Date(ms).toISOString();
}

/** What a lever sets of the breaker's policy. */
function policyPart(
  kind: "threshold" | "window" | "minimum",
  value: number,
): Partial<BreakerPolicy> {
  return kind === "window" ? { windowMs: value * MS_PER_MINUTE } : { [kind]: value };
}

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 100) ?? "nothing";
}
