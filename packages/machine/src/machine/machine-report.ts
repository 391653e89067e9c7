/** What a machine tells the control plane of itself. Pure. */
import type { OwnReport } from "@holdfast/agent";
import type { MachineLock } from "../install/model.ts";
import type { Manifest } from "../manifest/model.ts";
import type { ServiceReport } from "../services/model.ts";
import type { ToldGpu } from "./gpu-watch.ts";

/** Of the host. */
export interface HostFacts {
  readonly cpuCount: number | null;
  readonly memoryTotalBytes: number | null;
  readonly memoryFreeBytes: number | null;
  readonly diskTotalBytes: number | null;
  readonly diskFreeBytes: number | null;
}

/** What a report is made from. */
export interface ReportFacts {
  readonly services: readonly ServiceReport[];
  readonly gpus: readonly ToldGpu[];
  readonly lock: MachineLock | null;
  readonly manifest: Manifest | null;
  readonly manifestDigest: string | null;
  /** Models of the manifest that are there already, as `folder/name`. */
  readonly presentModels: ReadonlySet<string>;
  readonly host: HostFacts;
  readonly healthPort: number | null;
}

/** Makes the report. */
export function toOwnReport(facts: ReportFacts): OwnReport {
  const { lock, manifest } = facts;
  return {
    services: facts.services.map(
      ({ name, kind, state, reason, since, installation, runtime, check, dependencies }) => ({
        name,
        kind,
        state,
        reason,
        since: Math.round(since),
        installation: { ...installation },
        runtime: { ...runtime },
        check: { ...check },
        dependencies: dependencies.map((one) => ({ ...one })),
      }),
    ),
    gpus: [...facts.gpus],
    release:
      lock === null
        ? null
        : {
            id: lock.release,
            comfyuiCommit: lock.comfyui.commit,
            comfyuiVersion: lock.comfyui.version,
            python: lock.python.version,
            torch: lock.torch.version,
          },
    manifestDigest: facts.manifestDigest,
    host: facts.host,
    offers: {
      models: offeredModels(manifest, facts.presentModels),
      packs: (lock?.nodes ?? [])
        .filter(({ missing }) => missing !== null)
        .map(({ name }) => ({
          name,
          classes: [...(manifest?.nodes.find((pack) => pack.name === name)?.classes ?? [])],
        })),
    },
    healthPort: facts.healthPort,
  };
}

/** Models that could be fetched when a job needs them: their licence is accepted, and they are not here. */
function offeredModels(
  manifest: Manifest | null,
  present: ReadonlySet<string>,
): OwnReport["offers"]["models"] {
  return (manifest?.models ?? [])
    .filter(
      ({ folder, name, licence }) =>
        !present.has(`${folder}/${name}`) && licence?.accepted !== false,
    )
    .map(({ folder, name, sha256, sizeBytes }) => ({
      folder,
      name,
      sha256,
      sizeBytes: sizeBytes ?? null,
    }));
}
