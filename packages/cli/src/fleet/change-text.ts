/** What is different between two looks at the fleet, for whoever reads a log of it. Pure. */
import type { FleetStatus } from "@holdfast/contract";
import { leverText } from "./levers-text.ts";

/** One line for a look; null when nothing is different but ages, costs and instants. */
export function changeLine(before: FleetStatus | undefined, status: FleetStatus): string | null {
  const line = stateLine(status);
  if (before === undefined) return line;
  const levers = leverChanges(before, status);
  if (levers === "" && line === stateLine(before)) return null;
  return `${line}${levers}`;
}

function stateLine({ breaker, counts, queuedTasks, runningTasks, isLed }: FleetStatus): string {
  const { spawning, state, text, resumesAt } = breaker;
  const { living, healthy, starting, draining, ending } = counts;
  const moving = Object.entries({ starting, draining, ending })
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `, ${count} ${name}`)
    .join("");
  const resumes = resumesAt === null ? "" : `, resumes ${resumesAt}`;
  return [
    `spawning ${spawning} (${state}${resumes})`,
    `failure rate ${text}`,
    `machines ${healthy} healthy of ${living}${moving}`,
    `tasks ${queuedTasks} queued, ${runningTasks} running`,
    ...(isLed ? [] : ["no leader"]),
  ].join("; ");
}

function leverChanges(before: FleetStatus, status: FleetStatus): string {
  const had = new Set(before.levers.map(({ id }) => id));
  const has = new Set(status.levers.map(({ id }) => id));
  const set = status.levers
    .filter(({ id }) => !had.has(id))
    .map((lever) => `; ${lever.madeBy} set: ${leverText(lever)} (${lever.reason})`);
  const undone = before.levers
    .filter(({ id }) => !has.has(id))
    .map((lever) => `; no longer in force: ${leverText(lever)}`);
  return [...set, ...undone].join("");
}
