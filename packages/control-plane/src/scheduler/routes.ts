import {
  checkpointRequestSchema,
  checkpointResponseSchema,
  inventoryUploadSchema,
  pollRequestSchema,
  pollResponseSchema,
  registerRequestSchema,
  registerResponseSchema,
  renewRequestSchema,
  renewResponseSchema,
  reportRequestSchema,
  reportResponseSchema,
} from "@holdfast/contract";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { ALLOWED, type Caller, type Role } from "../access/model.ts";
import type { MachinesService } from "../machines/service.ts";
import type { HttpApp } from "../platform/http/server.ts";
import type { CheckpointService } from "./checkpoint-service.ts";
import type { LeaseService } from "./lease-service.ts";
import type { ReportService } from "./report-service.ts";

const GONE = new Error("the agent has closed its connection");

/** An `/object_info` of many custom nodes; the core's is 0.3 MB (F25). */
const INVENTORY_BODY_LIMIT = 64 * 1024 * 1024;
/** 100 reports of 100 outputs each fit; evidence is bounded by the agent. */
const REPORT_BODY_LIMIT = 32 * 1024 * 1024;

/** What the agent's routes need. */
export interface AgentRoutesDeps {
  readonly identify: (request: FastifyRequest, roles: readonly Role[]) => Promise<Caller>;
  readonly leases: LeaseService;
  readonly reports: ReportService;
  readonly checkpoints: CheckpointService;
  readonly machines: MachinesService;
  /** Aborted when the server closes: polls that wait end then. */
  readonly closing: AbortSignal;
}

/** `/agent/v1`: the wire of the contract's `agent.ts`, but for blobs. */
export function addAgentRoutes(app: HttpApp, deps: AgentRoutesDeps): void {
  const { leases, reports, checkpoints, machines } = deps;
  const onRequest = async (request: FastifyRequest): Promise<void> => {
    await deps.identify(request, ALLOWED.serve);
  };
  const tags = ["agent"];

  app.post(
    "/agent/v1/register",
    {
      onRequest,
      schema: {
        tags,
        summary: "An agent tells what it is, and takes up what it held",
        body: registerRequestSchema,
        response: { 200: registerResponseSchema },
      },
    },
    (request) => leases.register(request.body),
  );

  app.post(
    "/agent/v1/poll",
    {
      onRequest,
      schema: {
        tags,
        summary: "Ask for work; held open until there is some",
        body: pollRequestSchema,
        response: { 200: pollResponseSchema },
      },
    },
    (request, reply) => {
      const gone = new AbortController();
      // The answer's "close": the request's own comes as soon as its body has been read.
      reply.raw.once("close", () => gone.abort(GONE));
      return leases.poll(request.body, AbortSignal.any([gone.signal, deps.closing]));
    },
  );

  app.post(
    "/agent/v1/renew",
    {
      onRequest,
      schema: {
        tags,
        summary: "Renew leases, and tell how far they are",
        body: renewRequestSchema,
        response: { 200: renewResponseSchema },
      },
    },
    (request) => leases.renew(request.body),
  );

  app.post(
    "/agent/v1/reports",
    {
      onRequest,
      bodyLimit: REPORT_BODY_LIMIT,
      schema: {
        tags,
        summary: "Tell what became of attempts",
        body: reportRequestSchema,
        response: { 200: reportResponseSchema },
      },
    },
    (request) => reports.report(request.body),
  );

  app.post(
    "/agent/v1/checkpoints",
    {
      onRequest,
      schema: {
        tags,
        summary: "Tell what an attempt has put away, went on from, or could not use",
        body: checkpointRequestSchema,
        response: { 200: checkpointResponseSchema },
      },
    },
    (request) => checkpoints.note(request.body),
  );

  app.put(
    "/agent/v1/inventories",
    {
      onRequest,
      bodyLimit: INVENTORY_BODY_LIMIT,
      schema: {
        tags,
        summary: "Tell what an instance has: node classes and models",
        body: inventoryUploadSchema,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await machines.putInventory(request.body);
      return reply.code(204).send(null);
    },
  );
}
