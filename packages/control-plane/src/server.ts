/** The HTTP server with every feature's routes. */
import { ERROR_RECOVERY_PATH, HoldfastError } from "@holdfast/contract";
import type { Clock, Failpoints, IdSource } from "@holdfast/runtime";
import { z } from "zod";
import { decideBind } from "./access/logic.ts";
import { alertRoutes } from "./alerts/routes.ts";
import { enrolmentRoutes } from "./access/enrolment-routes.ts";
import { accessRoutes } from "./access/routes.ts";
import { hasAnyKey } from "./access/service.ts";
import { bookFileRoutes } from "./batches/file-routes.ts";
import { addBatchRoutes } from "./batches/routes.ts";
import { unavailable } from "./files/blob-service.ts";
import { sendBlob } from "./files/download.ts";
import { fileRoutes } from "./files/routes.ts";
import { addFleetRoutes } from "./fleet/routes.ts";
import { addJobRoutes } from "./jobs/routes.ts";
import { addMachineRoutes } from "./machines/routes.ts";
import { addPageRoutes } from "./page/routes.ts";
import type { Db } from "./platform/db.ts";
import { registerOpenApi, textAnswer } from "./platform/http/openapi.ts";
import { buildHttpServer, type HttpApp, type HttpServer } from "./platform/http/server.ts";
import type { Log } from "./platform/log.ts";
import type { Metrics } from "./platform/metrics.ts";
import type { ControlPlaneSettings } from "./platform/settings.ts";
import { profileRoutes } from "./profiles/routes.ts";
import { patternRoutes } from "./recovery/pattern-routes.ts";
import { readExcludedChecks } from "./readiness.ts";
import { addRecoveryRoutes } from "./recovery/routes.ts";
import { addSlaRoutes } from "./sla/routes.ts";
import { addAgentRoutes } from "./scheduler/routes.ts";
import type { Services } from "./services.ts";
import { webhookRoutes } from "./webhooks/routes.ts";

/** What the server is made of. */
export interface ServerOptions {
  readonly settings: ControlPlaneSettings;
  readonly version: string;
  readonly clock: Clock;
  readonly failpoints: Failpoints;
  readonly log: Log;
  readonly db: Db;
  readonly ids: IdSource;
  readonly services: Services;
  readonly metrics: Metrics;
}

const BYTES_PER_MB = 1024 * 1024;

