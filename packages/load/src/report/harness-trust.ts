/** Whether the harness kept up: where it did not, a run measured the harness, not the target. */
import type { LoadSummary } from "../summary/model.ts";

/** Late jobs and a held-up event loop below these are noise of any host. */
const LATE_MS = 50;
const LOOP_MS = 50;
/** Of the median latency: what is less than this changes no conclusion. */
const SHARE_OF_LATENCY = 0.05;

/** Why figures of a run are not to be trusted; empty where nothing speaks against them. */
export function harnessDoubts({ harness, phases, jobs }: LoadSummary): readonly string[] {
  const { lateP99Ms, eventLoopP99Ms } = harness;
  const latency = phases.total?.p50 ?? null;
  const matters = (ms: number | null, least: number): ms is number =>
    ms !== null && ms > Math.max(least, (latency ?? 0) * SHARE_OF_LATENCY);
  const doubts: string[] = [];
  if (matters(lateP99Ms, LATE_MS)) {
    doubts.push(
      `1 job in 100 began ${Math.round(lateP99Ms)} ms or more after it was due. Latencies count from when it was due, so they have the harness's own lateness in them.`,
    );
  }
  if (matters(eventLoopP99Ms, LOOP_MS)) {
    doubts.push(
      `The harness's own process was held up ${Math.round(eventLoopP99Ms)} ms or more at a time (p99): times may be too long by that. Run it on a host with less to do.`,
    );
  }
  if (jobs.neverBegun > 0) {
    doubts.push(
      `${jobs.neverBegun} ${jobs.neverBegun === 1 ? "job was" : "jobs were"} due and never sent: the target took less than the pace wanted. They are in no latency.`,
    );
  }
  return doubts;
}
