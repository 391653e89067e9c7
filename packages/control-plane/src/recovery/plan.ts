/** What would be done about an error, without doing it. Pure. */
import type { JobPolicy, RecoveryPlan, RecoveryPlanRequest } from "@holdfast/contract";
import {
  classify,
  EVIDENCE_CHANNELS,
  LADDERS,
  limitEvidence,
  LOSS_LEVELS,
  type ErrorClass,
  type FailureEvidence,
} from "@holdfast/recovery";

/** The plan for an error under a policy. */
export function planFor(error: RecoveryPlanRequest["error"], policy: JobPolicy): RecoveryPlan {
  const { subclass, confidence, strategy, ...classified } = classify(toEvidence(error));
  return {
    success: true,
    class: classified.class,
    subclass,
    confidence,
    strategy,
    steps: stepsFor(classified.class, policy),
  };
}

/** The rungs of the class's ladder that the policy allows, in the order in which they are tried. */
function stepsFor(errorClass: ErrorClass, policy: JobPolicy): RecoveryPlan["steps"] {
  const allowed = LOSS_LEVELS.slice(0, LOSS_LEVELS.indexOf(policy.maxLoss ?? "content") + 1);
  return LADDERS[errorClass]
    .filter(({ loss }) => allowed.includes(loss))
    .map(({ name, loss, does }) => ({ rung: name, loss, explain: does }));
}

/** A bare message counts as one of ComfyUI's own, as `holdfast classify` takes it. */
function toEvidence(error: RecoveryPlanRequest["error"]): FailureEvidence {
  if (typeof error === "string") return limitEvidence({ channel: "execution", message: error });
  const channel = EVIDENCE_CHANNELS.find((known) => known === error.channel) ?? "execution";
  return limitEvidence({ ...(error as Omit<FailureEvidence, "channel">), channel });
}
