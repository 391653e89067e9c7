import {
  cleanedUpSchema,
  cleanupQuerySchema,
  DEFAULT_CLEANUP_HOURS,
  detailedStatisticsQuerySchema,
  detailedStatisticsSchema,
  emergencyReleaseSchema,
  emergencyStopSchema,
  ERROR_RECOVERY_PATH,
  recoveryHealthSchema,
  recoveryPlanRequestSchema,
  recoveryPlanSchema,
  recoveryRetriedSchema,
  recoveryRetrySchema,
  recoveryStatisticsSchema,
  recoveryStatusSchema,
  recoverySubmitSchema,
  recoverySubmittedSchema,
} from "@holdfast/contract";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { ALLOWED, type Caller, type Role } from "../access/model.ts";
import { readIdempotencyKey, submitHeadersSchema } from "../jobs/requests.ts";
import type { JobsService } from "../jobs/service.ts";
import { toJobView } from "../jobs/view.ts";
import type { HttpApp } from "../platform/http/server.ts";
import type { RecoveryService } from "./service.ts";
import type { RecoveryStatisticsService } from "./statistics-service.ts";

/** What the routes need. */
export interface RecoveryRoutesDeps {
  readonly identify: (request: FastifyRequest, roles: readonly Role[]) => Promise<Caller>;
  readonly recovery: RecoveryService;
  readonly statistics: RecoveryStatisticsService;
  readonly jobs: JobsService;
  /** What a job needs to start, and whether it is there. */
  readonly readiness: () => Promise<
    readonly { readonly name: string; readonly ok: boolean; readonly reason: string | null }[]
  >;
  /** `ERROR_RECOVERY_ENABLED`. */
  readonly isRecoveryEnabled: boolean;
}

const tags = ["error recovery"];
const success = true as const;
const paramsSchema = z.object({
  job_id: z.string().min(1).max(64).meta({ description: "The job's number, or `job_…`." }),
});

/** `/api/error-recovery`: the error recovery API. */
export function addRecoveryRoutes(app: HttpApp, deps: RecoveryRoutesDeps): void {
  addJobRoutes(app, deps);
  addStatisticsRoutes(app, deps);
  addStopRoutes(app, deps);
  addUpkeepRoutes(app, deps);
  addPlanRoute(app, deps);
}

