import {
  DEFAULT_PAGE_SIZE,
  HoldfastError,
  JOB_STATUSES,
  MAX_ID_LENGTH,
  MAX_PAGE_SIZE,
  type JobStatus,
} from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import type { Caller, Role } from "../access/model.ts";
import type { EventFeed } from "./event-feed.ts";
import type { JobWatch } from "./job-watch.ts";
import { MAX_IDEMPOTENCY_KEY_LENGTH } from "./model.ts";
import type { JobsService } from "./service.ts";

/** What the routes of jobs need. */
export interface JobRoutesDeps {
  readonly identify: (request: FastifyRequest, roles: readonly Role[]) => Promise<Caller>;
  readonly jobs: JobsService;
  readonly watch: JobWatch;
  readonly feed: EventFeed;
  readonly clock: Clock;
  /** Aborted when the server begins to close: waits and streams end. */
  readonly closing: AbortSignal;
}

/** Names one job: its id, or its number. */
export const jobParamsSchema = z.object({
  id: z.string().min(1).max(MAX_ID_LENGTH).meta({ description: "`job_…`, or the job's number." }),
});

/** The headers of a submit. */
export const submitHeadersSchema = z.looseObject({
  "idempotency-key": z
    .string()
    .optional()
    .meta({
      description: `Any text of yours, at most ${MAX_IDEMPOTENCY_KEY_LENGTH} characters: the same key with the same body gives the same jobs for 48 hours.`,
    }),
});

/** The Idempotency-Key header: one, not empty, of bounded length. Throws `invalid_request`. */
export function readIdempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const key = header.trim();
  if (key === "" || key.length > MAX_IDEMPOTENCY_KEY_LENGTH) {
    throw new HoldfastError(
      "invalid_request",
      `Idempotency-Key has ${key.length} characters; 1 to ${MAX_IDEMPOTENCY_KEY_LENGTH} are taken`,
      { details: { field: "headers.idempotency-key" } },
    );
  }
  return key;
}

/** Statuses separated by commas; none stands for all. Throws `invalid_request`. */
export function readStatuses(text: string | undefined): JobStatus[] {
  if (text === undefined) return [];
  return [...new Set(text.split(","))].map((word) => {
    const status = JOB_STATUSES.find((known) => known === word);
    if (status === undefined) {
      throw new HoldfastError(
        "invalid_request",
        `status: there is no status "${word}"; they are ${JOB_STATUSES.join(", ")}`,
        { details: { field: "querystring.status" } },
      );
    }
    return status;
  });
}

/** Rows a page; the schema has seen to it that it is a number. */
export function readLimit(text: string | undefined): number {
  const limit = text === undefined ? DEFAULT_PAGE_SIZE : Number(text);
  if (limit > MAX_PAGE_SIZE) {
    throw new HoldfastError("invalid_request", `limit is at most ${MAX_PAGE_SIZE}`, {
      details: { field: "querystring.limit" },
    });
  }
  return limit;
}
