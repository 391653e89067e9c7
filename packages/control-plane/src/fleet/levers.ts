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
    paused: of("pause") ?? null,
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
