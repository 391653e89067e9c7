/** Puts the installer of a machine together from its rooms: models, PM2, paths, the choice of PyTorch. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { AgentLog } from "@holdfast/agent";
import type { Clock, Random } from "@holdfast/runtime";
import type { GpuQuery } from "@holdfast/gpu";
import { readRocmFacts } from "../torch/rocm-facts.ts";
import { chooseTorchBackend } from "../torch/torch-backend.ts";
import { createInstaller, type Installer } from "../install/installer.ts";
import { StepFailure, type Step } from "../install/model.ts";
import { lookAtDisk } from "../install/models/disk-space.ts";
import { extraModelPathsText, writeExtraModelPaths } from "../install/models/extra-model-paths.ts";
import type { FetchedModel, FetchPorts } from "../install/models/fetch-model.ts";
import { openHashCache, type HashCache } from "../install/models/hash-cache.ts";
import { createDownloadSource } from "../install/models/http-source.ts";
import { planModels } from "../install/models/model-plan.ts";
import { fetchModel, modelRoot, modelSteps } from "../install/models/model-steps.ts";
import type { ModelName } from "../install/models/model-target.ts";
import type { MachinePlaces } from "../machine-places.ts";
import { pm2Step } from "../process-manager/pm2-step.ts";
import type { MachinePrograms } from "./machine-options.ts";
import { readApplied, type ReadManifest } from "./manifest-watch.ts";

/** What the parts are made of. */
export interface InstallerPartsOptions {
  readonly places: MachinePlaces;
  readonly programs: MachinePrograms;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly gpus: GpuQuery;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  /** How long another installer of this machine is waited for. */
  readonly lockWaitMs: number;
}

/** The installer for one manifest, and what is fetched beside it. */
export interface InstallerParts {
  readonly installer: Installer;
  readonly hashes: HashCache;
  /** Fetches a model of the manifest now; throws in words when it cannot be had. */
  fetch(name: ModelName, signal: AbortSignal): Promise<void>;
  /** Ends the connections and writes down what is known. */
  close(): Promise<void>;
}

/** The file that every instance is started with. */
export function extraModelPathsFile(places: MachinePlaces): string {
  return join(places.shared, "extra_model_paths.yaml");
}

/** Puts an installer together. */
export async function createInstallerParts(
  { manifest, digest }: ReadManifest,
  options: InstallerPartsOptions,
): Promise<InstallerParts> {
  const { places, programs, env, clock, random, log } = options;
  const source = createDownloadSource({ auth: manifest.downloads.auth });
  const hashes = await openHashCache({
    file: places.hashCache,
    clock,
    onTrouble: (err) => log.warn({ err }, "hashes of model files cannot be kept"),
  });
  const ports: FetchPorts = { source, hashes, lookAtDisk, clock, random };
  const installer = createInstaller({
    manifest,
    digest,
    places,
    clock,
    log,
    settings: {
      hostEnvironment: env,
      ...(programs.uv === null ? {} : { uvProgram: programs.uv }),
      allowPythonDownloads: true,
      lockWaitMs: options.lockWaitMs,
    },
    ports: {
      modelSteps: (lifetime) => modelSteps(manifest, places, { ...ports, lifetime }),
      planModels: (signal) => planModels(manifest, places, ports, signal),
      extraSteps: () =>
        manifest.comfyui === undefined && manifest.services.every(({ process }) => !process)
          ? []
          : [
              pm2Step({ tools: places.tools, ownPm2: programs.pm2, env, clock }),
              modelPathsStep({ manifest, digest }, places),
            ],
      chooseTorchBackend: async (signal) => {
        const [gpus, rocm] = [await options.gpus.discover(signal), await readRocmFacts()];
        const wanted = manifest.torch.backend;
        return chooseTorchBackend({ wanted, gpus, rocm, platform: process.platform });
      },
      extraModelPaths: () => extraModelPathsFile(places),
      manifestInForce: async () => (await readApplied(places.appliedManifest))?.manifest ?? null,
    },
  });
  return {
    installer,
    hashes,
    async fetch(name, signal) {
      const told = { onProgress: () => undefined, onNote: noteTo(log, name) };
      const fetched = await fetchModel(manifest, places, ports, name, told, signal);
      throwIfFailed(fetched);
    },
    async close() {
      await source.close();
      await hashes.close();
    },
  };
}

function noteTo(log: AgentLog, { folder, name }: ModelName): (line: string) => void {
  return (note) => log.info({ model: `${folder}/${name}`, note }, "fetching a model");
}

function throwIfFailed(fetched: FetchedModel): void {
  if (fetched.kind === "present") return;
  throw new StepFailure(fetched.failure.message, fetched.failure.advice);
}

/** Writes `extra_model_paths.yaml`, by which all instances share one folder of models. */
function modelPathsStep({ manifest }: ReadManifest, places: MachinePlaces): Step {
  const root = modelRoot(manifest, places);
  const { extraPaths } = manifest.modelFolders;
  const made = extraModelPathsText({ root, models: manifest.models, extraPaths });
  const file = extraModelPathsFile(places);
  const isWritten = async (): Promise<boolean> =>
    made.kind === "text" && (await readFile(file, "utf8").catch(() => undefined)) === made.text;
  return {
    id: "shared.model-paths",
    title: "Model folders for ComfyUI",
    isOptional: false,
    after: [],
    lane: "shared",
    async check() {
      return (await isWritten())
        ? { kind: "done", detail: file }
        : { kind: "needed", detail: `${file} is to be written` };
    },
    async apply() {
      if (made.kind === "problem") throw new StepFailure(made.message, made.advice);
      await mkdir(places.shared, { recursive: true });
      await mkdir(root, { recursive: true });
      await writeExtraModelPaths(file, made.text);
    },
    async verify() {
      if (await isWritten()) return;
      throw new StepFailure(
        `${file} does not hold what was written`,
        "Look whether another program changes it, then run the installation again.",
      );
    },
  };
}
