import { instantSchema } from "@holdfast/contract";
import { ERROR_STRATEGIES, toWirePattern } from "@holdfast/recovery";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { ALLOWED } from "../access/model.ts";
import { toInstantOrNull } from "../access/pages.ts";
import type { Access } from "../access/service.ts";
import type { KnownPattern } from "./pattern-model.ts";
import type { PatternService } from "./pattern-service.ts";

/** What the routes of custom patterns need. */
export interface PatternRouteOptions {
  readonly access: Access;
  readonly patterns: PatternService;
}

/** Largest body: a pattern with every field at its limit is smaller. */
const BODY_LIMIT_BYTES = 128 * 1024;
const tags = ["error recovery"];
const params = z.object({ name: z.string().min(1).max(100) });

const adjustmentSchema = z.object({
  operation: z.string(),
  factor: z.number().optional(),
  value: z.union([z.number(), z.string(), z.boolean()]).optional(),
  min: z.number().optional(),
  max: z.number().optional(),
});
const patternSchema = z.object({
  name: z.string(),
  error_type: z.string(),
  patterns: z.array(z.string()),
  strategy: z.enum(ERROR_STRATEGIES),
  parameter_adjustments: z.record(z.string(), adjustmentSchema),
  max_retries: z.int().nullable(),
  source: z.enum(["api", "file"]).meta({
    description: "Made by this API, or from the file of HOLDFAST_ERROR_PATTERNS.",
  }),
  updated_at: instantSchema.nullable(),
});
type PatternView = z.infer<typeof patternSchema>;
const oneSchema = z.object({ success: z.literal(true), pattern: patternSchema });

/** Any object: what is wrong in it is said by the code that reads patterns, field by field. */
const bodySchema = z.record(z.string(), z.unknown()).meta({
  description:
    "`error_type` (a built-in class or a snake_case name of your own), `patterns` (regular expressions in RE2's syntax, letters in either case), `strategy` (REDUCE_PARAMS, RESUME_CHECKPOINT, SWITCH_MODEL, RETRY, ABORT), and, if wanted, `name` (unique; default: the error type), `parameter_adjustments` (by parameter: `operation` reduce, increase, multiply with a `factor`, or set with a `value`; `min`, `max`) and `max_retries` (0 to 100; null: MAX_RETRY_ATTEMPTS).",
});

/** `/api/error-recovery/patterns`: errors that operators describe themselves. */
export const patternRoutes: FastifyPluginAsyncZod<PatternRouteOptions> = async (app, options) => {
  const { access, patterns } = options;

  app.get(
    "/api/error-recovery/patterns",
    {
      schema: {
        tags,
        summary: "List the custom error patterns, in the order in which they are tried",
        response: {
          200: z.object({ success: z.literal(true), patterns: z.array(patternSchema) }),
        },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      return { success: true as const, patterns: (await patterns.list()).map(toView) };
    },
  );

  app.post(
    "/api/error-recovery/patterns",
    {
      bodyLimit: BODY_LIMIT_BYTES,
      schema: {
        tags,
        summary: "Add a custom error pattern",
        description: "Every replica uses it within seconds.",
        body: bodySchema,
        response: { 201: oneSchema },
      },
    },
    async (request, reply) => {
      await access.identify(request, ALLOWED.operate);
      const made = await patterns.create(request.body);
      return reply.code(201).send({ success: true, pattern: toView(made) });
    },
  );

  app.get(
    "/api/error-recovery/patterns/:name",
    { schema: { tags, summary: "One custom error pattern", params, response: { 200: oneSchema } } },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      return { success: true as const, pattern: toView(await patterns.get(request.params.name)) };
    },
  );

  app.put(
    "/api/error-recovery/patterns/:name",
    {
      bodyLimit: BODY_LIMIT_BYTES,
      schema: {
        tags,
        summary: "Make or replace the custom error pattern of this name",
        description: "It keeps its place in the order; one of the file is covered by it.",
        params,
        body: bodySchema,
        response: { 200: oneSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      const put = await patterns.put(request.params.name, request.body);
      return { success: true as const, pattern: toView(put) };
    },
  );

  app.delete(
    "/api/error-recovery/patterns/:name",
    {
      schema: {
        tags,
        summary: "Delete a custom error pattern",
        params,
        response: { 200: z.object({ success: z.literal(true), removed: z.string() }) },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      await patterns.remove(request.params.name);
      return { success: true as const, removed: request.params.name };
    },
  );
};

function toView({ pattern, source, updatedAt }: KnownPattern): PatternView {
  return {
    ...(toWirePattern(pattern) as Omit<PatternView, "source" | "updated_at">),
    source,
    updated_at: toInstantOrNull(updatedAt),
  };
}
