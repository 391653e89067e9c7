/** What is made of a machine's reports: summaries, changes, runs. Pure. */
import {
  MAX_STEPS_PER_RUN,
  type MachineReport,
  type MachineService,
  type StartupStep,
} from "@holdfast/contract";

/** What lists of machines show of a report. */
export interface ReportSummary {
  readonly services: { readonly total: number; readonly healthy: number };
  /** Configured services that are not healthy, at most {@link PROBLEMS_SHOWN}. */
  readonly problems: readonly {
    readonly name: string;
    readonly state: string;
    readonly reason: string;
  }[];
  readonly gpus: { readonly total: number; readonly faulty: number };
  readonly release: string | null;
  readonly healthPort: number | null;
}

/** A service that is in another state than at the report before. */
export interface ServiceChange {
  readonly service: string;
  readonly kind: string;
  readonly from: string | null;
  readonly to: string | null;
  readonly reason: string;
}

const PROBLEMS_SHOWN = 10;
/** Longest reason in a list. */
const REASON_SHOWN = 300;

/** The summary of a report. */
export function summarize(report: MachineReport): ReportSummary {
  const configured = report.services.filter(({ state }) => state !== "not_configured");
  const sick = configured.filter(({ state }) => state !== "healthy");
  return {
    services: { total: configured.length, healthy: configured.length - sick.length },
    problems: sick.slice(0, PROBLEMS_SHOWN).map(({ name, state, reason }) => ({
      name,
      state,
      reason: reason.slice(0, REASON_SHOWN).toWellFormed(),
    })),
    gpus: {
      total: report.gpus.length,
      faulty: report.gpus.filter(({ fault }) => fault !== null).length,
    },
    release: report.release?.id ?? null,
    healthPort: report.healthPort,
  };
}

/** Services that came, went or changed between two reports; nothing at the first report. */
export function serviceChanges(
  before: readonly Pick<MachineService, "name" | "kind" | "state">[] | null,
  after: readonly Pick<MachineService, "name" | "kind" | "state" | "reason">[],
): readonly ServiceChange[] {
  if (before === null) return [];
  const known = new Map(before.map((one) => [one.name, one]));
  const there = new Set(after.map(({ name }) => name));
  const changed = after.flatMap(({ name, kind, state, reason }): ServiceChange[] => {
    const from = known.get(name)?.state ?? null;
    return from === state ? [] : [{ service: name, kind, from, to: state, reason }];
  });
  const gone = before
    .filter(({ name }) => !there.has(name))
    .map(({ name, kind, state }): ServiceChange => ({
      service: name,
      kind,
      from: state,
      to: null,
      reason: "the machine does not name it any more",
    }));
  return [...changed, ...gone];
}

/** A run's steps after some were told. */
export interface MergedSteps {
  readonly steps: readonly StartupStep[];
  /** Steps that failed and had not before. */
  readonly newlyFailed: readonly StartupStep[];
  /** How many were told for which there was no room. */
  readonly omitted: number;
}

/** Puts told steps in the place of what is known of them, new ones behind; at most so many a run. */
export function mergeSteps(
  known: readonly StartupStep[],
  told: readonly StartupStep[],
): MergedSteps {
  const steps = new Map(known.map((step) => [step.id, step]));
  const newlyFailed = new Map<string, StartupStep>();
  let omitted = 0;
  for (const step of told) {
    const before = steps.get(step.id);
    if (before === undefined && steps.size >= MAX_STEPS_PER_RUN) {
      omitted += 1;
      continue;
    }
    steps.set(step.id, step);
    if (step.outcome === "failed" && before?.outcome !== "failed") newlyFailed.set(step.id, step);
    else if (step.outcome !== "failed") newlyFailed.delete(step.id);
  }
  return { steps: [...steps.values()], newlyFailed: [...newlyFailed.values()], omitted };
}
