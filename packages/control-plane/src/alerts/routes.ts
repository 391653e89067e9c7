import {
  acknowledgeAlertSchema,
  ALERT_STATES,
  alertChannelsSchema,
  alertDeliveryIdSchema,
  alertDeliveryPageSchema,
  alertDeliverySchema,
  alertIdSchema,
  alertPageSchema,
  alertRuleSchema,
  alertRulesSchema,
  alertSchema,
  createSilenceSchema,
  listAlertDeliveriesQuerySchema,
  listAlertsQuerySchema,
  madeSilenceSchema,
  pageQuerySchema,
  silenceIdSchema,
  silencePageSchema,
  silenceSchema,
  testAlertsSchema,
  testedAlertsSchema,
} from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { ALLOWED } from "../access/model.ts";
import { readPage } from "../access/pages.ts";
import type { Access } from "../access/service.ts";
import type { RuleService } from "./rule-service.ts";
import type { AlertService } from "./service.ts";
import {
  toAlertView,
  toChannelView,
  toDeliveryView,
  toMadeSilenceView,
  toRuleView,
  toSilenceView,
} from "./views.ts";

/** What the routes of alerts need. */
export interface AlertRouteOptions {
  readonly access: Access;
  readonly alerts: AlertService;
  readonly rules: RuleService;
  readonly clock: Pick<Clock, "now">;
}

const tags = ["alerts"];
const alertParams = z.object({ id: alertIdSchema });
const silenceParams = z.object({ id: silenceIdSchema });
const deliveryParams = z.object({ id: alertDeliveryIdSchema });
const ruleParams = z.object({ name: z.string().min(1).max(60) });
/** Largest rule: one with every field at its limit is smaller. */
const RULE_LIMIT_BYTES = 64 * 1024;
const MS_PER_SECOND = 1_000;

/** `/api/v1/alerts`. */
export const alertRoutes: FastifyPluginAsyncZod<AlertRouteOptions> = async (app, options) => {
  await app.register(listRoutes, options);
  await app.register(ruleRoutes, options);
  await app.register(silenceRoutes, options);
  await app.register(channelRoutes, options);
};

