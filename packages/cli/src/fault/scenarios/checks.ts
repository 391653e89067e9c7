import type { AttemptView } from "@holdfast/contract";
import { finding, type Finding, type Observed, type ObservedJob } from "../observed.ts";

/** Names shown where a finding is about several. */
const SHOWN = 4;

/** All attempts that did not succeed. */
export function failedAttempts({ jobs }: Observed): readonly AttemptView[] {
  return jobs.flatMap(({ attempts }) => attempts.filter(({ outcome }) => outcome !== "succeeded"));
}

/** Whether some attempt failed by one of these classes, and the jobs were completed all the same. */
export function sawClass(seen: Observed, ...classes: readonly string[]): Finding {
  const found = failedAttempts(seen).filter(({ error }) => classes.includes(error?.class ?? ""));
  const others = namesOf(failedAttempts(seen).map(({ outcome, error }) => error?.class ?? outcome));
  return found.length > 0
    ? finding(
        true,
        `${found.length} attempts failed as ${namesOf(found.map(({ error }) => error?.class ?? null))}`,
      )
    : finding(
        false,
        `expected an attempt that failed as ${classes.join(" or ")}, found ${others || "none"}`,
      );
}

/** Whether some attempt ended in one of these ways. */
export function sawOutcome(seen: Observed, ...outcomes: readonly string[]): Finding {
  const found = failedAttempts(seen).filter(({ outcome }) => outcomes.includes(outcome ?? ""));
  const others = namesOf(failedAttempts(seen).map(({ outcome }) => outcome));
  return found.length > 0
    ? finding(
        true,
        `${found.length} attempts ended ${namesOf(found.map(({ outcome }) => outcome))}`,
      )
    : finding(
        false,
        `expected an attempt that ended ${outcomes.join(" or ")}, found ${others || "none"}`,
      );
}

/** Whether every job took one attempt. */
export function oneAttemptEach({ jobs }: Observed): Finding {
  const more = jobs.filter(({ attempts }) => attempts.length !== 1);
  return more.length === 0
    ? finding(true, "every job took one attempt")
    : finding(
        false,
        `expected one attempt each, found ${more.map(attemptsText).slice(0, SHOWN).join("; ")}`,
      );
}

/** Whether some job that failed on the first instance was completed on another. */
export function renderedElsewhere({ jobs }: Observed, what: string): Finding {
  const moved = jobs.filter(({ attempts }) => {
    const first = attempts.find(({ outcome }) => outcome !== "succeeded");
    const last = attempts.find(({ outcome }) => outcome === "succeeded");
    return first !== undefined && last !== undefined && first.instanceName !== last.instanceName;
  });
  return finding(
    moved.length > 0,
    moved.length > 0
      ? `${moved.length} jobs were rendered ${what}`
      : `no job that failed was rendered ${what}`,
  );
}

/** Whether nothing was tried more often than this. */
export function attemptsAtMost({ jobs }: Observed, most: number): Finding {
  const longest = Math.max(0, ...jobs.map(({ attempts }) => attempts.length));
  return finding(longest <= most, `at most ${longest} attempts a job (${most} would be all right)`);
}

/** Whether no job has spent anything of its own on the fault. */
export function noFailureOfTheirOwn({ jobs }: Observed): Finding {
  const burnt = jobs.filter(({ job }) => (job?.failureCount ?? 0) > 0);
  const attempts = jobs.reduce((sum, one) => sum + one.attempts.length, 0);
  return finding(
    burnt.length === 0,
    burnt.length === 0
      ? `no job was blamed for it (${attempts} attempts for ${jobs.length} jobs)`
      : `${burnt.length} jobs were blamed for what was not their fault`,
  );
}

/**
 * Whether ComfyUI rendered as many pictures as there are jobs: an attempt can look like one, and have been
 * sent twice. Nothing is found where ComfyUI does not count.
 */
export function renderedOnce({ jobs, renders }: Observed): readonly Finding[] {
  if (renders === null) return [];
  return [finding(renders === jobs.length, `${renders} renders for ${jobs.length} jobs`)];
}

/** Whether some job completed while the fault was in force. */
export function completedMeanwhile({ jobs, fault: { span } }: Observed, when: string): Finding {
  const done = jobs.filter(({ job }) => {
    const at = Date.parse(job?.endedAt ?? "");
    return span !== null && job?.status === "completed" && at >= span.fromMs && at <= span.untilMs;
  });
  return finding(
    done.length > 0,
    done.length > 0
      ? `${done.length} of ${jobs.length} jobs completed ${when}`
      : `expected jobs that completed ${when}, found none`,
  );
}

/** Whether some job was accepted before the fault, and completed after it had begun. */
export function outlivedIt({ jobs, fault: { span } }: Observed, what: string): Finding {
  const lived = jobs.filter(
    ({ job }) =>
      span !== null &&
      job?.status === "completed" &&
      Date.parse(job.createdAt) < span.fromMs &&
      Date.parse(job.endedAt ?? "") > span.fromMs,
  );
  return finding(
    lived.length > 0,
    `${lived.length} of ${jobs.length} jobs were accepted before ${what} and completed after`,
  );
}

/** Whether an alert of a rule was delivered. */
export function wasTold({ told }: Observed, rule: string): Finding {
  const found = told.find((one) => one.rule === rule && one.status === "firing");
  return found === undefined
    ? finding(
        false,
        `the receiver was not told of ${rule}; told: ${namesOf(told.map((one) => one.rule)) || "nothing"}`,
      )
    : finding(true, `alert ${rule} sent: ${found.summary}`);
}

function attemptsText({ work, attempts }: ObservedJob): string {
  const ends = attempts.map(({ outcome, error }) => error?.class ?? outcome ?? "open");
  return `job ${work.index + 1}: ${ends.join(", ")}`;
}

function namesOf(names: readonly (string | null)[]): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name ?? "open", (counts.get(name ?? "open") ?? 0) + 1);
  return [...counts].map(([name, count]) => (count === 1 ? name : `${name} ×${count}`)).join(", ");
}
