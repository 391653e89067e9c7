import { judgeSla, NO_SLA_FACTS } from "@holdfast/load";
import { sampledGraph } from "../graphs.ts";
import { finding, type ObservedJob } from "../observed.ts";
import { pictures, type Scenario } from "../scenario.ts";
import { failedAttempts, oneAttemptEach, renderedOnce } from "./checks.ts";

const MODEL = "v1-5-pruned-emaonly.safetensors";
const LOAD_MS = 14_000;
const HOUR_MS = 3_600_000;
const MS_PER_SECOND = 1_000;
const ONE_MACHINE = { comfyuis: 1, isOneMachine: true, replicas: 1 } as const;
/** Targets that this scenario does not speak of. */
const OTHERS = {
  imagesPerMinuteMin: null,
  simultaneousBooksMin: null,
  failedPercentMax: null,
  recoverySecondsMax: null,
};

/** A target that the jobs kept before the fault, whatever this host is like, with room to spare. */
function targetMs(baselineP95Ms: number): number {
  return 2 * baselineP95Ms + MS_PER_SECOND;
}

/** The 95th percentile from the submit to the end, by the server's clock; null without a job. */
export function p95Ms(jobs: readonly ObservedJob[]): number | null {
  const times = jobs
    .flatMap(({ job }) =>
      job === null || job.endedAt === null
        ? []
        : Date.parse(job.endedAt) - Date.parse(job.createdAt),
    )
    .toSorted((one, other) => one - other);
  return times[Math.ceil(times.length * 0.95) - 1] ?? null;
}

/** A node that sleeps makes every job slow. */
export const artificialLatency: Scenario = {
  name: "artificial-latency",
  title: "a node that sleeps makes every job slow",
  expectation: "p95 rises, and the verdict on the SLA follows: met without, breached with it",
  plan: ONE_MACHINE,
  bare: { notHere: "nothing is lost by it; a bare client has no SLA to judge" },
  real: "possible",
  baseline: (facts) => pictures(facts, 0),
  work: (facts) => {
    // Jobs wait for each other on one card: the last one waits for all.
    const wantedMs = 2 * targetMs(facts.baselineP95Ms ?? 0);
    const seconds = wantedMs / MS_PER_SECOND / facts.count;
    // Other colours than those of the baseline: what was rendered once is cached.
    return pictures(facts, seconds).map((job) => ({
      ...job,
      graph: facts.picture(job.index + facts.count, seconds),
    }));
  },
  async begin({ struck }) {
    const before = await struck.counts();
    return {
      how: "every graph has a node that sleeps",
      async struck() {
        const now = await struck.counts();
        // Of a real ComfyUI nobody counts it: p95 has to show it.
        return before === null || now === null ? null : now.sleeps - before.sleeps;
      },
      end: () => Promise.resolve(),
    };
  },
  check({ jobs, baseline }) {
    const before = p95Ms(baseline);
    const after = p95Ms(jobs);
    if (before === null || after === null) return [finding(false, "no latency was measured")];
    const latencyP95SecondsMax = targetMs(before) / MS_PER_SECOND;
    const stateOf = (ms: number, from: number): string =>
      judgeSla(
        { ...OTHERS, latencyP95SecondsMax },
        { ...NO_SLA_FACTS, latencyP95Seconds: { value: ms / MS_PER_SECOND, from } },
      ).state;
    const [was, is] = [stateOf(before, baseline.length), stateOf(after, jobs.length)];
    const text = (ms: number): string => `${(ms / MS_PER_SECOND).toFixed(2)} s`;
    return [
      finding(after > before, `p95 rose from ${text(before)} to ${text(after)}`),
      finding(
        was === "met" && is === "breached",
        `the SLA of ${text(targetMs(before))} is ${was} without and ${is} with it`,
      ),
    ];
  },
};

/** A model takes longer to load than a render may be silent. */
export const slowModelLoad: Scenario = {
  name: "slow-model-load",
  title: "a model takes 14 s to load; 10 s of silence is a stall",
  expectation: "it is not taken for a stall: every job completes at its first attempt",
  plan: {
    ...ONE_MACHINE,
    settings: { HOLDFAST_STALL_MS: "10000", HOLDFAST_FIRST_LOAD_STALL_MS: "60000" },
  },
  bare: "possible",
  real: { notHere: "a real model loads as fast as it loads" },
  work: ({ count }) =>
    Array.from({ length: count }, (_, index) => ({
      index,
      graph: sampledGraph(index, MODEL),
      expected: "completed",
    })),
  async begin({ struck }) {
    const rule = await struck.add({ kind: "slow_load", ms: LOAD_MS });
    return {
      how: `the first load of a model took ${LOAD_MS / MS_PER_SECOND} s longer`,
      struck: () => rule.struck(),
      end: () => rule.remove(),
    };
  },
  check: (seen) => [...renderedOnce(seen), oneAttemptEach(seen)],
};

/** Whether both clocks are off as they should be, as was seen of each: an id is on its way for a while. */
export function areSkewed(agentMs: number | null, replicaMs: number | null): boolean {
  const isNear = (ms: number | null, wantedMs: number): boolean =>
    ms !== null && Math.abs(ms - wantedMs) < HOUR_MS / 2;
  return isNear(agentMs, HOUR_MS) && isNear(replicaMs, -HOUR_MS);
}

/** Clocks are an hour off, in both directions. */
export const clockSkew: Scenario = {
  name: "clock-skew",
  title: "a machine's clock is an hour ahead, and a replica's an hour behind",
  expectation: "nothing ends too soon or never: every job completes at its first attempt",
  plan: {
    comfyuis: 1,
    isOneMachine: true,
    replicas: 2,
    skew: { agentMs: HOUR_MS, replicaMs: -HOUR_MS },
  },
  bare: { notHere: "a bare client asks no clock" },
  real: "possible",
  work: (facts) => pictures(facts, 0.4),
  begin: ({ holdfast }) =>
    Promise.resolve({
      how: "the agent's clock is 1 h ahead, the second replica's 1 h behind, by the ids that they mint",
      async struck() {
        const agentMs = await holdfast?.agents[0]?.clockOffMs();
        const replicaMs = await holdfast?.replicas[1]?.clockOffMs();
        return areSkewed(agentMs ?? null, replicaMs ?? null) ? 1 : 0;
      },
      end: () => Promise.resolve(),
    }),
  check(seen) {
    const odd = seen.jobs.filter(({ job, attempts }) => {
      const times = [job?.createdAt, job?.startedAt, job?.endedAt].map((at) =>
        Date.parse(at ?? ""),
      );
      const isOrdered = times.every((at, i) => i === 0 || at >= (times[i - 1] ?? Infinity));
      return (
        !isOrdered ||
        attempts.some((one) => Date.parse(one.endedAt ?? "") < Date.parse(one.grantedAt))
      );
    });
    const lost = failedAttempts(seen).filter(({ outcome }) => outcome === "lease_lost").length;
    return [
      oneAttemptEach(seen),
      ...renderedOnce(seen),
      finding(lost === 0, `${lost} leases lost`),
      finding(
        odd.length === 0,
        `times in order: ${seen.jobs.length - odd.length} of ${seen.jobs.length} jobs`,
      ),
    ];
  },
};