const listRoutes: FastifyPluginAsyncZod<AlertRouteOptions> = async (app, options) => {
  const { access, alerts } = options;

  app.get(
    "/api/v1/alerts",
    {
      schema: {
        tags,
        summary: "List alerts, newest first",
        querystring: listAlertsQuerySchema,
        response: { 200: alertPageSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      const { state, severity, rule, ...query } = request.query;
      const states =
        state === "live"
          ? (["pending", "firing"] as const)
          : state === undefined
            ? ALERT_STATES
            : [state];
      const filter = { states, leastSeverity: severity ?? "info", rule: rule ?? null } as const;
      const page = await alerts.list(filter, readPage(query));
      return { items: page.items.map(toAlertView), next: page.next };
    },
  );

  app.get(
    "/api/v1/alerts/:id",
    { schema: { tags, summary: "One alert", params: alertParams, response: { 200: alertSchema } } },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      return toAlertView(await alerts.get(request.params.id));
    },
  );

  app.post(
    "/api/v1/alerts/:id/acknowledge",
    {
      schema: {
        tags,
        summary: "Say that somebody is at an alert",
        description: "Channels are not reminded of it any more; they are told when it is resolved.",
        params: alertParams,
        body: acknowledgeAlertSchema,
        response: { 200: alertSchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.operate);
      const { note = null } = request.body;
      return toAlertView(await alerts.acknowledge(request.params.id, caller.id, note));
    },
  );
};

/** Any object: what is wrong in it is said by the code that reads rules, field by field. */
const ruleBodySchema = z.record(z.string(), z.unknown()).meta({
  description:
    '`severity`, `summary`, `when` (`metric`, `above` or `below`, and if wanted `resolve` and `where`), and if wanted `alongside`, `forMs`, `resolveAfterMs`, `noDataMs`, `labels`, `advice`; or `{"enabled": false}`.',
});

const ruleRoutes: FastifyPluginAsyncZod<AlertRouteOptions> = async (app, options) => {
  const { access, alerts, rules } = options;

  app.get(
    "/api/v1/alerts/rules",
    {
      schema: {
        tags,
        summary: "List the rules: built in, of the file, and of this API",
        response: { 200: alertRulesSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      const facts = await alerts.ruleFacts();
      return { rules: (await rules.list()).map((rule) => toRuleView(rule, facts)) };
    },
  );

  app.put(
    "/api/v1/alerts/rules/:name",
    {
      bodyLimit: RULE_LIMIT_BYTES,
      schema: {
        tags,
        summary: "Make or replace a rule",
        description:
          "One of the name of a built-in rule, or of one of the file, stands in its place. Replicas go by it at their next evaluation.",
        params: ruleParams,
        body: ruleBodySchema,
        response: { 200: alertRuleSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      const put = await rules.put(request.params.name, request.body);
      return toRuleView(put, await alerts.ruleFacts());
    },
  );

  app.delete(
    "/api/v1/alerts/rules/:name",
    {
      schema: {
        tags,
        summary: "Delete a rule of this API",
        params: ruleParams,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await access.identify(request, ALLOWED.operate);
      await rules.remove(request.params.name);
      return reply.code(204).send(null);
    },
  );
};

const silenceRoutes: FastifyPluginAsyncZod<AlertRouteOptions> = async (app, options) => {
  const { access, alerts, clock } = options;

  app.post(
    "/api/v1/alerts/silences",
    {
      schema: {
        tags,
        summary: "Keep alerts from being delivered for a time",
        description:
          "They are shown all the same, and delivered afterwards if they still fire. A rule or severity that there is not is refused.",
        body: createSilenceSchema,
        response: { 201: madeSilenceSchema },
      },
    },
    async (request, reply) => {
      const caller = await access.identify(request, ALLOWED.operate);
      const { matchers, forSeconds, reason } = request.body;
      const wanted = { matchers, forMs: forSeconds * MS_PER_SECOND, reason };
      const made = await alerts.silence(caller.id, wanted);
      return reply.code(201).send(toMadeSilenceView(made, clock.now()));
    },
  );

  app.get(
    "/api/v1/alerts/silences",
    {
      schema: {
        tags,
        summary: "List silences, newest first",
        querystring: pageQuerySchema,
        response: { 200: silencePageSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      const page = await alerts.listSilences(readPage(request.query));
      const now = clock.now();
      return { items: page.items.map((one) => toSilenceView(one, now)), next: page.next };
    },
  );

  app.delete(
    "/api/v1/alerts/silences/:id",
    {
      schema: {
        tags,
        summary: "End a silence now",
        params: silenceParams,
        response: { 200: silenceSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      return toSilenceView(await alerts.endSilence(request.params.id), clock.now());
    },
  );
};

const channelRoutes: FastifyPluginAsyncZod<AlertRouteOptions> = async (app, options) => {
  const { access, alerts } = options;

  app.get(
    "/api/v1/alerts/channels",
    {
      schema: {
        tags,
        summary: "Where alerts are delivered to",
        response: { 200: alertChannelsSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      return { channels: (await alerts.channels()).map(toChannelView) };
    },
  );

  app.post(
    "/api/v1/alerts/test",
    {
      schema: {
        tags,
        summary: "Send a test to one channel, or to all",
        description: "Look at each delivery for what became of it.",
        body: testAlertsSchema,
        response: { 202: testedAlertsSchema },
      },
    },
    async (request, reply) => {
      await access.identify(request, ALLOWED.operate);
      const deliveries = await alerts.test(request.body.channel);
      return reply.code(202).send({ deliveries: deliveries.map(toDeliveryView) });
    },
  );

  app.get(
    "/api/v1/alerts/deliveries",
    {
      schema: {
        tags,
        summary: "List notifications, newest first",
        querystring: listAlertDeliveriesQuerySchema,
        response: { 200: alertDeliveryPageSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      const { channel = null, state = null, ...query } = request.query;
      const page = await alerts.listDeliveries({ channel, state }, readPage(query));
      return { items: page.items.map(toDeliveryView), next: page.next };
    },
  );

  app.get(
    "/api/v1/alerts/deliveries/:id",
    {
      schema: {
        tags,
        summary: "One notification",
        params: deliveryParams,
        response: { 200: alertDeliverySchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      return toDeliveryView(await alerts.getDelivery(request.params.id));
    },
  );
};
