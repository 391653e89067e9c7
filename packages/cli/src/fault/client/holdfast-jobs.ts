/** Jobs of a scenario as Holdfast's API takes and tells them. Nothing here looks inside. */
import { createHash, randomUUID } from "node:crypto";
import type { BatchView, BookPageView, JobView, OutputView } from "@holdfast/contract";
import { abortReason, type Clock } from "@holdfast/runtime";
import type { ApiClient } from "../../api/api-client.ts";
import { fieldOf } from "../../api/api-client.ts";
import { createBatch, getBatch, listBatchPages } from "../../api/batch-calls.ts";
import {
  getAttempts,
  getJob,
  getOutputs,
  jobPath,
  submitJobs,
  toList,
} from "../../api/job-calls.ts";
import { CommandFailure } from "../../command-failure.ts";
import type { ObservedJob, ObservedOutput } from "../observed.ts";
import { pictureHash } from "../picture-hash.ts";
import type { FaultJob } from "../fault-job.ts";
import type { Reference } from "./reference.ts";

/** Jobs that were accepted. */
export interface Submission {
  /** Resolves when all have ended; false when that took too long. */
  ended(limitMs: number): Promise<boolean>;
  observe(reference: Reference): Promise<{
    readonly jobs: readonly ObservedJob[];
    readonly pages: readonly BookPageView[];
  }>;
}

/** What calls need. */
export interface CallFacts {
  readonly api: ApiClient;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const LOOK_EVERY_MS = 200;
const CALL_TRIES = 40;
const CALL_AGAIN_MS = 250;
const EVENTS = 500;
const FETCH_LIMIT_MS = 30_000;

/** Submits the jobs, each by itself. */
export async function submitAll(work: readonly FaultJob[], facts: CallFacts): Promise<Submission> {
  const { api, clock } = facts;
  const bodies = work.map(({ graph }) => ({ graph }));
  const options = { idempotencyKey: `fault-${randomUUID()}`, isStrict: false, clock };
  const { jobs } = await patiently(facts, () => submitJobs(api, bodies, options));
  const ids = jobs.map(({ id }) => id);
  return {
    ended: (limitMs) =>
      untilAll(facts, limitMs, async () => {
        const now = await Promise.all(ids.map((id) => getJob(api, id)));
        return now.every(({ endedAt }) => endedAt !== null);
      }),
    observe: async (reference) => {
      const seen: ObservedJob[] = [];
      for (const [at, one] of work.entries()) {
        const id = ids[at];
        if (id !== undefined) seen.push(await observeJob(facts, one, id, reference));
      }
      return { jobs: seen, pages: [] };
    },
  };
}

/** Submits the jobs as pages of one book. */
export async function submitBook(work: readonly FaultJob[], facts: CallFacts): Promise<Submission> {
  const { api, clock } = facts;
  const body = { name: "fault drill", pages: work.map(({ graph }) => ({ graph })) };
  const options = { idempotencyKey: `fault-${randomUUID()}`, clock };
  const { batch } = await patiently(facts, () => createBatch(api, body, options));
  const pagesNow = async (): Promise<readonly BookPageView[]> =>
    (await listBatchPages(api, batch.id, new URLSearchParams(), work.length)).items;
  return {
    ended: (limitMs) => untilAll(facts, limitMs, async () => isOver(await getBatch(api, batch.id))),
    observe: async (reference) => {
      const pages = await patiently(facts, pagesNow);
      const seen: ObservedJob[] = [];
      for (const { page, jobId } of pages) {
        const one = work[page - 1];
        if (jobId === null || one === undefined) continue;
        seen.push(await observeJob(facts, one, jobId, reference));
      }
      return { jobs: seen, pages };
    },
  };
}

function isOver({ status }: BatchView): boolean {
  return status === "completed" || status === "attention" || status === "cancelled";
}

/** Waits for something; a server that cannot be reached meanwhile is what the scenarios are about. */
async function untilAll(
  { clock, signal }: CallFacts,
  limitMs: number,
  look: () => Promise<boolean>,
): Promise<boolean> {
  const deadline = clock.elapsed() + limitMs;
  for (;;) {
    if (signal.aborted) throw abortReason(signal);
    if (await look().catch(unlessUnreachable)) return true;
    if (clock.elapsed() > deadline) return false;
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
}

function unlessUnreachable(error: unknown): false {
  if (error instanceof CommandFailure) return false;
  throw error;
}

/** A call again until it is answered. */
async function patiently<T>({ clock, signal }: CallFacts, call: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof CommandFailure) || tries === CALL_TRIES) throw error;
      await clock.sleep(CALL_AGAIN_MS, signal);
    }
  }
}

async function observeJob(
  facts: CallFacts,
  work: FaultJob,
  id: string,
  reference: Reference,
): Promise<ObservedJob> {
  const { api } = facts;
  const answer = await patiently(facts, async () => {
    const one = await api.request(jobPath(id));
    if (one.kind === "refused" && one.status === 404) return null;
    return await getJob(api, id);
  });
  const job: JobView | null = answer;
  if (job === null) {
    return { work, job, attempts: [], events: [], outputs: [], reference: null };
  }
  const attempts = await patiently(facts, () => getAttempts(api, id));
  const events = await patiently(facts, () => api.json(`${jobPath(id)}/events?limit=${EVENTS}`));
  const listed = await patiently(facts, () => getOutputs(api, id));
  const outputs: ObservedOutput[] = [];
  for (const output of listed) outputs.push(await fetchOutput(api, output));
  return {
    work,
    job,
    attempts,
    events: toList(events, "items").map((event) => String(fieldOf(event, "type"))),
    outputs,
    reference: work.expected === "completed" ? await reference.picturesOf(work.graph) : null,
  };
}

async function fetchOutput(api: ApiClient, output: OutputView): Promise<ObservedOutput> {
  const { name, url, sizeBytes, sha256 } = output;
  const path = url.startsWith("http") ? new URL(url).pathname : url;
  const answer = await api.request(path, { signal: AbortSignal.timeout(FETCH_LIMIT_MS) });
  if (answer.kind !== "answered") return { name, isWhole: false, picture: "" };
  const bytes = Buffer.from(await answer.response.arrayBuffer());
  const found = createHash("sha256").update(bytes).digest("hex");
  return {
    name,
    isWhole: found === sha256 && bytes.length === sizeBytes,
    picture: pictureHash(bytes),
  };
}
