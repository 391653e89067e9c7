/** What the jobs of the steady state come to, together and by workflow. */
import { invariant } from "@holdfast/runtime";
import { WORKFLOWS_MAX } from "../plan/mix.ts";
import type { JobSample } from "../sample/job-sample.ts";
import {
  allOf,
  countOutcome,
  endedOf,
  noCounts,
  successRateOf,
  type OutcomeCounts,
} from "./counts.ts";
import type { LoadSummary } from "./model.ts";
import { createPhaseHistograms, type PhaseHistograms } from "./phase-histograms.ts";

/** What is of the steady state alone. */
export type SteadyLoad = Pick<
  LoadSummary,
  "steady" | "successRate" | "throughputPerMinute" | "imagesPerMinute" | "phases" | "byWorkflow"
>;

/** Takes jobs that are no warm-up. */
export interface SteadyCounts {
  add(sample: JobSample): void;
  jobs(): number;
  measured(): SteadyLoad;
}

interface Workflow {
  readonly counts: OutcomeCounts;
  readonly phases: PhaseHistograms;
}

const MS_PER_SECOND = 1_000;
const MS_PER_MINUTE = 60_000;

/** No steady job yet. `span`: of an open loop, until when the jobs up to an index stand for its pace. */
export function createSteadyCounts(
  span: ((lastIndex: number) => number) | null = null,
): SteadyCounts {
  const counts = noCounts();
  const phases = createPhaseHistograms();
  const workflows = new Map<string, Workflow>();
  let outputs = 0;
  let firstMs = Number.POSITIVE_INFINITY;
  let lastMs = 0;
  let lastIndex = -1;

  const ofWorkflow = (name: string): Workflow => {
    const known = workflows.get(name);
    if (known !== undefined) return known;
    invariant(workflows.size < WORKFLOWS_MAX, "samples of more workflows than a mix may have");
    const workflow = { counts: noCounts(), phases: createPhaseHistograms() };
    workflows.set(name, workflow);
    return workflow;
  };
  return {
    add(sample) {
      countOutcome(counts, sample.outcome);
      firstMs = Math.min(firstMs, sample.begunMs);
      lastMs = Math.max(lastMs, sample.endedMs);
      lastIndex = Math.max(lastIndex, sample.index);
      if (sample.outcome === "completed") outputs += sample.outputs;
      phases.add(sample);
      const workflow = ofWorkflow(sample.workflow);
      countOutcome(workflow.counts, sample.outcome);
      workflow.phases.add(sample);
    },
    jobs: () => allOf(counts),
    measured() {
      const jobs = allOf(counts);
      const untilMs = jobs === 0 ? lastMs : Math.max(lastMs, span?.(lastIndex) ?? 0);
      const minutes = (untilMs - firstMs) / MS_PER_MINUTE;
      const [fromSeconds, untilSeconds] = [firstMs / MS_PER_SECOND, untilMs / MS_PER_SECOND];
      return {
        steady: jobs === 0 ? null : { jobs, ended: endedOf(counts), fromSeconds, untilSeconds },
        successRate: successRateOf(counts),
        throughputPerMinute: minutes > 0 ? counts.completed / minutes : null,
        imagesPerMinute: minutes > 0 ? outputs / minutes : null,
        phases: phases.summary(),
        byWorkflow: [...workflows].sort(([a], [b]) => (a < b ? -1 : 1)).map(toWorkflow),
      };
    },
  };
}

function toWorkflow([workflow, { counts, phases }]: readonly [
  string,
  Workflow,
]): SteadyLoad["byWorkflow"][number] {
  return {
    workflow,
    jobs: allOf(counts),
    completed: counts.completed,
    successRate: successRateOf(counts),
    phases: phases.summary(),
  };
}
