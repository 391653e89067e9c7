/** What the states of all services come to: the machine's own state, and whether it is ready. */
import { SERVICE_STATES, type ServiceReport, type ServiceState } from "./model.ts";
import { oneLine } from "./service-state.ts";

/** States of a machine. */
export const MACHINE_STATES = [
  "not_configured",
  "starting",
  "unhealthy",
  "degraded",
  "healthy",
] as const;
/**
 * `healthy`: every enabled service is. `degraded`: some are not, and the machine still does work.
 * `starting`: it does none yet, something is on its way, and nothing is ill. `unhealthy`: nothing that
 * does its work is healthy, nor is it about to be. `not_configured`: no service is enabled.
 */
export type MachineState = (typeof MACHINE_STATES)[number];

/** The machine in few words. */
export interface MachineSummary {
  readonly state: MachineState;
  readonly reason: string;
  /** Every enabled service is healthy, and there is one. */
  readonly isReady: boolean;
  readonly counts: Readonly<Record<ServiceState, number>>;
}

/** Services that a reason names; the rest are counted. */
const NAMED_MAX = 5;

/** What of a report decides the summary. */
export type SummarizedService = Pick<ServiceReport, "name" | "kind" | "state" | "reason">;

/** Sums the services up. */
export function summarizeMachine(reports: readonly SummarizedService[]): MachineSummary {
  const counts = countStates(reports);
  const enabled = reports.filter(({ state }) => state !== "not_configured");
  const ill = enabled.filter(({ state }) => state !== "healthy");
  if (enabled.length === 0) {
    const reason = "no service is enabled in this machine's configuration";
    return { state: "not_configured", reason, isReady: false, counts };
  }
  if (ill.length === 0) {
    const reason = `all ${enabled.length} enabled services are healthy`;
    return { state: "healthy", reason, isReady: true, counts };
  }
  const canWork = workingServices(enabled).some(({ state }) => state === "healthy");
  return {
    state: canWork ? "degraded" : isOnItsWay(enabled) ? "starting" : "unhealthy",
    reason: tellIll(ill, enabled.length),
    isReady: false,
    counts,
  };
}

/**
 * What a machine is there for: its ComfyUI instances; before there are any, ComfyUI as a whole; on a
 * machine without, whatever else it runs. An installer that is well does no work.
 */
function workingServices(enabled: readonly SummarizedService[]): readonly SummarizedService[] {
  const instances = enabled.filter(({ kind }) => kind === "instance");
  if (instances.length > 0) return instances;
  const comfyui = enabled.filter(({ kind }) => kind === "comfyui");
  if (comfyui.length > 0) return comfyui;
  return enabled.filter(({ kind }) => kind !== "installer");
}

/** Installing or starting: what is stopped or not installed meanwhile waits for that. */
function isOnItsWay(enabled: readonly SummarizedService[]): boolean {
  const isInstalling = enabled.some(
    ({ kind, state }) => kind === "installer" && state === "starting",
  );
  const working = workingServices(enabled);
  return (
    enabled.every(({ state }) => state !== "unhealthy") &&
    (isInstalling || working.some(({ state }) => state === "starting"))
  );
}

function tellIll(ill: readonly SummarizedService[], enabledCount: number): string {
  const named = ill.slice(0, NAMED_MAX).map(({ name, state, reason }) => {
    return `${name} is ${state} (${reason})`;
  });
  const more = ill.length > NAMED_MAX ? ` and ${ill.length - NAMED_MAX} more` : "";
  return oneLine(
    `${ill.length} of ${enabledCount} enabled services not healthy: ${named.join(", ")}${more}`,
  );
}

function countStates(
  reports: readonly SummarizedService[],
): Readonly<Record<ServiceState, number>> {
  const counts = Object.fromEntries(SERVICE_STATES.map((state) => [state, 0])) as Record<
    ServiceState,
    number
  >;
  for (const { state } of reports) counts[state] += 1;
  return counts;
}
