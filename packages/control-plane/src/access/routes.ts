import { pageQuerySchema } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { ALLOWED, type ApiKey } from "./model.ts";
import { readPage, toInstant, toInstantOrNull } from "./pages.ts";
import { createKey, listKeys, revokeKey, type Access } from "./service.ts";
import {
  apiKeyPageSchema,
  apiKeySchema,
  createdKeySchema,
  createKeySchema,
  keyIdSchema,
  meSchema,
  type ApiKeyView,
} from "./wire.ts";

/** What the routes of keys need. */
export interface AccessRouteOptions {
  readonly db: Db;
  readonly ids: IdSource;
  readonly log: Log;
  readonly access: Access;
}

const tags = ["access"];
const params = z.object({ id: keyIdSchema });

/** `/api/v1/keys` (administrators) and `/api/v1/me` (everybody). */
export const accessRoutes: FastifyPluginAsyncZod<AccessRouteOptions> = async (app, options) => {
  await app.register(keyRoutes, options);
  await app.register(meRoutes, options);
};

const keyRoutes: FastifyPluginAsyncZod<AccessRouteOptions> = async (app, options) => {
  const { db, ids, access } = options;

  app.post(
    "/api/v1/keys",
    {
      schema: {
        tags,
        summary: "Make an API key",
        description:
          "The answer's `text` is the key; it is shown once. The first key closes the API to everybody without one.",
        body: createKeySchema,
        response: { 201: createdKeySchema },
      },
    },
    async (request, reply) => {
      const caller = await access.identify(request, ALLOWED.administer);
      const { expiresAt, ...wanted } = request.body;
      const made = await createKey(db, ids, {
        name: wanted.name,
        role: wanted.role,
        allowedClasses: wanted.allowedClasses ?? null,
        expiresAt: expiresAt === undefined || expiresAt === null ? null : Date.parse(expiresAt),
      });
      options.log.info(
        { keyId: made.key.id, role: made.key.role, by: caller.id },
        "api key created",
      );
      return reply.code(201).send({ key: toView(made.key), text: made.text });
    },
  );

  app.get(
    "/api/v1/keys",
    {
      schema: {
        tags,
        summary: "List API keys, newest first, without their secrets",
        querystring: pageQuerySchema,
        response: { 200: apiKeyPageSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.administer);
      const page = await listKeys(db, readPage(request.query));
      return { items: page.items.map(toView), next: page.next };
    },
  );

  app.delete(
    "/api/v1/keys/:id",
    {
      schema: {
        tags,
        summary: "Revoke an API key",
        description: "It stops working on every replica within five seconds.",
        params,
        response: { 200: apiKeySchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.administer);
      const key = await revokeKey(db, request.params.id);
      options.log.info({ keyId: key.id, by: caller.id }, "api key revoked");
      return toView(key);
    },
  );
};

const meRoutes: FastifyPluginAsyncZod<AccessRouteOptions> = async (app, { access }) => {
  app.get(
    "/api/v1/me",
    {
      schema: { tags, summary: "Who the server takes you for", response: { 200: meSchema } },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.know);
      return {
        id: caller.id,
        role: caller.role,
        allowedClasses: caller.allowedClasses === null ? null : [...caller.allowedClasses],
        keysRequired: await access.hasKeys(),
      };
    },
  );
};

function toView(key: ApiKey): ApiKeyView {
  return {
    id: key.id,
    name: key.name,
    role: key.role,
    allowedClasses: key.allowedClasses === null ? null : [...key.allowedClasses],
    createdAt: toInstant(key.createdAt),
    lastUsedAt: toInstantOrNull(key.lastUsedAt),
    expiresAt: toInstantOrNull(key.expiresAt),
    revokedAt: toInstantOrNull(key.revokedAt),
    machineId: key.machineId,
  };
}