function addJobRoutes(app: HttpApp, { identify, recovery }: RecoveryRoutesDeps): void {
  app.post(
    `${ERROR_RECOVERY_PATH}/jobs/submit`,
    {
      schema: {
        tags,
        summary: "Submit a job by prompt, graph and parameters",
        headers: submitHeadersSchema,
        body: recoverySubmitSchema,
        response: { 200: recoverySubmittedSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      const key = readIdempotencyKey(request.headers["idempotency-key"]);
      const { job, created, warnings } = await recovery.submit(caller, request.body, key);
      const { id, number, status } = toJobView(job);
      const message = created ? "The job was taken in." : "This is the job of the first submit.";
      return { success, job_id: number, id, status, message, created, warnings: [...warnings] };
    },
  );
  app.get(
    `${ERROR_RECOVERY_PATH}/jobs/:job_id/status`,
    {
      schema: {
        tags,
        summary: "A job, its recoveries and its parameters",
        params: paramsSchema,
        response: { 200: recoveryStatusSchema },
      },
    },
    async (request) =>
      await recovery.status(await identify(request, ALLOWED.use), request.params.job_id),
  );
  app.post(
    `${ERROR_RECOVERY_PATH}/jobs/:job_id/retry`,
    {
      schema: {
        tags,
        summary: "Queue a job again that failed or ran out of time",
        params: paramsSchema,
        body: recoveryRetrySchema,
        response: { 200: recoveryRetriedSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      const force = request.body?.force_retry ?? false;
      const job = await recovery.retry(caller, request.params.job_id, force);
      const message = job.held ? "Queued again, held: emergency stop." : "Queued again.";
      return { success, job_id: job.number, id: job.id, status: job.status, message };
    },
  );
}

function addStatisticsRoutes(app: HttpApp, { identify, statistics }: RecoveryRoutesDeps): void {
  app.get(
    `${ERROR_RECOVERY_PATH}/statistics`,
    {
      schema: {
        tags,
        summary: "How many attempts failed, and how often recovery helped",
        description: "A `user` is told of its own jobs.",
        response: { 200: recoveryStatisticsSchema },
      },
    },
    async (request) => await statistics.totals(await identify(request, ALLOWED.use)),
  );
  app.get(
    `${ERROR_RECOVERY_PATH}/statistics/detailed`,
    {
      schema: {
        tags,
        summary: "The same by class, strategy, rung, node type and machine, over windows of time",
        description: "A window begins with the minute (1h) or hour (24h, 7d) that it reaches into.",
        querystring: detailedStatisticsQuerySchema,
        response: { 200: detailedStatisticsSchema },
      },
    },
    async (request) =>
      await statistics.detailed(await identify(request, ALLOWED.use), request.query.window),
  );
}

function addStopRoutes(app: HttpApp, { identify, jobs }: RecoveryRoutesDeps): void {
  app.post(
    `${ERROR_RECOVERY_PATH}/emergency-stop`,
    {
      schema: {
        tags,
        summary: "Stop all jobs now: running ones are interrupted, waiting ones held",
        description: "At no cost to the jobs. New ones are taken in, and held.",
        response: { 200: emergencyStopSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.operate);
      const { interrupted, held } = await jobs.holdAll(caller.id);
      const message = `${interrupted} running jobs interrupted, ${held} waiting jobs held.`;
      return { success, stopped: true as const, interrupted, held, message };
    },
  );
  app.post(
    `${ERROR_RECOVERY_PATH}/emergency-stop/release`,
    {
      schema: {
        tags,
        summary: "Go on after an emergency stop",
        response: { 200: emergencyReleaseSchema },
      },
    },
    async (request) => {
      await identify(request, ALLOWED.operate);
      const released = await jobs.releaseAll();
      return { success, stopped: false as const, released, message: `${released} jobs released.` };
    },
  );
}

function addUpkeepRoutes(app: HttpApp, deps: RecoveryRoutesDeps): void {
  app.get(
    `${ERROR_RECOVERY_PATH}/health`,
    {
      schema: {
        tags,
        security: [],
        summary: "Whether a job could start now, and what is switched on",
        response: { 200: recoveryHealthSchema },
      },
    },
    async () => {
      const checks = await deps.readiness();
      const isHealthy = checks.every((check) => check.ok);
      const hasDatabase = checks.every((check) => check.ok || check.name !== "database");
      return {
        success,
        status: isHealthy ? ("healthy" as const) : ("degraded" as const),
        error_recovery_enabled: deps.isRecoveryEnabled,
        statistics_enabled: deps.statistics.isEnabled,
        // Without a database nobody knows, and the checks say why.
        emergency_stop: hasDatabase ? await deps.jobs.isHeld() : null,
        checks: [...checks],
      };
    },
  );
  app.delete(
    `${ERROR_RECOVERY_PATH}/cleanup`,
    {
      schema: {
        tags,
        summary: "Remove recovery data of jobs that ended long ago",
        description:
          "Evidence and history of failed attempts, and saved states. Jobs, outputs and statistics stay; a live job is never touched.",
        querystring: cleanupQuerySchema,
        response: { 200: cleanedUpSchema },
      },
    },
    async (request) => {
      await deps.identify(request, ALLOWED.operate);
      const hours = Number(request.query.hours ?? DEFAULT_CLEANUP_HOURS);
      const { more, ...removed } = await deps.recovery.cleanUp(hours);
      const message = `Removed the history of ${removed.histories} jobs (${removed.attempts} attempts) and ${removed.checkpoints} checkpoints.`;
      return { success, hours, removed, more, message };
    },
  );
}

function addPlanRoute(app: HttpApp, { identify, recovery }: RecoveryRoutesDeps): void {
  app.post(
    `${ERROR_RECOVERY_PATH}/plan`,
    {
      schema: {
        tags,
        summary: "What would be done about an error; nothing is run",
        body: recoveryPlanRequestSchema,
        response: { 200: recoveryPlanSchema },
      },
    },
    async (request) => await recovery.plan(await identify(request, ALLOWED.use), request.body),
  );
}
