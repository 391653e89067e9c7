/** `holdfast health` in lines: the state first, then what is wrong, then the fleet. Pure. */
import type { SystemHealth } from "@holdfast/contract";
import { factLine } from "../fleet/fact-line.ts";
import { healthyText, queueText } from "../fleet/status-text.ts";
import { plainText } from "../terminal/text-table.ts";

/** The system's health as far as this program can tell. */
export type HealthSight =
  | { readonly kind: "told"; readonly health: SystemHealth }
  /** Nobody answers, or with an error. */
  | { readonly kind: "silent"; readonly url: string; readonly reason: string };

/** The state in one word. */
export function stateOf(sight: HealthSight): SystemHealth["state"] {
  return sight.kind === "silent" ? "down" : sight.health.state;
}

const MEANS: Readonly<Record<SystemHealth["state"], string>> = {
  healthy: "work is done",
  degraded: "work is done, and something is wrong",
  down: "no work can be done",
};

/** A page for a person. */
export function healthLines(sight: HealthSight): readonly string[] {
  const state = stateOf(sight);
  return [
    `${state.toUpperCase()}: ${MEANS[state]}`,
    "",
    ...problemsOf(sight).flatMap(({ severity, what, advice }) => [
      `${severity.padEnd(10)}${plainText(what)}`,
      `${" ".repeat(10)}→ ${plainText(advice)}`,
    ]),
    ...(sight.kind === "silent" ? [] : fleetLines(sight.health)),
  ];
}

/** What is wrong, for people and for programs. */
export function problemsOf(sight: HealthSight): SystemHealth["problems"] {
  if (sight.kind === "told") return sight.health.problems;
  return [
    {
      severity: "down",
      what: `the server at ${sight.url} does not answer: ${sight.reason}`,
      advice:
        "start it (holdfast up, or holdfast server), or say where it is: --url, HOLDFAST_URL; if it runs, look at its log",
    },
  ];
}

function fleetLines({ fleet, problems }: SystemHealth): readonly string[] {
  const { breaker, advice, costPerHour } = fleet;
  return [
    ...(problems.length === 0 ? [] : [""]),
    factLine("Machines", healthyText(fleet)),
    factLine("Queued tasks", queueText(fleet)),
    factLine("Failure rate", breaker.text),
    factLine("Spawning", `${breaker.spawning}: ${breaker.reason}`),
    factLine("Cost", `$${costPerHour.toFixed(2)} an hour`),
    factLine("Advice", `${advice.kind.toUpperCase()}: ${advice.text}`),
  ];
}

/** One line for a log: state and problems, without what changes by the second. */
export function healthLine(sight: HealthSight): string {
  const problems = problemsOf(sight).map(({ what }) => plainText(what));
  return [stateOf(sight).toUpperCase(), ...problems].join("; ");
}
