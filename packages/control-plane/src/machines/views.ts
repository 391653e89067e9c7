/** Machines as the API shows them. */
import {
  instanceStateSchema,
  instantSchema,
  machineGpuSchema,
  machineReleaseSchema,
  machineServiceSchema,
  modelFetchSchema,
  offeredModelSchema,
  RUN_KINDS,
  runIdSchema,
  startupStepSchema,
  type MachineService,
} from "@holdfast/contract";
import { z } from "zod";
import type { Instance, Machine } from "./model.ts";
import type { ReportSummary } from "./report.ts";
import type { KeptReport, StartupRun } from "./report-store.ts";
import type { MachineDetail } from "./detail-service.ts";
import type { MachinesService } from "./service.ts";

/** One instance. */
export const instanceViewSchema = z.object({
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
  canRestart: z
    .boolean()
    .meta({ description: "Whether its agent can start the process anew; recovery then does." }),
  simulated: z.boolean().nullable(),
  vramFreeBytes: z.number().nullable(),
});

const summarySchema = z.object({
  services: z.object({ total: z.int(), healthy: z.int() }),
  problems: z.array(z.object({ name: z.string(), state: z.string(), reason: z.string() })),
  gpus: z.object({ total: z.int(), faulty: z.int() }),
  release: z.string().nullable(),
  healthPort: z.int().nullable(),
  reportedAt: instantSchema,
});

const machineFields = {
  id: z.string(),
  name: z.string(),
  state: z.enum(["online", "lost"]),
  agentVersion: z.string(),
  lastHeartbeatAt: instantSchema,
  registeredAt: instantSchema,
  instances: z.array(instanceViewSchema),
};

/** One machine of a list. */
export const machineViewSchema = z.object({
  ...machineFields,
  report: summarySchema.nullable().meta({
    description: "What the machine tells of itself, in short; null when it never did.",
  }),
});

const serviceViewSchema = machineServiceSchema.extend({ since: instantSchema });

/** A start, an installation or an update. */
export const runViewSchema = z.object({
  runId: runIdSchema,
  kind: z.enum(RUN_KINDS),
  ok: z.boolean().meta({ description: "No step failed that is not optional." }),
  startedAt: instantSchema,
  durationMs: z.number().meta({ description: "From its first step to the end of its last." }),
  updatedAt: instantSchema,
  steps: z.array(startupStepSchema.extend({ startedAt: instantSchema })),
  omitted: z.int().meta({ description: "Steps for which there was no room." }),
  logUrl: z.string().nullable(),
});

/** One machine with all that is told of it. */
export const machineDetailSchema = z.object({
  ...machineFields,
  reportedAt: instantSchema.nullable(),
  services: z.array(serviceViewSchema),
  gpus: z.array(machineGpuSchema),
  release: machineReleaseSchema.nullable(),
  manifestDigest: z.string().nullable(),
  host: z
    .object({
      cpuCount: z.int().nullable(),
      memoryTotalBytes: z.number().nullable(),
      memoryFreeBytes: z.number().nullable(),
      diskTotalBytes: z.number().nullable(),
      diskFreeBytes: z.number().nullable(),
    })
    .nullable(),
  offers: z.object({
    models: z.array(offeredModelSchema),
    packs: z.array(z.object({ name: z.string(), classes: z.array(z.string()) })),
  }),
  fetches: z.array(modelFetchSchema),
  healthPort: z.int().nullable(),
  runs: z.array(runViewSchema),
});

const at = (epochMs: number): string => new Date(epochMs).toISOString();

/** A machine for a list. */
export async function toMachineView(
  machine: Machine,
  instances: readonly Instance[],
  summary: (ReportSummary & { readonly reportedAt: number }) | undefined,
  machines: MachinesService,
): Promise<z.infer<typeof machineViewSchema>> {
  return {
    ...(await toFields(machine, instances, machines)),
    report:
      summary === undefined
        ? null
        : { ...summary, problems: [...summary.problems], reportedAt: at(summary.reportedAt) },
  };
}

/** A machine by itself. */
export async function toMachineDetail(
  { machine, instances, kept, runs }: MachineDetail,
  machines: MachinesService,
): Promise<z.infer<typeof machineDetailSchema>> {
  return {
    ...(await toFields(machine, instances, machines)),
    ...toReportFields(kept),
    runs: runs.map((run) => toRunView(machine.id, run)),
  };
}

function toReportFields(kept: KeptReport | null) {
  if (kept === null) {
    return {
      reportedAt: null,
      services: [],
      gpus: [],
      release: null,
      manifestDigest: null,
      host: null,
      offers: { models: [], packs: [] },
      fetches: [],
      healthPort: null,
    };
  }
  const { report, offers, fetches, reportedAt } = kept;
  const { gpus, release, manifestDigest, host, healthPort } = report;
  const services = report.services.map(toServiceView);
  const told = { gpus, release, manifestDigest, host, healthPort, services };
  return { ...told, reportedAt: at(reportedAt), offers, fetches };
}

function toServiceView(service: MachineService): z.infer<typeof serviceViewSchema> {
  return { ...service, since: at(service.since) };
}

/** A run of a machine. */
export function toRunView(machineId: string, run: StartupRun): z.infer<typeof runViewSchema> {
  const { runId, kind, steps, omitted, createdAt, updatedAt, logSha256 } = run;
  const startedAt = Math.min(...steps.map((step) => step.startedAt), createdAt);
  const endedAt = Math.max(startedAt, ...steps.map((step) => step.startedAt + step.durationMs));
  return {
    runId,
    kind,
    ok: !steps.some(({ outcome, isOptional }) => outcome === "failed" && !isOptional),
    startedAt: at(startedAt),
    durationMs: endedAt - startedAt,
    updatedAt: at(updatedAt),
    steps: steps.map((step) => ({ ...step, startedAt: at(step.startedAt) })),
    omitted,
    logUrl: logSha256 === null ? null : `/api/v1/machines/${machineId}/logs/${runId}`,
  };
}

async function toFields(
  machine: Machine,
  instances: readonly Instance[],
  machines: MachinesService,
) {
  return {
    id: machine.id,
    name: machine.name,
    state: machine.state,
    agentVersion: machine.agentVersion,
    lastHeartbeatAt: at(machine.lastHeartbeatAt),
    registeredAt: at(machine.registeredAt),
    instances: await Promise.all(instances.map((instance) => toInstanceView(instance, machines))),
  };
}

/** An instance. */
export async function toInstanceView(
  instance: Instance,
  machines: MachinesService,
): Promise<z.infer<typeof instanceViewSchema>> {
  const { inventoryDigest, quarantine } = instance;
  const inventory =
    inventoryDigest === null ? undefined : await machines.inventory(inventoryDigest);
  return {
    id: instance.id,
    machineId: instance.machineId,
    name: instance.name,
    url: instance.key,
    state: instance.state,
    reason: instance.reason,
    since: at(instance.stateSince),
    cordoned: instance.cordoned,
    quarantine:
      quarantine === null ? null : { until: at(quarantine.until), reason: quarantine.reason },
    canRestart: instance.canRestart,
    simulated: inventory?.simulated ?? null,
    vramFreeBytes: instance.vramFreeBytes,
  };
}
