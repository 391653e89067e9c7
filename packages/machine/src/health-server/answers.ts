/** From what the registry knows to what goes out. */
import type { MachineSummary } from "../services/machine-summary.ts";
import type { ServiceReport, ServiceTransition } from "../services/model.ts";
import type { HealthAnswer, MachineFacts, ServiceAnswer, TransitionAnswer } from "./model.ts";

/** A report as it goes out: the same with instants as text. */
export function toServiceAnswer(report: ServiceReport): ServiceAnswer {
  const { runtime, check } = report;
  return {
    ...report,
    since: toInstant(report.since),
    runtime: { ...runtime, startedAt: toInstantOrNull(runtime.startedAt) },
    check: { ...check, checkedAt: toInstantOrNull(check.checkedAt) },
    dependencies: [...report.dependencies],
    transitions: report.transitions.map(toTransitionAnswer),
    details: { ...report.details },
  };
}

/** A transition as it goes out. */
export function toTransitionAnswer({ at, from, to, reason }: ServiceTransition): TransitionAnswer {
  return { at: toInstant(at), from, to, reason };
}

/** What is known of this program. */
export interface ProgramFacts {
  readonly version: string;
  /** Epoch ms. */
  readonly startedAt: number;
  readonly uptimeMs: number;
}

/** The machine's summary as it goes out. */
export function toHealthAnswer(
  summary: MachineSummary,
  facts: MachineFacts,
  program: ProgramFacts,
): HealthAnswer {
  return {
    state: summary.state,
    reason: summary.reason,
    ready: summary.isReady,
    version: program.version,
    startedAt: toInstant(program.startedAt),
    uptimeSeconds: Math.floor(program.uptimeMs / 1000),
    services: { ...summary.counts },
    ...facts,
  };
}

/** Epoch ms as it goes out. */
export function toInstant(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

function toInstantOrNull(epochMs: number | null): string | null {
  return epochMs === null ? null : toInstant(epochMs);
}
