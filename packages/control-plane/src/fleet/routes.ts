import {
  endMachineSchema,
  fleetMachineSchema,
  fleetStatusQuerySchema,
  fleetStatusSchema,
  leverSchema,
  MAX_ID_LENGTH,
  pageQuerySchema,
  setLeverSchema,
  spawnSchema,
  systemHealthSchema,
  undoLeverQuerySchema,
} from "@holdfast/contract";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { ALLOWED, type Caller, type Role } from "../access/model.ts";
import { readPage } from "../access/pages.ts";
import { MAX_IDEMPOTENCY_KEY_LENGTH } from "../jobs/model.ts";
import { readIdempotencyKey } from "../jobs/requests.ts";
import type { HttpApp } from "../platform/http/server.ts";
import type { HealthFacts } from "./system-health.ts";
import type { FleetService } from "./service.ts";

/** What the routes of the fleet need. */
export interface FleetRoutesDeps {
  readonly identify: (request: FastifyRequest, roles: readonly Role[]) => Promise<Caller>;
  readonly fleet: FleetService;
  readonly readiness: () => Promise<HealthFacts["checks"]>;
}

const tags = ["fleet"];
const idParams = z.object({ id: z.string().max(MAX_ID_LENGTH) });

const spawnHeadersSchema = z.looseObject({
  "idempotency-key": z
    .string()
    .optional()
    .meta({
      description: `Any text of yours, at most ${MAX_IDEMPOTENCY_KEY_LENGTH} characters: the same key with the same body gives the same machines.`,
    }),
});
const spawnedSchema = z.object({ machines: z.array(fleetMachineSchema) });

/** `/api/v1/fleet`: how it is, its machines, and what may be set while it runs. */
export function addFleetRoutes(app: HttpApp, deps: FleetRoutesDeps): void {
  addStatusRoutes(app, deps);
  addMachineRoutes(app, deps);
  addLeverRoutes(app, deps);
}

function addStatusRoutes(app: HttpApp, { identify, fleet, readiness }: FleetRoutesDeps): void {
  app.get(
    "/api/v1/fleet",
    {
      schema: {
        tags,
        summary: "The fleet: failure rate, machines, pools, and when machines may be started",
        querystring: fleetStatusQuerySchema,
        response: { 200: fleetStatusSchema },
      },
    },
    async (request) => {
      await identify(request, ALLOWED.use);
      const { timelineLimit } = request.query;
      return await fleet.status(timelineLimit === undefined ? undefined : Number(timelineLimit));
    },
  );
  app.get(
    "/api/v1/fleet/health",
    {
      schema: {
        tags,
        summary: "The whole system for a person: healthy, degraded or down, and what to do",
        response: { 200: systemHealthSchema },
      },
    },
    async (request) => {
      await identify(request, ALLOWED.use);
      return await fleet.health(await readiness());
    },
  );
}

function addMachineRoutes(app: HttpApp, { identify, fleet }: FleetRoutesDeps): void {
  app.get(
    "/api/v1/fleet/machines",
    {
      schema: {
        tags,
        summary: "Machines of the fleet, newest first, with how they ended",
        querystring: pageQuerySchema.extend({
          living: z
            .enum(["true", "false"])
            .optional()
            .meta({ description: "Leave out those that have ended." }),
        }),
        response: {
          200: z.object({ items: z.array(fleetMachineSchema), next: z.string().nullable() }),
        },
      },
    },
    async (request) => {
      await identify(request, ALLOWED.use);
      const { cursor, limit } = readPage(request.query);
      const isLiving = request.query.living === "true";
      const page = { before: cursor ?? null, limit: limit + 1, isLiving };
      return toPage(await fleet.machines(page), limit);
    },
  );
  app.post(
    "/api/v1/fleet/spawn",
    {
      schema: {
        tags,
        summary: "Start machines by a person's word; recorded with who and why",
        description:
          "While the breaker is open, or the budget has no room, it needs `force`, and the answer says what it risks. 202 when the machines are written down; 200 when the Idempotency-Key was used before with this body.",
        headers: spawnHeadersSchema,
        body: spawnSchema,
        response: { 200: spawnedSchema, 202: spawnedSchema },
      },
    },
    async (request, reply) => {
      const caller = await identify(request, ALLOWED.operate);
      const { pool, ...rest } = request.body;
      const key = readIdempotencyKey(request.headers["idempotency-key"]);
      const { machines, isNew } = await fleet.spawn({ ...rest, pool, by: caller.id, key });
      return reply.code(isNew ? 202 : 200).send({ machines: [...machines] });
    },
  );
  app.post(
    "/api/v1/fleet/machines/:id/end",
    {
      schema: {
        tags,
        summary: "End a machine: its jobs are waited for, unless it is to end now",
        params: idParams,
        body: endMachineSchema,
        response: { 202: fleetMachineSchema },
      },
    },
    async (request, reply) => {
      const caller = await identify(request, ALLOWED.operate);
      const ended = await fleet.endMachine(request.params.id, { ...request.body, by: caller.id });
      return reply.code(202).send(ended);
    },
  );
}

function addLeverRoutes(app: HttpApp, { identify, fleet }: FleetRoutesDeps): void {
  app.get(
    "/api/v1/fleet/levers",
    {
      schema: {
        tags,
        summary: "What people have set while the fleet runs, newest first",
        querystring: pageQuerySchema,
        response: { 200: z.object({ items: z.array(leverSchema), next: z.string().nullable() }) },
      },
    },
    async (request) => {
      await identify(request, ALLOWED.use);
      const { cursor, limit } = readPage(request.query);
      return toPage(await fleet.levers({ before: cursor ?? null, limit: limit + 1 }), limit);
    },
  );
  app.post(
    "/api/v1/fleet/levers",
    {
      schema: {
        tags,
        summary: "Set threshold, window (minutes) or minimum, clear old failures, or pause",
        body: setLeverSchema,
        response: { 201: leverSchema },
      },
    },
    async (request, reply) => {
      const caller = await identify(request, ALLOWED.operate);
      const lever = await fleet.setLever({ ...request.body, by: caller.id });
      return reply.code(201).send(lever);
    },
  );
  app.delete(
    "/api/v1/fleet/levers/:id",
    {
      schema: {
        tags,
        summary: "Undo a lever: what was set before it is in force again",
        params: idParams,
        querystring: undoLeverQuerySchema,
        response: { 200: leverSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.operate);
      const { reason } = request.query;
      return await fleet.undoLever(request.params.id, { by: caller.id, reason });
    },
  );
}

function toPage<T extends { readonly id: string }>(
  found: readonly T[],
  limit: number,
): { readonly items: T[]; readonly next: string | null } {
  const items = found.slice(0, limit);
  return { items, next: found.length > limit ? (items.at(-1)?.id ?? null) : null };
}
