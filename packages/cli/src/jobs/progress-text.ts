import type { JobView } from "@holdfast/contract";
import { plainText, shorten } from "../terminal/text-table.ts";

const BAR_WIDTH = 24;
/** Plain lines tell progress in steps of so many percent. */
const PLAIN_STEP = 20;

/** How a job stands in one short phrase: state, place in the graph, why it waits. */
export function stateText(job: JobView): string {
  const parts: string[] = [job.held ? "held" : job.status];
  if (job.attemptCount > 1) parts.push(`attempt ${job.attemptCount}`);
  if (job.status === "processing" && job.progress !== null) {
    const { nodesDone, nodesTotal } = job.progress;
    if (nodesTotal > 0) parts.push(`node ${Math.min(nodesDone + 1, nodesTotal)} of ${nodesTotal}`);
  }
  if (job.waitingReason !== null) parts.push(plainText(job.waitingReason));
  return parts.join(", ");
}

/** The progress line on a screen: a bar, percent, the phrase of {@link stateText}. */
export function progressBar(jobs: readonly JobView[], columns: number): string {
  const percent = meanPercent(jobs);
  const full = Math.round((percent / 100) * BAR_WIDTH);
  const bar = "█".repeat(full) + "░".repeat(BAR_WIDTH - full);
  const text = stateOfAll(jobs);
  return shorten(`${bar} ${String(Math.floor(percent)).padStart(3)} %  ${text}`, columns - 1);
}

function meanPercent(jobs: readonly JobView[]): number {
  if (jobs.length === 0) return 0;
  return jobs.reduce((sum, job) => sum + jobPercent(job), 0) / jobs.length;
}

function jobPercent(job: JobView): number {
  return job.endedAt === null ? Math.min(99, job.progress?.percent ?? 0) : 100;
}

/** How jobs stand: the phrase of one job, or how many are in each state. */
export function stateOfAll(jobs: readonly JobView[]): string {
  const [only] = jobs;
  if (jobs.length === 1 && only !== undefined) return `job ${only.number} ${stateText(only)}`;
  const counts = new Map<string, number>();
  for (const { status } of jobs) counts.set(status, (counts.get(status) ?? 0) + 1);
  const parts = [...counts].map(([status, count]) => `${count} ${status}`);
  return `${jobs.length} jobs: ${parts.join(", ")}`;
}

/**
 * The line to print for a job where no bar can be drawn, or undefined when nothing worth a line has
 * changed since `before`.
 */
export function progressLine(before: JobView | undefined, now: JobView): string | undefined {
  const key = (job: JobView): string =>
    [
      job.status,
      job.held,
      job.attemptCount,
      job.waitingReason,
      job.endedAt === null ? Math.floor(jobPercent(job) / PLAIN_STEP) : "end",
    ].join("|");
  if (before !== undefined && key(before) === key(now)) return undefined;
  const percent =
    now.status === "processing" && now.progress !== null ? ` ${Math.floor(jobPercent(now))} %` : "";
  return `job ${now.number}:${percent} ${stateText(now)}`;
}
