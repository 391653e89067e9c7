/** What a baseline was measured on, as far as it can be told. */
import { cpus, release, totalmem, type } from "node:os";
import { parseSystemStats } from "@holdfast/comfyui/protocol";
import { createGpuQuery } from "@holdfast/gpu";
import type { Clock } from "@holdfast/runtime";
import { isLoopbackName } from "@holdfast/runtime/host";
import { createApiClient, type ServerAddress } from "../api/api-client.ts";
import { listInstances } from "../api/machine-calls.ts";
import type { LoadTarget } from "../load/load-target.ts";
import { holdfastVersion } from "../version.ts";

/** The host that measured, and what is measured. What nobody told is null. */
export interface Hardware {
  readonly host: {
    readonly system: string;
    readonly cpu: string;
    readonly memoryBytes: number;
    readonly node: string;
    readonly holdfast: string;
  };
  /** Cards of this host by `nvidia-smi`; null where the target is on another one. */
  readonly gpus: {
    readonly cards: readonly { readonly name: string; readonly memoryBytes: number | null }[];
    readonly driver: string | null;
    readonly cuda: string | null;
    /** Why nothing was told. */
    readonly failure: string | null;
  } | null;
  /** As a bare ComfyUI tells of itself. */
  readonly comfyui: {
    readonly version: string | null;
    readonly python: string | null;
    readonly pytorch: string | null;
    readonly devices: readonly { readonly name: string; readonly memoryBytes: number | null }[];
  } | null;
  /** Names of a Holdfast's instances, those that take jobs; null where it does not tell. */
  readonly instances: readonly string[] | null;
}

/** Asks everybody who may know. Rejects for an abort alone. */
export async function readHardware(
  target: LoadTarget,
  address: ServerAddress,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<Hardware> {
  const isHere = isLoopbackName(new URL(target.url).hostname);
  const models = new Set(cpus().map(({ model }) => model.trim()));
  return {
    host: {
      system: `${type()} ${release()} ${process.arch}`,
      cpu: `${cpus().length} × ${[...models].join(", ") || "unknown"}`,
      memoryBytes: totalmem(),
      node: process.version,
      holdfast: holdfastVersion(),
    },
    gpus: isHere ? await readCards(clock, signal) : null,
    comfyui: target.kind === "comfyui" ? await readComfyui(address) : null,
    instances: target.kind === "holdfast" ? await readInstances(address) : null,
  };
}

async function readCards(clock: Clock, signal: AbortSignal): Promise<Hardware["gpus"]> {
  const found = await createGpuQuery({ clock }).discover(signal);
  return {
    cards: found.gpus.map(({ name, devices }) => ({
      name,
      memoryBytes: devices[0]?.gpu.memoryTotalBytes ?? null,
    })),
    driver: found.driverVersion,
    cuda: found.cudaVersion,
    failure: found.failure?.reason ?? null,
  };
}

async function readComfyui(address: ServerAddress): Promise<Hardware["comfyui"]> {
  const answer = await createApiClient(address).request("/system_stats");
  if (answer.kind !== "answered") return null;
  const stats = parseSystemStats(await answer.response.json().catch(() => undefined));
  if (stats === undefined) return null;
  return {
    version: stats.comfyuiVersion ?? null,
    python: stats.pythonVersion ?? null,
    pytorch: stats.pytorchVersion ?? null,
    devices: stats.devices.map(({ name, vramTotalBytes }) => ({
      name,
      memoryBytes: vramTotalBytes ?? null,
    })),
  };
}

async function readInstances(address: ServerAddress): Promise<Hardware["instances"]> {
  const instances = await listInstances(createApiClient(address));
  return (
    instances
      ?.filter(({ state }) => state === "healthy")
      .map(
        ({ machine, name, isSimulated }) =>
          `${machine}/${name}${isSimulated ? " (simulated)" : ""}`,
      ) ?? null
  );
}
