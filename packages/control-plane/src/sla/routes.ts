import { slaQuerySchema, slaStatusSchema } from "@holdfast/contract";
import type { FastifyRequest } from "fastify";
import { ALLOWED, type Caller, type Role } from "../access/model.ts";
import type { HttpApp } from "../platform/http/server.ts";
import type { SlaService } from "./service.ts";

/** What the route needs. */
export interface SlaRoutesDeps {
  readonly identify: (request: FastifyRequest, roles: readonly Role[]) => Promise<Caller>;
  readonly sla: SlaService;
}

/** `/api/v1/sla`: of everybody's jobs, so it takes an operator's key. */
export function addSlaRoutes(app: HttpApp, { identify, sla }: SlaRoutesDeps): void {
  app.get(
    "/api/v1/sla",
    {
      schema: {
        tags: ["sla"],
        summary: "What was delivered over a time, and how the error budget stands",
        querystring: slaQuerySchema,
        response: { 200: slaStatusSchema },
      },
    },
    async (request) => {
      await identify(request, ALLOWED.operate);
      const { from, to, stepSeconds, failedPercentMax, budgetDays } = request.query;
      return await sla.status({
        from: epochOf(from),
        to: epochOf(to),
        stepSeconds: numberOf(stepSeconds),
        failedPercentMax: numberOf(failedPercentMax),
        budgetDays: numberOf(budgetDays),
      });
    },
  );
}

function epochOf(instant: string | undefined): number | undefined {
  return instant === undefined ? undefined : Date.parse(instant);
}

function numberOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text);
}
