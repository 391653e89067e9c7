import { HoldfastError, runIdSchema } from "@holdfast/contract";
import type { FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { ALLOWED, type Caller, type Role } from "../access/model.ts";
import { textAnswer } from "../platform/http/openapi.ts";
import type { HttpApp } from "../platform/http/server.ts";
import type { MachinesService } from "./service.ts";
import {
  instanceViewSchema,
  machineDetailSchema,
  machineViewSchema,
  runViewSchema,
  toInstanceView,
  toMachineDetail,
  toMachineView,
  toRunView,
} from "./views.ts";

/** What the routes of machines need. */
export interface MachineRoutesDeps {
  readonly identify: (request: FastifyRequest, roles: readonly Role[]) => Promise<Caller>;
  readonly machines: MachinesService;
  /** Answers with stored bytes, as text; throws `output_gone`. */
  readonly sendText: (
    request: FastifyRequest,
    reply: FastifyReply,
    text: { readonly sha256: string; readonly name: string },
  ) => Promise<FastifyReply>;
}

const tags = ["machines"];
const machineParams = z.object({ id: z.string().max(64) });
const runParams = machineParams.extend({ runId: runIdSchema });

/** `/api/v1/machines`, what each tells of itself, and the cordon of an instance. */
export function addMachineRoutes(app: HttpApp, deps: MachineRoutesDeps): void {
  addListRoutes(app, deps);
  addRunRoutes(app, deps);
  addCordonRoutes(app, deps);
}

function addListRoutes(app: HttpApp, { identify, machines }: MachineRoutesDeps): void {
  app.get(
    "/api/v1/machines",
    {
      schema: {
        tags,
        summary: "Machines, and the state of each of their instances",
        response: { 200: z.object({ machines: z.array(machineViewSchema) }) },
      },
    },
    async (request) => {
      await identify(request, ALLOWED.use);
      const [all, instances, summaries] = await Promise.all([
        machines.listMachines(),
        machines.placedInstances(),
        machines.summaries(),
      ]);
      const views = all.map((machine) => {
        const own = instances.filter((instance) => instance.machineId === machine.id);
        return toMachineView(machine, own, summaries.get(machine.id), machines);
      });
      return { machines: await Promise.all(views) };
    },
  );

  app.get(
    "/api/v1/machines/:id",
    {
      schema: {
        tags,
        summary: "A machine: services, cards, what is installed, and how its last starts went",
        params: machineParams,
        response: { 200: machineDetailSchema },
      },
    },
    async (request) => {
      await identify(request, ALLOWED.use);
      return toMachineDetail(await machines.machine(request.params.id), machines);
    },
  );
}

function addRunRoutes(app: HttpApp, deps: MachineRoutesDeps): void {
  const { identify, machines } = deps;
  app.get(
    "/api/v1/machines/:id/steps",
    {
      schema: {
        tags,
        summary: "Steps of a machine's starts, installations and updates, newest run first",
        params: machineParams,
        querystring: z.strictObject({
          run: runIdSchema.optional().meta({ description: "This run alone." }),
        }),
        response: { 200: z.object({ runs: z.array(runViewSchema) }) },
      },
    },
    async (request) => {
      await identify(request, ALLOWED.use);
      const { id } = request.params;
      const { run } = request.query;
      const runs = run === undefined ? await machines.runs(id) : [await machines.run(id, run)];
      return { runs: runs.map((one) => toRunView(id, one)) };
    },
  );

  app.get(
    "/api/v1/machines/:id/logs/:runId",
    {
      schema: {
        tags,
        summary: "The whole log of one run",
        params: runParams,
        response: { 200: textAnswer("text/plain", "The log as the machine sent it.") },
      },
    },
    async (request, reply) => {
      await identify(request, ALLOWED.operate);
      const { id, runId } = request.params;
      const { logSha256: sha256 } = await machines.run(id, runId);
      if (sha256 === null) {
        throw new HoldfastError("not_found", `run ${runId} of machine ${id} has no log`);
      }
      return deps.sendText(request, reply, { sha256, name: `${runId}.log` });
    },
  );
}

function addCordonRoutes(app: HttpApp, { identify, machines }: MachineRoutesDeps): void {
  for (const [action, cordoned, summary] of [
    ["cordon", true, "Give an instance no more work; what it runs goes on"],
    ["uncordon", false, "Give an instance work again; ends a quarantine too"],
  ] as const) {
    app.post(
      `/api/v1/instances/:id/${action}`,
      {
        schema: {
          tags,
          summary,
          params: z.object({ id: z.string().max(64) }),
          response: { 200: instanceViewSchema },
        },
      },
      async (request) => {
        await identify(request, ALLOWED.operate);
        const instance = await machines.setCordon(request.params.id, cordoned);
        return toInstanceView(instance, machines);
      },
    );
  }
}
