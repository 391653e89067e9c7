/** The fleet's values as the wire has them. Pure. */
import {
  TIMELINE_POINTS,
  type FleetMachineView,
  type FleetStatus,
  type LeverView,
} from "@holdfast/contract";
import {
  rateText,
  reasonText,
  type BreakerPolicy,
  type BreakerView,
  type MachineSigns,
} from "@holdfast/fleet";
import type { Lever, StoredMachine } from "./model.ts";

const MS_PER_MINUTE = 60_000;

/** Epoch ms as an instant of the wire. */
export function toInstant(ms: number): string {
  return new Date(ms).toISOString();
}

function orNull(ms: number | null | undefined): string | null {
  return ms === null || ms === undefined ? null : toInstant(ms);
}

/** A lever. */
export function toLeverView(lever: Lever): LeverView {
  const { kind, value } = lever;
  return {
    ...lever,
    value: (kind === "clear" && typeof value === "number"
      ? toInstant(value)
      : value) as LeverView["value"],
    madeAt: toInstant(lever.madeAt),
    undoneAt: orNull(lever.undoneAt),
  };
}

/** A machine, with what its agent tells. */
export function toMachineView(
  machine: StoredMachine,
  signs: MachineSigns,
  now: number,
): FleetMachineView {
  const { end, trouble } = machine;
  return {
    id: machine.id,
    name: machine.name,
    pool: machine.pool,
    provider: machine.provider,
    state: machine.state,
    isHealthy: signs.isHealthy && end === null,
    heartbeatAgeMs:
      signs.heartbeatAt === null ? null : Math.max(0, Math.round(now - signs.heartbeatAt)),
    machineId: machine.machineId,
    ref: machine.ref,
    gpuType: machine.offer?.gpuType ?? null,
    pricePerHour: machine.pricePerHour,
    jobs: signs.jobCount,
    askedAt: toInstant(machine.askedAt),
    createdAt: orNull(machine.createdAt),
    healthyAt: orNull(machine.healthyAt),
    endedAt: orNull(end?.at),
    endCause: end?.cause ?? null,
    endKind: end?.kind ?? null,
    reason: end?.reason ?? machine.endRequest?.reason ?? trouble,
    forcedBy: machine.forcedBy,
  };
}

/** Failures that are told one by one. */
const FAILURES_TOLD = 20;

/** The machines whose failure counts at `now`, the last one first. */
export function toFailures(
  machines: readonly StoredMachine[],
  { windowMs, clearedBefore }: BreakerPolicy,
  now: number,
): readonly StoredMachine[] {
  const endedAt = ({ end }: StoredMachine): number => end?.at ?? 0;
  const after = now - windowMs;
  return machines
    .filter(({ end }) => end?.cause === "failed")
    .filter((one) => endedAt(one) > after && endedAt(one) >= (clearedBefore ?? 0))
    .toSorted((one, other) => endedAt(other) - endedAt(one))
    .slice(0, FAILURES_TOLD);
}

/** The breaker; while the fleet is paused nothing is started, whatever the rate is. */
export function toBreakerView(
  view: BreakerView,
  policy: BreakerPolicy,
  pauses: readonly Pick<Lever, "madeBy" | "reason">[],
  timelineMax = TIMELINE_POINTS,
): FleetStatus["breaker"] {
  const timeline = toTimeline(view, timelineMax);
  const isPaused = pauses.length > 0;
  const isBlocked = isPaused || view.state === "open" || view.probeAt !== null;
  return {
    state: view.state === "half_open" ? "half-open" : view.state,
    rate: view.rate,
    failed: view.failed,
    seen: view.seen,
    text: rateText(view, policy.windowMs),
    threshold: policy.threshold,
    windowMinutes: policy.windowMs / MS_PER_MINUTE,
    minimum: policy.minimum,
    clearedBefore: orNull(policy.clearedBefore),
    spawning: isBlocked ? "BLOCKED" : "ALLOWED",
    reason: isPaused ? pausedText(pauses) : reasonText(view, policy),
    since: orNull(view.since),
    resumesAt: orNull(view.resumesAt),
    probeAt: orNull(view.probeAt),
    timeline: timeline.map(({ at, rate }) => ({ at: toInstant(at), rate })),
    timelineLeftOut: view.timeline.length - timeline.length,
    causes: { ...view.causes },
  };
}

/** The soonest points, and the one that whoever waits looks for. */
function toTimeline(
  { timeline, resumesAt }: Pick<BreakerView, "timeline" | "resumesAt">,
  max: number,
): BreakerView["timeline"] {
  if (timeline.length <= max) return timeline;
  const resumes = timeline.slice(max).findLast(({ at }) => at === resumesAt);
  const kept = timeline.slice(0, resumes === undefined ? max : max - 1);
  return resumes === undefined ? kept : [...kept, resumes];
}

function pausedText(pauses: readonly Pick<Lever, "madeBy" | "reason">[]): string {
  const each = pauses.map(({ madeBy, reason }) => `by ${madeBy}: ${reason}`);
  return `the fleet is paused ${each.join("; and ")}`;
}
