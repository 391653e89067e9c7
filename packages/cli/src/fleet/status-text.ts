/** `holdfast fleet status` in lines (CONTRACTS C2). Pure. */
import type { FleetMachineView, FleetStatus } from "@holdfast/contract";
import { durationText } from "../terminal/durations.ts";
import { textTable, type Column } from "../terminal/text-table.ts";
import { causeLines, timelineLines, verdictLines } from "./breaker-text.ts";
import { factLines } from "./fact-line.ts";
import { leverLines } from "./levers-text.ts";
import { indented, type Look } from "./look.ts";
import { failureLines } from "./machines-text.ts";

/** Heartbeats that are named one by one. */
const HEARTBEATS_SHOWN = 4;

/** Everything that a person must see of the fleet: what to do before what is long. */
export function statusLines(status: FleetStatus, look: Look): readonly string[] {
  const { breaker, advice, levers, pools } = status;
  const fact = (label: string, words: string): readonly string[] =>
    factLines(label, words, look.columns);
  return [
    ...verdictLines(breaker, look),
    ...fact("Advice", `${advice.kind.toUpperCase()}: ${advice.text}`),
    ...(status.isLed ? [] : fact("Leader", "none: nothing is started or ended meanwhile")),
    ...fact("Healthy machines", healthyText(status)),
    ...otherMachines(status.counts, look),
    ...fact("Queued tasks", queueText(status)),
    ...fact("Cost", costText(status)),
    ...section("Levers in force", levers.length, look, (inner) => leverLines(levers, inner)),
    ...section("Pools", pools.length, look, (inner) => poolLines(pools, inner)),
    ...causeLines(breaker.causes, look),
    ...indented(look, (inner) => failureLines(status.failures ?? [], inner)),
    ...timelineLines(breaker, look),
  ];
}

/** `2, heartbeats 1.0 s ago (a), 3.2 s ago (b)`; the stalest first, for it is the one to look at. */
export function healthyText({ machines, counts }: FleetStatus): string {
  const healthy = machines
    .filter((one) => one.isHealthy && one.heartbeatAgeMs !== null)
    .toSorted((one, other) => (other.heartbeatAgeMs ?? 0) - (one.heartbeatAgeMs ?? 0));
  if (counts.healthy === 0) return `0 of ${counts.living}${lastHeartbeat(machines)}`;
  const shown = healthy.slice(0, HEARTBEATS_SHOWN).map(heartbeatText);
  const left = counts.healthy - shown.length;
  const more = left > 0 ? `, ${left} more` : "";
  const word = counts.healthy === 1 ? "heartbeat" : "heartbeats";
  return `${counts.healthy} of ${counts.living}, ${word} ${shown.join(", ")}${more}`;
}

function heartbeatText({ name, heartbeatAgeMs }: FleetMachineView): string {
  return `${durationText(heartbeatAgeMs ?? 0)} ago (${name})`;
}

function lastHeartbeat(machines: readonly FleetMachineView[]): string {
  const heard = machines
    .filter(({ heartbeatAgeMs }) => heartbeatAgeMs !== null)
    .toSorted((one, other) => (one.heartbeatAgeMs ?? 0) - (other.heartbeatAgeMs ?? 0));
  return heard[0] === undefined ? "" : `, last heartbeat ${heartbeatText(heard[0])}`;
}

function otherMachines(
  { starting, draining, ending }: FleetStatus["counts"],
  { columns }: Look,
): readonly string[] {
  const parts = Object.entries({ starting, draining, ending })
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${count} ${state}`);
  return parts.length === 0 ? [] : factLines("Other machines", parts.join(", "), columns);
}

/** `42, the oldest for 5 min 3 s; 3 running`. */
export function queueText({ queuedTasks, oldestQueuedMs, runningTasks }: FleetStatus): string {
  const oldest =
    oldestQueuedMs === null ? "" : `, the oldest has waited for ${durationText(oldestQueuedMs)}`;
  return `${queuedTasks}${oldest}; ${runningTasks} running`;
}

/** `$1.20 an hour`, and what it leaves out. */
export function costText({ costPerHour, machines }: FleetStatus): string {
  const unknown = machines.filter(
    ({ pricePerHour, provider }) => pricePerHour === null && provider !== "static",
  ).length;
  const more = unknown === 0 ? "" : `, and ${unknown} whose price is not known`;
  return `$${costPerHour.toFixed(2)} an hour${more}`;
}

function poolLines(pools: FleetStatus["pools"], { now, columns }: Look): readonly string[] {
  type Pool = FleetStatus["pools"][number];
  const shape: readonly Column<Pool>[] = [
    { head: "POOL", cell: ({ name }) => name },
    { head: "PROVIDER", cell: ({ provider }) => provider },
    { head: "MACHINES", cell: ({ living }) => String(living), isRight: true },
    { head: "WANTED", cell: ({ desired }) => String(desired ?? "?"), isRight: true },
    { head: "MIN", cell: ({ min }) => String(min), isRight: true },
    { head: "MAX", cell: ({ max }) => String(max), isRight: true },
    { head: "HELD BACK BY", cell: (pool) => heldText(pool, now) },
  ];
  return textTable(pools, shape, columns);
}

function heldText({ held, blockedUntil }: FleetStatus["pools"][number], now: number): string {
  const leftMs = blockedUntil === null ? 0 : Date.parse(blockedUntil) - now;
  const again = leftMs > 0 ? `; asked again in ${durationText(leftMs)}` : "";
  if (held === null && again === "") return "";
  // Older control planes tell no reason of a pool that nothing is wanted of.
  return `${held ?? "blocked, and the control plane does not tell why"}${again}`;
}

function section(
  label: string,
  count: number,
  look: Look,
  toLines: (look: Look) => readonly string[],
): readonly string[] {
  if (count === 0) return factLines(label, "none", look.columns);
  return [label, ...indented(look, toLines)];
}
