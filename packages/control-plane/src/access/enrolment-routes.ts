import { enrollRequestSchema, enrollResponseSchema, pageQuerySchema } from "@holdfast/contract";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { stateOf } from "./enrolment.ts";
import {
  createEnrolment,
  listEnrolments,
  revokeEnrolment,
  type EnrolmentService,
  type ShownEnrolment,
} from "./enrolment-service.ts";
import { ALLOWED } from "./model.ts";
import { readPage, toInstant, toInstantOrNull } from "./pages.ts";
import type { AccessRouteOptions } from "./routes.ts";
import {
  createdEnrolmentSchema,
  createEnrolmentSchema,
  enrolmentIdSchema,
  enrolmentPageSchema,
  enrolmentSchema,
  type EnrolmentView,
} from "./wire.ts";

/** What the routes of enrolment need. */
export interface EnrolmentRouteOptions extends AccessRouteOptions {
  readonly enrolments: EnrolmentService;
}

const tags = ["access"];

/** `/api/v1/enrolments` (administrators) and `/agent/v1/enroll` (whoever has a token). */
export const enrolmentRoutes: FastifyPluginAsyncZod<EnrolmentRouteOptions> = async (
  app,
  options,
) => {
  const { db, ids, access, log } = options;

  app.post(
    "/api/v1/enrolments",
    {
      schema: {
        tags,
        summary: "Make a one-time token by which a machine gets a key of its own",
        description: "The answer's `text` is the token; it is shown once.",
        body: createEnrolmentSchema,
        response: { 201: createdEnrolmentSchema },
      },
    },
    async (request, reply) => {
      const caller = await access.identify(request, ALLOWED.administer);
      const { name, machineName, ttlSeconds } = request.body;
      const made = await createEnrolment(db, ids, {
        name,
        machineName: machineName ?? null,
        createdBy: caller.id,
        ...(ttlSeconds !== undefined && { ttlSeconds }),
      });
      log.info({ enrolmentId: made.enrolment.id, by: caller.id }, "enrolment token created");
      return reply.code(201).send({ enrolment: toView(made.enrolment), text: made.text });
    },
  );

  app.get(
    "/api/v1/enrolments",
    {
      schema: {
        tags,
        summary: "List one-time tokens, newest first, without their secrets",
        querystring: pageQuerySchema,
        response: { 200: enrolmentPageSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.administer);
      const page = await listEnrolments(db, readPage(request.query));
      return { items: page.items.map(toView), next: page.next };
    },
  );

  app.delete(
    "/api/v1/enrolments/:id",
    {
      schema: {
        tags,
        summary: "Revoke a one-time token",
        description: "The key of a token that was used goes on: revoke that by its own id.",
        params: z.object({ id: enrolmentIdSchema }),
        response: { 200: enrolmentSchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.administer);
      const enrolment = await revokeEnrolment(db, request.params.id);
      log.info({ enrolmentId: enrolment.id, by: caller.id }, "enrolment token revoked");
      return toView(enrolment);
    },
  );

  app.post(
    "/agent/v1/enroll",
    {
      schema: {
        tags: ["agent"],
        security: [],
        summary: "A machine gives a one-time token and gets its key",
        description:
          "Once. The same token with the same nonce is answered alike for fifteen minutes, should an answer get lost.",
        body: enrollRequestSchema,
        response: { 200: enrollResponseSchema },
      },
    },
    (request) => options.enrolments.enroll(request.body, request.ip),
  );
};

function toView(one: ShownEnrolment): EnrolmentView {
  return {
    id: one.id,
    name: one.name,
    machineName: one.machineName,
    state: stateOf(one, one.readAt),
    createdAt: toInstant(one.createdAt),
    expiresAt: toInstant(one.expiresAt),
    revokedAt: toInstantOrNull(one.revokedAt),
    usedAt: toInstantOrNull(one.usedAt),
    usedByName: one.usedByName,
    keyId: one.keyId,
  };
}
