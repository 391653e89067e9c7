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
