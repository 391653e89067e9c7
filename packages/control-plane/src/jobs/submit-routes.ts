import {
  submitJobSchema,
  submitJobsSchema,
  submitQuerySchema,
  submittedJobSchema,
  submittedJobsSchema,
  type SubmitJob,
} from "@holdfast/contract";
import { invariant } from "@holdfast/runtime";
import type { FastifySchemaCompiler } from "fastify";
import { validatorCompiler } from "fastify-type-provider-zod";
import { z } from "zod";
import { ALLOWED } from "../access/model.ts";
import { invalidRequest } from "../platform/http/http-error.ts";
import type { HttpApp } from "../platform/http/server.ts";
import { refuseMistakenBody } from "./raw-body.ts";
import { readIdempotencyKey, submitHeadersSchema, type JobRoutesDeps } from "./requests.ts";
import { toJobView } from "./view.ts";

/** The compiler of every other part, without the types of this one route. */
const compileSchema = validatorCompiler as FastifySchemaCompiler<unknown>;

/** What a submit's body may be. */
const submitBodySchema = z.union([submitJobSchema, submitJobsSchema]);
const answerSchema = z.union([submittedJobSchema, submittedJobsSchema]);

/** `POST /api/v1/jobs`. */
export function addSubmitRoute(app: HttpApp, deps: JobRoutesDeps): void {
  app.post(
    "/api/v1/jobs",
    {
      schema: {
        tags: ["jobs"],
        summary: "Submit one job, or many at once",
        description:
          "Takes all or none. 201 when the jobs are on disk; 200 when the Idempotency-Key was used before with this body.",
        querystring: submitQuerySchema,
        headers: submitHeadersSchema,
        body: submitBodySchema,
        response: { 200: answerSchema, 201: answerSchema },
      },
      // A union's own complaint names no field: the body is read by the schema that was meant.
      validatorCompiler: (route) =>
        route.httpPart === "body" ? (body: unknown) => readSubmitBody(body) : compileSchema(route),
    },
    async (request, reply) => {
      const caller = await deps.identify(request, ALLOWED.use);
      const { body, query } = request;
      const isMany = "jobs" in body;
      const idempotencyKey = readIdempotencyKey(request.headers["idempotency-key"]);
      const { jobs, created, warnings } = await deps.jobs.submit(
        caller,
        isMany ? body.jobs : [body],
        {
          ...(idempotencyKey !== undefined && { idempotencyKey }),
          ...(query.validate !== undefined && { validate: query.validate }),
        },
      );
      void reply.code(created ? 201 : 200);
      const views = jobs.map((job) => toJobView(job));
      const told = { created, warnings: [...warnings] };
      if (isMany) return { jobs: views, ...told };
      const [job] = views;
      invariant(job !== undefined, "one request gives one job");
      void reply.header("location", `/api/v1/jobs/${job.id}`);
      return { job, ...told };
    },
  );
}

type SubmitBody = SubmitJob | z.infer<typeof submitJobsSchema>;

function readSubmitBody(body: unknown): { readonly value: SubmitBody } | { readonly error: Error } {
  try {
    refuseMistakenBody(body);
  } catch (error) {
    return { error: error as Error };
  }
  const isMany = typeof body === "object" && body !== null && "jobs" in body;
  const read = isMany ? submitJobsSchema.safeParse(body) : submitJobSchema.safeParse(body);
  if (read.success) return { value: read.data };
  return {
    error: invalidRequest(
      read.error.issues.map((issue) => ({
        field: ["body", ...issue.path].join("."),
        message: issue.message,
      })),
    ),
  };
}
