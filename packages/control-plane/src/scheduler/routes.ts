import {
  MAX_MACHINE_REPORT_BYTES,
  machineReportRequestSchema,
  startupStepsRequestSchema,
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
import { ALLOWED, assertActsAs, type Caller, type Role } from "../access/model.ts";
import type { MachineReportService } from "../machines/report-service.ts";
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

/** 500 steps with all they have to say. */
const STEPS_BODY_LIMIT = 4 * 1024 * 1024;

/** What the agent's routes need. */
export interface AgentRoutesDeps {
  readonly identify: (request: FastifyRequest, roles: readonly Role[]) => Promise<Caller>;
  readonly leases: LeaseService;
  readonly reports: ReportService;
  readonly checkpoints: CheckpointService;
  readonly machines: MachinesService;
  readonly machineReports: MachineReportService;
  /** Aborted when the server closes: polls that wait end then. */
  readonly closing: AbortSignal;
}

/** `/agent/v1`: the wire of the contract's `agent.ts`, but for blobs. */
export function addAgentRoutes(app: HttpApp, deps: AgentRoutesDeps): void {
  const { leases, reports, checkpoints, machines } = deps;
  const callers = new WeakMap<FastifyRequest, Caller>();
  const onRequest = async (request: FastifyRequest): Promise<void> => {
    callers.set(request, await deps.identify(request, ALLOWED.serve));
  };
  const callerOf = (request: FastifyRequest): Caller => {
    const caller = callers.get(request);
    if (caller === undefined) throw new Error("a request of an agent was not identified");
    return caller;
  };
  /** After the body is read: whether it speaks for a machine of the caller's. */
  const preHandler = async (request: FastifyRequest): Promise<void> => {
    const { machineId } = request.body as { readonly machineId: string };
    assertActsAs(callerOf(request), machineId);
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
    (request) => leases.register(request.body, callerOf(request)),
  );

  app.post(
    "/agent/v1/poll",
    {
      onRequest,
      preHandler,
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
      preHandler,
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
      preHandler,
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
      preHandler,
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

  app.put(
    "/agent/v1/machine-report",
    {
      onRequest,
      preHandler,
      bodyLimit: MAX_MACHINE_REPORT_BYTES,
      schema: {
        tags,
        summary: "Tell what the machine is now: services, cards, what is installed, what it offers",
        body: machineReportRequestSchema,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await deps.machineReports.putReport(request.body);
      return reply.code(204).send(null);
    },
  );

  app.post(
    "/agent/v1/startup-steps",
    {
      onRequest,
      preHandler,
      bodyLimit: STEPS_BODY_LIMIT,
      schema: {
        tags,
        summary: "Tell how a start or an installation went so far",
        description: "Safe to repeat: a step that was told before is replaced.",
        body: startupStepsRequestSchema,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await deps.machineReports.putSteps(request.body);
      return reply.code(204).send(null);
    },
  );
}
