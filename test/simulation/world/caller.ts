/** Whoever submits jobs: with a key for each, again and again until it is answered. */
import { isHoldfastError, type SubmitJob } from "@holdfast/contract";
import type { Random } from "@holdfast/runtime";
import type { Caller as Identity } from "../../../packages/control-plane/src/access/model.ts";
import type { Route } from "./network.ts";
import type { SimProcess } from "./process.ts";
import type { ReplicaApi } from "./replica.ts";
import type { PlannedJob } from "./workload.ts";

/** What callers know. */
export interface SimCaller {
  /** Ids of the jobs that were answered, by key. */
  readonly accepted: ReadonlyMap<string, string>;
  /** Ids of jobs that their caller has cancelled, or has begun to. */
  readonly cancelled: ReadonlySet<string>;
  /** Answers that contradict each other or the plan. */
  readonly surprises: readonly string[];
  /** Whether every job is submitted, and every cancel and retry by hand answered. */
  isDone(): boolean;
}

const WHO: Identity = { id: "local", role: "admin", allowedClasses: null };
const CALL_MS = 20_000;
const PAUSE_MS = 1_000;
/** Between two looks at a job whose caller may try it again. */
const LOOK_MS = 10_000;

/** Starts to submit what is planned. */
export function startCaller(
  process: SimProcess,
  route: Route<ReplicaApi>,
  random: Random,
  jobs: readonly PlannedJob[],
): SimCaller {
  const { clock } = process;
  const accepted = new Map<string, string>();
  const cancelled = new Set<string>();
  const surprises: string[] = [];
  let busy = jobs.length;

  /** Calls until an answer comes; the code of a refusal that no repetition changes. */
  const untilAnswered = async <T>(
    what: string,
    run: (api: ReplicaApi) => Promise<T>,
  ): Promise<{ readonly value: T } | { readonly refused: string }> => {
    for (;;) {
      try {
        return { value: await route.call(what, undefined, CALL_MS, run) };
      } catch (error) {
        if (isHoldfastError(error) && FINAL.has(error.code)) return { refused: error.code };
      }
      await clock.sleep(PAUSE_MS * (0.5 + random.next()));
    }
  };

  const follow = async (job: PlannedJob): Promise<void> => {
    await clock.sleep(job.submitAtMs);
    const { maxRetryAttempts } = job;
    const request: SubmitJob = {
      graph: job.graph,
      ...(maxRetryAttempts !== undefined && { policy: { maxRetryAttempts } }),
    };
    const submitted = await untilAnswered(`submit ${job.key}`, ({ jobs }) =>
      jobs.submit(WHO, [request], { idempotencyKey: job.key }),
    );
    if ("refused" in submitted) {
      surprises.push(`${job.key} was refused: ${submitted.refused}`);
      return;
    }
    const id = submitted.value.jobs[0]?.job.id;
    if (id === undefined) {
      surprises.push(`${job.key} was answered without a job`);
      return;
    }
    accepted.set(job.key, id);
    if (random.next() < 0.2) {
      const again = await untilAnswered(`submit ${job.key} again`, ({ jobs }) =>
        jobs.submit(WHO, [request], { idempotencyKey: job.key }),
      );
      const other = "value" in again ? (again.value.jobs[0]?.job.id ?? "none") : again.refused;
      if (other !== id) surprises.push(`${job.key} is ${id} and ${other}`);
    }
    if (job.cancelAtMs !== undefined) {
      await clock.sleep(Math.max(0, job.cancelAtMs - job.submitAtMs));
      cancelled.add(id);
      await untilAnswered(`cancel ${job.key}`, ({ jobs }) => jobs.cancel(WHO, id));
      return;
    }
    if (!job.isRedriven) return;
    for (let look = 0; look < 8; look += 1) {
      await clock.sleep(LOOK_MS);
      const seen = await untilAnswered(`get ${job.key}`, ({ jobs }) => jobs.get(WHO, id));
      if (!("value" in seen)) {
        surprises.push(`${job.key} is there and was answered ${seen.refused}`);
        return;
      }
      const { status } = seen.value;
      if (status === "completed") return;
      if (status !== "failed" && status !== "timeout") continue;
      await untilAnswered(`retry ${job.key}`, ({ jobs }) => jobs.retry(WHO, id));
      return;
    }
  };

  for (const job of jobs) {
    void follow(job).finally(() => {
      busy -= 1;
    });
  }
  return { accepted, cancelled, surprises, isDone: () => busy === 0 };
}

/** Codes that answer a call for good. */
const FINAL: ReadonlySet<string> = new Set([
  "idempotency_conflict",
  "invalid_request",
  "job_ended",
  "job_not_ended",
  "not_found",
]);
