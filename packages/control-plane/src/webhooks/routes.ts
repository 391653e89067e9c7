import { pageQuerySchema } from "@holdfast/contract";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { ALLOWED, ownerScope } from "../access/model.ts";
import { readPage, toInstant, toInstantOrNull } from "../access/pages.ts";
import type { Access } from "../access/service.ts";
import type { Delivery, WebhookEndpoint } from "./model.ts";
import type { WebhookService } from "./service.ts";
import {
  createdEndpointSchema,
  createEndpointSchema,
  deliveryIdSchema,
  deliveryPageSchema,
  deliverySchema,
  endpointIdSchema,
  endpointPageSchema,
  endpointSchema,
  jobSecretSchema,
  listDeliveriesQuerySchema,
  updateEndpointSchema,
  type DeliveryView,
  type EndpointView,
} from "./wire.ts";

/** What the routes of webhooks need. */
export interface WebhookRouteOptions {
  readonly access: Access;
  readonly webhooks: WebhookService;
}

const tags = ["webhooks"];
const endpointParams = z.object({ id: endpointIdSchema });
const deliveryParams = z.object({ id: deliveryIdSchema });

/** `/api/v1/webhooks`, `/api/v1/webhook-deliveries`, `/api/v1/webhook-secret`. */
export const webhookRoutes: FastifyPluginAsyncZod<WebhookRouteOptions> = async (app, options) => {
  await app.register(endpointRoutes, options);
  await app.register(endpointActionRoutes, options);
  await app.register(deliveryRoutes, options);
};

const endpointRoutes: FastifyPluginAsyncZod<WebhookRouteOptions> = async (app, options) => {
  const { access, webhooks } = options;

  app.post(
    "/api/v1/webhooks",
    {
      schema: {
        tags,
        summary: "Be told of events by HTTP",
        description:
          "Events go out as Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature), are tried again for some 40 hours, and keep their webhook-id. The secret is shown here and never again.",
        body: createEndpointSchema,
        response: { 201: createdEndpointSchema },
      },
    },
    async (request, reply) => {
      const caller = await access.identify(request, ALLOWED.use);
      const made = await webhooks.create(caller.id, {
        url: request.body.url,
        eventTypes: request.body.eventTypes ?? [],
      });
      return reply.code(201).send({ endpoint: toEndpointView(made.endpoint), secret: made.secret });
    },
  );

  app.get(
    "/api/v1/webhooks",
    {
      schema: {
        tags,
        summary: "List webhook endpoints, newest first",
        querystring: pageQuerySchema,
        response: { 200: endpointPageSchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.use);
      const page = await webhooks.list(ownerScope(caller), readPage(request.query));
      return { items: page.items.map(toEndpointView), next: page.next };
    },
  );

  app.get(
    "/api/v1/webhooks/:id",
    {
      schema: {
        tags,
        summary: "One webhook endpoint",
        params: endpointParams,
        response: { 200: endpointSchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.use);
      return toEndpointView(await webhooks.get(request.params.id, ownerScope(caller)));
    },
  );

  app.patch(
    "/api/v1/webhooks/:id",
    {
      schema: {
        tags,
        summary: "Change a webhook endpoint",
        params: endpointParams,
        body: updateEndpointSchema,
        response: { 200: endpointSchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.use);
      const { id } = request.params;
      return toEndpointView(await webhooks.update(id, ownerScope(caller), request.body));
    },
  );
};

const endpointActionRoutes: FastifyPluginAsyncZod<WebhookRouteOptions> = async (app, options) => {
  const { access, webhooks } = options;

  app.post(
    "/api/v1/webhooks/:id/ping",
    {
      schema: {
        tags,
        summary: "Send a test event to a webhook endpoint",
        params: endpointParams,
        response: { 202: deliverySchema },
      },
    },
    async (request, reply) => {
      const caller = await access.identify(request, ALLOWED.use);
      const delivery = await webhooks.ping(request.params.id, ownerScope(caller));
      return reply.code(202).send(toDeliveryView(delivery));
    },
  );

  app.post(
    "/api/v1/webhooks/:id/secret",
    {
      schema: {
        tags,
        summary: "Give a webhook endpoint a new signing secret",
        description: "The secret is shown here and never again; the one before signs nothing more.",
        params: endpointParams,
        response: { 200: jobSecretSchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.use);
      return { secret: await webhooks.renewSecret(request.params.id, ownerScope(caller)) };
    },
  );

  app.delete(
    "/api/v1/webhooks/:id",
    {
      schema: {
        tags,
        summary: "Delete a webhook endpoint and its deliveries",
        params: endpointParams,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const caller = await access.identify(request, ALLOWED.use);
      await webhooks.remove(request.params.id, ownerScope(caller));
      return reply.code(204).send(null);
    },
  );

  app.get(
    "/api/v1/webhook-secret",
    {
      schema: {
        tags,
        summary: "The secret that signs the webhooks of single jobs",
        description: "One for the whole deployment, so administrators hand it out.",
        response: { 200: jobSecretSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.administer);
      return { secret: await webhooks.jobSecret() };
    },
  );
};

const deliveryRoutes: FastifyPluginAsyncZod<WebhookRouteOptions> = async (app, options) => {
  const { access, webhooks } = options;

  app.get(
    "/api/v1/webhook-deliveries",
    {
      schema: {
        tags,
        summary: "List webhook deliveries, newest first",
        description: "`state=dead` are the dead letters.",
        querystring: listDeliveriesQuerySchema,
        response: { 200: deliveryPageSchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.use);
      const { state, jobId, endpointId, ...query } = request.query;
      const filter = { owner: ownerScope(caller), state, jobId, endpointId };
      const page = await webhooks.listDeliveries(filter, readPage(query));
      return { items: page.items.map(toDeliveryView), next: page.next };
    },
  );

  app.get(
    "/api/v1/webhook-deliveries/:id",
    {
      schema: {
        tags,
        summary: "One webhook delivery",
        params: deliveryParams,
        response: { 200: deliverySchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.use);
      return toDeliveryView(await webhooks.getDelivery(request.params.id, ownerScope(caller)));
    },
  );

  app.post(
    "/api/v1/webhook-deliveries/:id/replay",
    {
      schema: {
        tags,
        summary: "Send a webhook delivery again",
        description: "Dead or delivered, under the same webhook-id, with all its tries before it.",
        params: deliveryParams,
        response: { 202: deliverySchema },
      },
    },
    async (request, reply) => {
      const caller = await access.identify(request, ALLOWED.use);
      const delivery = await webhooks.replay(request.params.id, ownerScope(caller));
      return reply.code(202).send(toDeliveryView(delivery));
    },
  );
};

function toEndpointView(endpoint: WebhookEndpoint): EndpointView {
  return {
    id: endpoint.id,
    owner: endpoint.owner,
    url: endpoint.url,
    eventTypes: [...endpoint.eventTypes],
    enabled: endpoint.enabled,
    createdAt: toInstant(endpoint.createdAt),
  };
}

function toDeliveryView(delivery: Delivery): DeliveryView {
  return {
    id: delivery.id,
    owner: delivery.owner,
    endpointId: delivery.endpointId,
    jobId: delivery.jobId,
    eventId: delivery.eventId,
    eventType: delivery.eventType,
    url: delivery.url,
    state: delivery.state,
    attemptCount: delivery.attemptCount,
    nextAt: delivery.state === "pending" ? toInstant(delivery.nextAt) : null,
    lastStatus: delivery.lastStatus,
    lastError: delivery.lastError,
    createdAt: toInstant(delivery.createdAt),
    endedAt: toInstantOrNull(delivery.endedAt),
  };
}
