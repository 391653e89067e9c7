/** `holdfast fleet status` in lines (CONTRACTS C2). Pure. */
import type { FleetMachineView, FleetStatus } from "@holdfast/contract";
import { durationText } from "../terminal/durations.ts";
import { textTable, type Column } from "../terminal/text-table.ts";
import { breakerLines } from "./breaker-text.ts";
import { factLine } from "./fact-line.ts";
import { leverLines } from "./levers-text.ts";
import { failureLines } from "./machines-text.ts";

/** What a status is shown by. */
export interface Look {
  /** Epoch ms. */
  readonly now: number;
  /** Characters that a line holds. */
  readonly columns: number;
}

/** Heartbeats that are named one by one. */
const HEARTBEATS_SHOWN = 4;

/** Everything that a person must see of the fleet, the breaker first. */
export function statusLines(status: FleetStatus, look: Look): readonly string[] {
  return [
    ...breakerLines(status.breaker, look.now),
    ...indented(failureLines(status.failures ?? [], look)),
    factLine("Healthy machines", healthyText(status)),
    ...otherMachines(status.counts),
    factLine("Queued tasks", queueText(status)),
    ...poolLines(status.pools, look),
    ...section("Levers in force", leverLines(status.levers, look), status.levers.length),
    factLine("Cost", costText(status)),
    factLine("Advice", `${status.advice.kind.toUpperCase()}: ${status.advice.text}`),
    ...(status.isLed ? [] : [factLine("Leader", "none: nothing is started or ended meanwhile")]),
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

function otherMachines({ starting, draining, ending }: FleetStatus["counts"]): readonly string[] {
  const parts = Object.entries({ starting, draining, ending })
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${count} ${state}`);
  return parts.length === 0 ? [] : [factLine("Other machines", parts.join(", "))];
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
  return section("Pools", textTable(pools, shape, columns - INDENT.length), pools.length);
}

function heldText({ held, blockedUntil }: FleetStatus["pools"][number], now: number): string {
  const leftMs = blockedUntil === null ? 0 : Date.parse(blockedUntil) - now;
  const again = leftMs > 0 ? `; asked again in ${durationText(leftMs)}` : "";
  if (held === null && again === "") return "";
  // Older control planes tell no reason of a pool that nothing is wanted of.
  return `${held ?? "blocked, and the control plane does not tell why"}${again}`;
}

const INDENT = "  ";

function indented(lines: readonly string[]): readonly string[] {
  return lines.map((line) => `${INDENT}${line}`);
}

function section(label: string, lines: readonly string[], count: number): readonly string[] {
  return count === 0 ? [factLine(label, "none")] : [label, ...indented(lines)];
}
