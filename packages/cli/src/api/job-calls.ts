import { randomUUID } from "node:crypto";
import type { AttemptView, JobView, OutputView } from "@holdfast/contract";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { failureOf, fieldOf, type ApiClient } from "./api-client.ts";
import { requestUnderKey, type SleepingClock } from "./repeatable.ts";

/*
 * Answers are checked for the fields that decide something here, not against the whole schema: the
 * command must go on working with a server that is a little newer or older, and must start quickly.
 */

/** A job out of an answer; throws {@link CommandFailure} when it is none. */
export function toJob(value: unknown): JobView {
  if (typeof fieldOf(value, "id") === "string" && typeof fieldOf(value, "status") === "string") {
    return value as JobView;
  }
  throw notHoldfast("a job");
}

/** The list under `name` of an answer; throws {@link CommandFailure} when there is none. */
export function toList(value: unknown, name: string): readonly unknown[] {
  const list = fieldOf(value, name);
  if (Array.isArray(list)) return list;
  throw notHoldfast(`a list of ${name}`);
}

function notHoldfast(what: string): CommandFailure {
  return new CommandFailure(
    EXIT.unavailable,
    `the server's answer is not ${what}: is it a Holdfast server of about this version?`,
  );
}

/** The path of one job, by id or number. */
export const jobPath = (id: string): string => `/api/v1/jobs/${encodeURIComponent(id)}`;

/** One job, by id or number. */
export async function getJob(api: ApiClient, id: string, signal?: AbortSignal): Promise<JobView> {
  return toJob(await api.json(jobPath(id), signal === undefined ? {} : { signal }));
}

/** What a job gave so far. */
export async function getOutputs(api: ApiClient, id: string): Promise<readonly OutputView[]> {
  return toList(await api.json(`${jobPath(id)}/outputs`), "outputs").map((output) => {
    const isWhole = ["id", "url", "name", "sha256"].every(
      (name) => typeof fieldOf(output, name) === "string",
    );
    if (!isWhole) throw notHoldfast("a list of outputs");
    return output as OutputView;
  });
}

/** The tries at a job. */
export async function getAttempts(api: ApiClient, id: string): Promise<readonly AttemptView[]> {
  return toList(await api.json(`${jobPath(id)}/attempts`), "attempts") as readonly AttemptView[];
}

/** `cancel` or `retry`: answers the job as it is then. */
export async function changeJob(
  api: ApiClient,
  id: string,
  action: "cancel" | "retry",
  body: Readonly<Record<string, unknown>>,
): Promise<JobView> {
  const answer = await api.json(`${jobPath(id)}/${action}`, { method: "POST", json: body });
  return toJob(fieldOf(answer, "job") ?? answer);
}

/** A page of jobs. */
export async function listJobs(
  api: ApiClient,
  query: URLSearchParams,
): Promise<{ readonly items: readonly JobView[]; readonly next: string | null }> {
  const answer = await api.json(`/api/v1/jobs?${query.toString()}`);
  const next = fieldOf(answer, "next");
  return {
    items: toList(answer, "items").map(toJob),
    next: typeof next === "string" ? next : null,
  };
}

/** Where a job's events are streamed. */
export function jobEventsPath(id: string): string {
  return `${jobPath(id)}/events`;
}

/** What a submit came to. */
export interface Submitted {
  readonly jobs: readonly JobView[];
  /** False when the caller's own key had been used before. */
  readonly created: boolean;
  readonly warnings: readonly string[];
}

/**
 * Submits one job, or many at once, all or none. A connection that is cut in between is tried again
 * under the same idempotency key (a random one when none is given), so nothing is submitted twice.
 */
export async function submitJobs(
  api: ApiClient,
  bodies: readonly unknown[],
  options: {
    readonly idempotencyKey: string | undefined;
    readonly isStrict: boolean;
    readonly clock: SleepingClock;
  },
): Promise<Submitted> {
  const path = `/api/v1/jobs${options.isStrict ? "?validate=strict" : ""}`;
  const answer = await requestUnderKey(api, path, {
    method: "POST",
    json: bodies.length === 1 ? bodies[0] : { jobs: bodies },
    key: options.idempotencyKey ?? `cli-${randomUUID()}`,
    clock: options.clock,
  });
  if (answer.kind !== "answered") throw failureOf(answer, api.baseUrl);
  const submitted = readSubmitted(await answer.response.json(), bodies.length);
  return { ...submitted, created: submitted.created || options.idempotencyKey === undefined };
}

function readSubmitted(answer: unknown, count: number): Submitted {
  const jobs = count === 1 ? [fieldOf(answer, "job")] : toList(answer, "jobs");
  const warnings = fieldOf(answer, "warnings");
  return {
    jobs: jobs.map(toJob),
    created: fieldOf(answer, "created") !== false,
    warnings: Array.isArray(warnings) ? warnings.filter((text) => typeof text === "string") : [],
  };
}
