import { instanceStateSchema, instantSchema } from "@holdfast/contract";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { ALLOWED, type Caller, type Role } from "../access/model.ts";
import type { HttpApp } from "../platform/http/server.ts";
import type { Instance, Machine } from "./model.ts";
import type { MachinesService } from "./service.ts";

const instanceViewSchema = z.object({
  id: z.string(),
  machineId: z.string(),
  name: z.string(),
  url: z.string(),
  state: instanceStateSchema,
  reason: z.string().nullable(),
  since: instantSchema,
  cordoned: z.boolean(),
  quarantine: z
    .object({ until: instantSchema, reason: z.string() })
    .nullable()
    .meta({ description: "Set aside by itself for a time, because jobs fail there." }),
  simulated: z.boolean().nullable(),
  vramFreeBytes: z.number().nullable(),
});

const machineViewSchema = z.object({
  id: z.string(),
  name: z.string(),
  state: z.enum(["online", "lost"]),
  agentVersion: z.string(),
  lastHeartbeatAt: instantSchema,
  registeredAt: instantSchema,
  instances: z.array(instanceViewSchema),
});

/** What the routes of machines need. */
export interface MachineRoutesDeps {
  readonly identify: (request: FastifyRequest, roles: readonly Role[]) => Promise<Caller>;
  readonly machines: MachinesService;
}

/** `/api/v1/machines` and the cordon of an instance. */
export function addMachineRoutes(app: HttpApp, deps: MachineRoutesDeps): void {
  const { identify, machines } = deps;
  const tags = ["machines"];

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
      const [all, instances] = await Promise.all([
        machines.listMachines(),
        machines.placedInstances(),
      ]);
      return {
        machines: await Promise.all(
          all.map((machine) =>
            toView(
              machine,
              instances.filter((instance) => instance.machineId === machine.id),
              machines,
            ),
          ),
        ),
      };
    },
  );

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

async function toView(
  machine: Machine,
  instances: readonly Instance[],
  machines: MachinesService,
): Promise<z.infer<typeof machineViewSchema>> {
  return {
    id: machine.id,
    name: machine.name,
    state: machine.state,
    agentVersion: machine.agentVersion,
    lastHeartbeatAt: new Date(machine.lastHeartbeatAt).toISOString(),
    registeredAt: new Date(machine.registeredAt).toISOString(),
    instances: await Promise.all(instances.map((instance) => toInstanceView(instance, machines))),
  };
}

async function toInstanceView(
  instance: Instance,
  machines: MachinesService,
): Promise<z.infer<typeof instanceViewSchema>> {
  const inventory =
    instance.inventoryDigest === null
      ? undefined
      : await machines.inventory(instance.inventoryDigest);
  return {
    id: instance.id,
    machineId: instance.machineId,
    name: instance.name,
    url: instance.key,
    state: instance.state,
    reason: instance.reason,
    since: new Date(instance.stateSince).toISOString(),
    cordoned: instance.cordoned,
    quarantine:
      instance.quarantine === null
        ? null
        : {
            until: new Date(instance.quarantine.until).toISOString(),
            reason: instance.quarantine.reason,
          },
    simulated: inventory?.simulated ?? null,
    vramFreeBytes: instance.vramFreeBytes,
  };
}
