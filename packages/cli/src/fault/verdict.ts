import type { Finding, Observed, ObservedJob } from "./observed.ts";
import { finding } from "./observed.ts";

/** What a scenario came to. */
export interface Verdict {
  readonly state: "passed" | "failed";
  /** What did not hold; empty when it passed. */
  readonly reasons: readonly string[];
  /** What held, in words that show it. */
  readonly evidence: readonly string[];
}

/** Reasons of one kind that are told one by one. */
const REASONS_SHOWN = 6;

/** Judges what was seen: the fault struck, every promise is kept, and what was expected of it came. */
export function judge(observed: Observed, check: (seen: Observed) => readonly Finding[]): Verdict {
  const findings = [struckFinding(observed), ...promiseFindings(observed), ...check(observed)];
  const reasons = findings.filter(({ holds }) => !holds).map(({ words }) => words);
  return {
    state: reasons.length === 0 ? "passed" : "failed",
    reasons,
    evidence: findings.filter(({ holds }) => holds).map(({ words }) => words),
  };
}

/** A fault that never came proves nothing. */
function struckFinding({ fault }: Observed): Finding {
  const { how, struck } = fault;
  if (struck === null) return finding(true, `${how} (how often cannot be counted)`);
  return struck > 0
    ? finding(true, struck === 1 ? how : `${how} (${struck} times)`)
    : finding(false, `the fault never struck: ${how}`);
}

/** The promises that hold whatever happens: no job lost, every job ended, no output missing or doubled. */
export function promiseFindings({ jobs }: Observed): readonly Finding[] {
  const broken = jobs.flatMap((one) => brokenPromises(one));
  if (broken.length > 0) {
    const left = broken.length - REASONS_SHOWN;
    const shown = broken.slice(0, REASONS_SHOWN).map((words) => finding(false, words));
    return left > 0 ? [...shown, finding(false, `… and ${left} more`)] : shown;
  }
  if (jobs.length === 0) return [finding(false, "no job was accepted: nothing was tried")];
  const completed = jobs.filter(({ job }) => job?.status === "completed").length;
  const outputs = jobs.reduce((sum, one) => sum + one.outputs.length, 0);
  const compared = jobs.filter(isCompared).length;
  return [
    finding(true, `${jobs.length} of ${jobs.length} jobs ended, ${completed} completed`),
    finding(true, `${outputs} outputs whole, pictures of ${compared} compared, none doubled`),
  ];
}

/** The promises that are broken for one job. */
export function brokenPromises(one: ObservedJob): readonly string[] {
  const { job, work, attempts, events, outputs } = one;
  const name = `job ${work.index + 1}`;
  if (job === null) return [`${name} was accepted and is gone`];
  if (job.endedAt === null) return [`${name} has not ended: ${job.status}, ${waitOf(one)}`];
  if (work.expected === "flagged") {
    return job.status === "failed" ? [] : [`${name} cannot be rendered and is ${job.status}`];
  }
  if (job.status !== "completed") {
    const why = job.error === null ? "" : `: ${job.error.class}: ${job.error.message}`;
    return [`${name} is lost, ${job.status}${why}`];
  }
  const bad: string[] = [];
  const succeeded = attempts.filter(({ outcome }) => outcome === "succeeded").length;
  if (succeeded !== 1) bad.push(`${name}: ${succeeded} attempts succeeded`);
  const open = attempts.filter(({ endedAt }) => endedAt === null).length;
  if (open > 0) bad.push(`${name} completed, and ${open} of its attempts go on`);
  const completions = events.filter((type) => type === "job.completed").length;
  if (completions !== 1) bad.push(`${name} was completed ${completions} times`);
  const cut = outputs.filter(({ isWhole }) => !isWhole).length;
  if (cut > 0) bad.push(`${name}: ${cut} of its outputs are not whole`);
  const expected = one.reference?.length ?? 1;
  if (outputs.length !== expected) {
    bad.push(`${name} has ${outputs.length} outputs instead of ${expected}`);
  } else if (isCompared(one) && !hasSamePictures(one)) {
    bad.push(`${name}: its picture is not the one that an undisturbed ComfyUI renders`);
  }
  return bad;
}

/** Recovery that changed the picture says so; then it is not the same. */
function isCompared({ reference, job, work }: ObservedJob): boolean {
  const isSame = job?.changes === null || job?.changes.loss === "none";
  return reference !== null && isSame && work.expected === "completed";
}

function hasSamePictures({ outputs, reference }: ObservedJob): boolean {
  const sorted = (pictures: readonly string[]): string => [...pictures].toSorted().join();
  return sorted(outputs.map(({ picture }) => picture)) === sorted(reference ?? []);
}

function waitOf({ job, attempts }: ObservedJob): string {
  return (
    job?.waitingReason ?? `attempt ${attempts.length}, ${attempts.at(-1)?.state ?? "not begun"}`
  );
}
