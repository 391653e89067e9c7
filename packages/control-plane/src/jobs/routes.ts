import {
  attemptListSchema,
  graphSchema,
  isEndedStatus,
  jobPageSchema,
  jobSchema,
  listJobsQuerySchema,
  MAX_TAG_LENGTH,
  outputListSchema,
  statsSchema,
} from "@holdfast/contract";
import { z } from "zod";
import { ALLOWED } from "../access/model.ts";
import type { HttpApp } from "../platform/http/server.ts";
import { addEventRoutes } from "./event-routes.ts";
import { jobParamsSchema, readLimit, readStatuses, type JobRoutesDeps } from "./requests.ts";
import { addSubmitRoute } from "./submit-routes.ts";

/** How long a wait is held open when nothing is asked, and at most. */
const DEFAULT_WAIT_MS = 30_000;
const MAX_WAIT_MS = 300_000;

const retryBodySchema = z
  .strictObject({
    force: z.boolean().optional().meta({ description: "Render a completed job once more." }),
  })
  .nullish();
const cancelManyBodySchema = z.strictObject({
  batchId: z.string().min(1).max(64).optional(),
  tag: z.string().min(1).max(MAX_TAG_LENGTH).optional(),
});
const cancelledSchema = z.object({
  cancelled: z.int(),
  more: z.boolean().meta({ description: "There may be more: call again." }),
});
const waitQuerySchema = z.strictObject({
  timeoutMs: z
    .string()
    .regex(/^[0-9]{1,6}$/)
    .optional()
    .meta({ description: `At most ${MAX_WAIT_MS}. Default ${DEFAULT_WAIT_MS}.` }),
});

const tags = ["jobs"];

/** `/api/v1/jobs`, `/api/v1/events` and `/api/v1/stats`. */
export function addJobRoutes(app: HttpApp, deps: JobRoutesDeps): void {
  addSubmitRoute(app, deps);
  addReadRoutes(app, deps);
  addPartRoutes(app, deps);
  addChangeRoutes(app, deps);
  addWaitRoute(app, deps);
  addEventRoutes(app, deps);
}

function addReadRoutes(app: HttpApp, { identify, jobs }: JobRoutesDeps): void {
  app.get(
    "/api/v1/jobs",
    {
      schema: {
        tags,
        summary: "List jobs",
        querystring: listJobsQuerySchema,
        response: { 200: jobPageSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      const { query } = request;
      return await jobs.list(caller, {
        statuses: readStatuses(query.status),
        tag: query.tag,
        batchId: query.batchId,
        createdAfter: toEpoch(query.createdAfter),
        createdBefore: toEpoch(query.createdBefore),
        order: query.order ?? "newest",
        cursor: query.cursor,
        limit: readLimit(query.limit),
      });
    },
  );
  app.get(
    "/api/v1/jobs/:id",
    {
      schema: {
        tags,
        summary: "One job",
        params: jobParamsSchema,
        response: { 200: jobSchema },
      },
    },
    async (request) => await jobs.get(await identify(request, ALLOWED.use), request.params.id),
  );
  app.get(
    "/api/v1/stats",
    { schema: { tags, summary: "Numbers of the queue", response: { 200: statsSchema } } },
    async (request) => await jobs.stats(await identify(request, ALLOWED.use)),
  );
}

function addPartRoutes(app: HttpApp, { identify, jobs }: JobRoutesDeps): void {
  app.get(
    "/api/v1/jobs/:id/attempts",
    {
      schema: {
        tags,
        summary: "A job's attempts: what came of each, and what was decided",
        params: jobParamsSchema,
        response: { 200: attemptListSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      return { attempts: await jobs.attempts(caller, request.params.id) };
    },
  );
  app.get(
    "/api/v1/jobs/:id/outputs",
    {
      schema: {
        tags,
        summary: "What a job gave, with the address of each",
        params: jobParamsSchema,
        response: { 200: outputListSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      return { outputs: await jobs.outputs(caller, request.params.id) };
    },
  );
  app.get(
    "/api/v1/jobs/:id/graph",
    {
      schema: {
        tags,
        summary: "The graph as it runs now, overrides and recovery included",
        params: jobParamsSchema,
        response: { 200: graphSchema },
      },
    },
    async (request) => ({
      ...(await jobs.graph(await identify(request, ALLOWED.use), request.params.id)),
    }),
  );
}

function addChangeRoutes(app: HttpApp, { identify, jobs }: JobRoutesDeps): void {
  app.post(
    "/api/v1/jobs/:id/cancel",
    {
      schema: {
        tags,
        summary: "Cancel a job, whatever it does now",
        params: jobParamsSchema,
        response: { 200: jobSchema },
      },
    },
    async (request) => await jobs.cancel(await identify(request, ALLOWED.use), request.params.id),
  );
  app.post(
    "/api/v1/jobs/:id/retry",
    {
      schema: {
        tags,
        summary: "Queue an ended job again",
        params: jobParamsSchema,
        body: retryBodySchema,
        response: { 200: jobSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      const force = request.body?.force ?? false;
      return await jobs.retry(caller, request.params.id, { force });
    },
  );
  app.post(
    "/api/v1/jobs/cancel",
    {
      schema: {
        tags,
        summary: "Cancel the live jobs of a batch, of a tag, or of both",
        body: cancelManyBodySchema,
        response: { 200: cancelledSchema },
      },
    },
    async (request) => await jobs.cancelMany(await identify(request, ALLOWED.use), request.body),
  );
}

function addWaitRoute(app: HttpApp, deps: JobRoutesDeps): void {
  app.get(
    "/api/v1/jobs/:id/wait",
    {
      schema: {
        tags,
        summary: "Wait until a job has ended; answers with the job, ended or not",
        params: jobParamsSchema,
        querystring: waitQuerySchema,
        response: { 200: jobSchema },
      },
    },
    async (request, reply) => {
      const caller = await deps.identify(request, ALLOWED.use);
      const { id } = request.params;
      const timeoutMs = Math.min(Number(request.query.timeoutMs ?? DEFAULT_WAIT_MS), MAX_WAIT_MS);
      const job = await deps.jobs.get(caller, id);
      if (isEndedStatus(job.status) || timeoutMs === 0) return job;
      const ended = new AbortController();
      const end = (): void => ended.abort();
      reply.raw.once("close", end);
      deps.closing.addEventListener("abort", end, { once: true });
      try {
        await deps.watch.waitForEnd(job.id, timeoutMs, ended.signal);
      } finally {
        reply.raw.off("close", end);
        deps.closing.removeEventListener("abort", end);
      }
      return await deps.jobs.get(caller, job.id);
    },
  );
}

function toEpoch(instant: string | undefined): number | undefined {
  return instant === undefined ? undefined : Date.parse(instant);
}
