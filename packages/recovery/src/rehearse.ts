/**
 * What would be done about an error: the decisions that a job would meet if every attempt failed the same
 * way, made by the very function that makes them in earnest. Nothing is run. Pure.
 */
import { seededRandom } from "@holdfast/runtime";
import type { SkippedRung } from "./graph/recipe.ts";
import type { LossLevel, RungName } from "./ladder.ts";
import { decideRecovery, type ChangeFacts } from "./recover.ts";
import type {
  EarlierFailure,
  FailedOutcome,
  OtherInstance,
  RetryFacts,
  RetryPlace,
  RetryReason,
} from "./retry-model.ts";

/** One thing that would be tried. */
export interface RehearsedStep {
  /** The attempt that it would lead to; the first one is the one that failed. */
  readonly attempt: number;
  readonly rung: RungName | null;
  readonly loss: LossLevel;
  readonly where: RetryPlace;
  /** The wait before it; waits with jitter are shown as one of their possible lengths. */
  readonly delayMs: number;
  readonly explain: string;
}

/** The whole plan. */
export interface Rehearsal {
  readonly steps: readonly RehearsedStep[];
  readonly end: {
    readonly kind: "fail" | "poison";
    readonly reason: RetryReason;
    readonly explain: string;
  };
  /** Rungs that would be passed over when the first change of the graph is looked for, and why. */
  readonly skipped: readonly SkippedRung[];
}

/** What a rehearsal begins with: the first failure of a job. */
export interface RehearsalFacts {
  readonly outcome: FailedOutcome;
  readonly retry: Omit<RetryFacts, "outcome" | "earlierFailures" | "others">;
  /** Every instance that could run the job, that of the failure included. */
  readonly servers: readonly OtherInstance[];
  readonly change: ChangeFacts | null;
}

/** More decisions than any job can meet: ten recoveries and twenty changes at most. */
const STEPS_MAX = 64;

/** Rehearses a job's recovery. */
export function rehearse(facts: RehearsalFacts): Rehearsal {
  const random = seededRandom(1);
  const steps: RehearsedStep[] = [];
  const failures: EarlierFailure[] = [];
  const dead = new Set(facts.retry.deathsOnInstances);
  let { instanceId } = facts.retry;
  let avoided: readonly string[] = [];
  let { change } = facts;
  let skipped: readonly SkippedRung[] = [];
  for (;;) {
    const here = facts.servers.find(({ id }) => id === instanceId);
    if (facts.outcome === "instance_died" && instanceId !== null) dead.add(instanceId);
    const recovery = decideRecovery(
      {
        ...facts.retry,
        outcome: facts.outcome,
        instanceId,
        machineId: here?.machineId ?? facts.retry.machineId,
        card: here?.card ?? facts.retry.card,
        earlierFailures: failures,
        deathsOnInstances: [...dead],
        others: facts.servers.filter(({ id }) => id !== instanceId && !avoided.includes(id)),
      },
      change,
      random,
    );
    const { decision } = recovery;
    if (skipped.length === 0) skipped = recovery.skipped;
    if (decision.kind !== "retry" || steps.length >= STEPS_MAX) {
      const { reason, explain } = decision;
      const kind = decision.kind === "poison" ? "poison" : "fail";
      return { steps, end: { kind, reason, explain }, skipped };
    }
    const { class: errorClass, custom } = facts.retry.error;
    failures.push({
      outcome: facts.outcome,
      class: errorClass,
      instanceId,
      customType: custom?.errorType ?? null,
    });
    steps.push({
      attempt: steps.length + 2,
      rung: decision.rung,
      loss: recovery.change?.loss ?? "none",
      where: decision.where,
      delayMs: decision.delayMs,
      explain: decision.explain,
    });
    avoided = recovery.change === null ? [...avoided, ...decision.avoid] : [];
    if (change !== null && recovery.change !== null) {
      change = { ...change, recipe: recovery.change.recipe };
    }
    if (decision.where === "elsewhere") {
      instanceId = facts.servers.find(({ id }) => !avoided.includes(id))?.id ?? instanceId;
    }
  }
}