/** Builds the server. Throws `forbidden` when it would be open to others without a key. */
export async function buildServer(options: ServerOptions): Promise<HttpServer> {
  const { settings, services, metrics, log, clock, db, ids } = options;
  const bind = decideBind(settings.host, await hasAnyKey(db));
  if (bind.kind === "refused") throw new HoldfastError("forbidden", bind.message);
  const server = buildHttpServer({
    log,
    clock,
    ids,
    bodyLimitBytes: settings.maxBodyMb * BYTES_PER_MB,
    onAnswer: metrics.onAnswer,
    // Scripts written for the error recovery API look at `success`.
    errorFields: (path) => (path.startsWith(ERROR_RECOVERY_PATH) ? { success: false } : {}),
  });
  const { app, closing } = server;
  await registerOpenApi(app, {
    title: "Holdfast",
    description:
      "Runs ComfyUI so that no render is lost. Errors have one shape: `{error: {code, message, details?, requestId}}`, with `success: false` beside it under /api/error-recovery. As soon as an API key was made, every call needs one: press Authorize.",
    version: options.version,
  });
  const { access } = services;
  const identify = access.identify.bind(access);
  addHealthRoutes(app, options);
  await addPageRoutes(app);
  addJobRoutes(app, {
    identify,
    clock,
    closing,
    jobs: services.jobs,
    watch: services.watch,
    feed: services.feed,
  });
  addBatchRoutes(app, { identify, batches: services.batches });
  await app.register(bookFileRoutes, {
    identify,
    clock,
    books: services.batches.reader,
    blobs: services.blobs,
  });
  addMachineRoutes(app, {
    identify,
    machines: services.machines,
    sendText: async (request, reply, { sha256, name }) => {
      const found = await services.blobs.has(sha256);
      if (found.kind === "unavailable") throw unavailable(found);
      // The store lost it, or nobody can tell its size.
      if (found.kind === "missing") throw new HoldfastError("output_gone", "the log is gone");
      const { sizeBytes } = found;
      const blob = { sha256, sizeBytes, name, mediaType: "text/plain" };
      return sendBlob(request, reply, services.blobs, blob);
    },
  });
  addFleetRoutes(app, { identify, fleet: services.fleet, readiness: services.readiness });
  addAgentRoutes(app, {
    identify,
    closing,
    leases: services.leases,
    reports: services.reports,
    checkpoints: services.checkpoints,
    machines: services.machines,
    machineReports: services.machineReports,
  });
  addSlaRoutes(app, { identify, sla: services.sla });
  addRecoveryRoutes(app, {
    identify,
    recovery: services.recovery,
    statistics: services.statistics,
    jobs: services.jobs,
    readiness: services.readiness,
    isRecoveryEnabled: settings.errorRecoveryEnabled,
  });
  await app.register(accessRoutes, { db, ids, log, access });
  const { enrolments } = services;
  await app.register(enrolmentRoutes, { db, ids, log, access, enrolments });
  await app.register(fileRoutes, {
    access,
    files: services.files,
    blobs: services.blobs,
    maxFileBytes: settings.maxFileMb * BYTES_PER_MB,
  });
  await app.register(webhookRoutes, { access, webhooks: services.webhooks });
  await app.register(alertRoutes, { access, clock, ...services.alerts });
  await app.register(patternRoutes, { access, patterns: services.patterns });
  const { profiles, graphLimits } = services;
  await app.register(profileRoutes, { access, profiles, graphLimits });
  app.addHook("onSend", async (request) => {
    // The instant between a submit's commit and its answer, for chaos tests.
    const isSubmit = ["/api/v1/jobs", `${ERROR_RECOVERY_PATH}/jobs/submit`].some((path) =>
      request.url.startsWith(path),
    );
    if (request.method === "POST" && isSubmit) {
      await options.failpoints.hit("control-plane.submitted");
    }
  });
  return server;
}

const checkSchema = z.object({
  name: z.string(),
  ok: z.boolean(),
  reason: z.string().nullable(),
});
/** Longest list of checks that do not count. */
const MAX_EXCLUDE_CHARS = 200;
const readinessSchema = z.object({ ready: z.boolean(), checks: z.array(checkSchema) });

function addHealthRoutes(app: HttpApp, options: ServerOptions): void {
  const { services, metrics } = options;
  const tags = ["health"];
  app.get(
    "/healthz",
    {
      schema: {
        tags,
        security: [],
        summary: "Whether this process answers",
        response: { 200: z.object({ status: z.literal("ok"), version: z.string() }) },
      },
    },
    () => ({ status: "ok" as const, version: options.version }),
  );
  app.get(
    "/readyz",
    {
      schema: {
        tags,
        security: [],
        summary: "Whether a job could start now",
        querystring: z.object({
          exclude: z
            .string()
            .max(MAX_EXCLUDE_CHARS)
            .optional()
            .describe("Checks that do not count, separated by commas: `instance,hold`."),
        }),
        response: { 200: readinessSchema, 503: readinessSchema },
      },
    },
    async ({ query }, reply) => {
      const excluded = readExcludedChecks(query.exclude);
      const checks = await services.readiness();
      const ready = checks.every((one) => one.ok || excluded.has(one.name));
      return reply.code(ready ? 200 : 503).send({ ready, checks: [...checks] });
    },
  );
  app.get(
    "/metrics",
    {
      schema: {
        tags,
        security: [],
        summary: "Prometheus metrics",
        response: { 200: textAnswer("text/plain", "Metrics in Prometheus's text format.") },
      },
    },
    async (_request, reply) =>
      reply.header("content-type", metrics.contentType).send(await metrics.text()),
  );
}
