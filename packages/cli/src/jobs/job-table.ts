/** Jobs as a table. Pure. */
import type { JobView } from "@holdfast/contract";
import { durationText } from "../terminal/durations.ts";
import { textTable, type Column } from "../terminal/text-table.ts";
import { timeLeftText } from "./expectation-text.ts";

/** Lines of a list of jobs, head first. What no job of them has is no column: time left, why. */
export function jobTable(jobs: readonly JobView[], now: number, columns: number): string[] {
  const optional: readonly Column<JobView>[] = [
    { head: "LEFT", cell: timeLeftText },
    { head: "NAME", cell: (job) => job.name ?? job.tags.join(",") },
    { head: "WHY", cell: whyText },
  ];
  const shape: readonly Column<JobView>[] = [
    { head: "NO", cell: (job) => String(job.number), isRight: true },
    { head: "ID", cell: (job) => job.id },
    { head: "AGE", cell: (job) => durationText(Math.max(0, now - Date.parse(job.createdAt))) },
    { head: "TRIES", cell: (job) => String(job.attemptCount), isRight: true },
    { head: "OUT", cell: (job) => String(job.outputCount), isRight: true },
    { head: "STATUS", cell: (job) => job.status },
    ...optional.filter(({ head, cell }) => head === "NAME" || jobs.some((job) => cell(job) !== "")),
  ];
  return textTable(jobs, shape, columns);
}

function whyText(job: JobView): string {
  const steps = job.changes === null || job.changes.loss === "none" ? [] : job.changes.steps;
  return job.waitingReason ?? job.error?.message ?? steps.at(-1) ?? "";
}
