/** `holdfast health` in lines: the state first, then what is wrong, then the fleet. Pure. */
import type { SystemHealth } from "@holdfast/contract";
import { factLines } from "../fleet/fact-line.ts";
import { costText, healthyText, queueText } from "../fleet/status-text.ts";
import { foldLine, plainText } from "../terminal/text-table.ts";

/** The system's health as far as this program can tell. */
export type HealthSight =
  | { readonly kind: "told"; readonly health: SystemHealth }
  /** Nobody answers, or with an error. */
  | { readonly kind: "silent"; readonly url: string; readonly reason: string };

/** Alerts that fire now. */
export interface FiringAlerts {
  readonly count: number;
  /** There are more than were counted. */
  readonly hasMore: boolean;
}

/** The state in one word. */
export function stateOf(sight: HealthSight): SystemHealth["state"] {
  return sight.kind === "silent" ? "down" : sight.health.state;
}

const MEANS: Readonly<Record<SystemHealth["state"], string>> = {
  healthy: "work gets done",
  degraded: "work gets done, and something is wrong",
  down: "no work can be done",
};

/** Where what is said of a problem begins. */
const PROBLEM_INDENT = 10;
const ARROW = "→ ";

/** A page for a person, in lines of at most `columns` characters; `firing` alerts are told if known. */
export function healthLines(
  sight: HealthSight,
  columns: number,
  firing: FiringAlerts | null = null,
): readonly string[] {
  const state = stateOf(sight);
  return [
    `${state.toUpperCase()}: ${MEANS[state]}`,
    "",
    ...problemsOf(sight).flatMap(({ severity, what, advice }) => [
      ...foldLine(`${severity.padEnd(PROBLEM_INDENT)}${plainText(what)}`, columns, PROBLEM_INDENT),
      ...foldLine(
        `${" ".repeat(PROBLEM_INDENT)}${ARROW}${plainText(advice)}`,
        columns,
        PROBLEM_INDENT + ARROW.length,
      ),
    ]),
    ...(sight.kind === "silent" ? [] : fleetLines(sight.health, columns, firing)),
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

/** `2 firing: holdfast alerts list`; empty where there is none, or it is not known. */
function firingText(firing: FiringAlerts | null): string {
  if (firing === null || firing.count === 0) return "";
  return `${firing.hasMore ? "over " : ""}${firing.count} firing: holdfast alerts list`;
}

function fleetLines(
  { fleet, problems }: SystemHealth,
  columns: number,
  firing: FiringAlerts | null,
): readonly string[] {
  const { breaker, advice } = fleet;
  const facts: readonly (readonly [label: string, words: string])[] = [
    ["Machines", healthyText(fleet)],
    ["Queued tasks", queueText(fleet)],
    ["Failure rate", breaker.text],
    ["Spawning", `${breaker.spawning}: ${breaker.reason}`],
    ["Cost", costText(fleet)],
    ["Advice", `${advice.kind.toUpperCase()}: ${advice.text}`],
    ["Alerts", firingText(firing)],
  ];
  return [
    ...(problems.length === 0 ? [] : [""]),
    ...facts
      .filter(([, words]) => words !== "")
      .flatMap(([label, words]) => factLines(label, words, columns)),
  ];
}

/** One line for a log: state and problems, without what changes by the second. */
export function healthLine(sight: HealthSight): string {
  const problems = problemsOf(sight).map(({ what }) => plainText(what));
  return [stateOf(sight).toUpperCase(), ...problems].join("; ");
}
