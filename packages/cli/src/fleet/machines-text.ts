/** Machines of the fleet in lines. Pure. */
import type { FleetMachineView } from "@holdfast/contract";
import { durationText } from "../terminal/durations.ts";
import { textTable, type Column } from "../terminal/text-table.ts";
import type { Look } from "./look.ts";

/** One line a machine. `now` is epoch ms. */
export function machineLines(
  machines: readonly FleetMachineView[],
  { now, columns }: Look,
): readonly string[] {
  const price: Column<FleetMachineView> = {
    head: "$/H",
    cell: ({ pricePerHour }) => pricePerHour?.toFixed(2) ?? "",
    isRight: true,
  };
  // Room for the reasons: of machines that cost nothing the column would be empty.
  const isPriced = machines.some(({ pricePerHour }) => pricePerHour !== null);
  const shape: readonly Column<FleetMachineView>[] = [
    { head: "NAME", cell: ({ name }) => name },
    { head: "POOL", cell: ({ pool }) => pool },
    { head: "STATE", cell: stateOf },
    { head: "HEARTBEAT", cell: heartbeatOf, isRight: true },
    { head: "JOBS", cell: ({ jobs }) => String(jobs), isRight: true },
    { head: "AGE", cell: (machine) => ageOf(machine, now), isRight: true },
    ...(isPriced ? [price] : []),
    { head: "WHY", cell: whyOf },
  ];
  return textTable(machines, shape, columns);
}

/** `ready, healthy`; `ended, failed`. */
export function stateOf({ state, isHealthy, endedAt, endCause }: FleetMachineView): string {
  if (endedAt !== null && endCause === "failed") return `${state}, failed`;
  return isHealthy ? `${state}, healthy` : state;
}

function heartbeatOf({ heartbeatAgeMs, endedAt }: FleetMachineView): string {
  if (endedAt !== null) return "";
  return heartbeatAgeMs === null ? "never" : `${durationText(heartbeatAgeMs)} ago`;
}

function ageOf({ createdAt, askedAt, endedAt }: FleetMachineView, now: number): string {
  const until = endedAt === null ? now : Date.parse(endedAt);
  return durationText(Math.max(0, until - Date.parse(createdAt ?? askedAt)));
}

function whyOf({ endKind, reason, forcedBy }: FleetMachineView): string {
  const forced = forcedBy === null ? "" : `started by ${forcedBy}`;
  const ended = endKind === null ? (reason ?? "") : `${endKind}: ${reason ?? ""}`;
  return [ended, forced].filter((text) => text !== "").join("; ");
}

/** Failures side by side: how each ended, the last one first. `now` is epoch ms. */
export function failureLines(
  failures: readonly FleetMachineView[],
  { now, columns }: Look,
): readonly string[] {
  const shape: readonly Column<FleetMachineView>[] = [
    { head: "NAME", cell: ({ name }) => name },
    { head: "KIND", cell: ({ endKind }) => endKind ?? "" },
    { head: "ENDED", cell: ({ endedAt }) => agoText(endedAt, now), isRight: true },
    { head: "LIVED", cell: (machine) => ageOf(machine, now), isRight: true },
    { head: "WHY", cell: ({ reason }) => reason ?? "" },
  ];
  return failures.length === 0 ? [] : textTable(failures, shape, columns);
}

/** `5 min 3 s ago`; empty without an instant. */
export function agoText(instant: string | null, now: number): string {
  return instant === null ? "" : `${durationText(Math.max(0, now - Date.parse(instant)))} ago`;
}

/** An instant and how long ago it was; empty where there is none. */
export function instantText(instant: string | null, now: number): string {
  return instant === null ? "" : `${instant} (${agoText(instant, now)})`;
}
