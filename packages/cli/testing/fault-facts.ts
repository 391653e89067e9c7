import type { AttemptView, JobView } from "@holdfast/contract";
import type { Observed, ObservedJob } from "../src/fault/observed.ts";

const AT = "2026-11-28T12:00:00.000Z";

/** An attempt that succeeded, with other facts over it. */
export function attemptFact(facts: Partial<AttemptView> = {}): AttemptView {
  return {
    id: "att_1",
    number: 1,
    round: 1,
    instanceId: "ins_1",
    instanceName: "http://a",
    machineId: "mch_1",
    promptId: "p",
    state: "ended",
    outcome: "succeeded",
    error: null,
    evidence: null,
    decision: null,
    grantedAt: AT,
    startedAt: AT,
    endedAt: AT,
    timings: {},
    resume: null,
    checkpoints: [],
    ...facts,
  } as AttemptView;
}

/** A job that was completed as it should be; `job` over its view, the rest over what was seen. */
export function jobFact(
  index: number,
  facts: Partial<ObservedJob> & { readonly view?: Partial<JobView> } = {},
): ObservedJob {
  const { view, ...rest } = facts;
  const job = {
    id: `job_${index}`,
    number: index + 1,
    status: "completed",
    error: null,
    changes: null,
    failureCount: 0,
    waitingReason: null,
    createdAt: AT,
    startedAt: AT,
    endedAt: AT,
    ...view,
  } as JobView;
  return {
    work: { index, graph: {}, expected: "completed" },
    job,
    attempts: [attemptFact()],
    events: ["job.queued", "job.completed"],
    outputs: [{ name: "a.png", isWhole: true, picture: `picture ${index}` }],
    reference: [`picture ${index}`],
    ...rest,
  };
}

/** What was seen where all went well. */
export function observedFact(facts: Partial<Observed> = {}): Observed {
  return {
    jobs: [jobFact(0), jobFact(1)],
    baseline: [],
    pages: [],
    told: [],
    renders: null,
    fault: { how: "a fault", struck: 1, span: null },
    ...facts,
  };
}
