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

/**
 * Makes what makes the report. It is asked after every change: what a machine offers, which may be
 * thousands of models, is worked out anew only when it can have changed.
 */
export function createReporter(): (facts: ReportFacts) => OwnReport {
  let of: Pick<ReportFacts, "lock" | "manifest" | "presentModels"> | undefined;
  let offers: OwnReport["offers"] = { models: [], packs: [] };
  return (facts) => {
    const { lock, manifest, presentModels } = facts;
    if (of?.lock !== lock || of.manifest !== manifest || of.presentModels !== presentModels) {
      of = { lock, manifest, presentModels };
      offers = offersOf(of);
    }
    return toOwnReport(facts, offers);
  };
}

function toOwnReport(facts: ReportFacts, offers: OwnReport["offers"]): OwnReport {
  const { lock } = facts;
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
    offers,
    healthPort: facts.healthPort,
  };
}

/** Models that can be fetched, and packs that were left out of the release. */
function offersOf({
  lock,
  manifest,
  presentModels,
}: Pick<ReportFacts, "lock" | "manifest" | "presentModels">): OwnReport["offers"] {
  return {
    models: offeredModels(manifest, presentModels),
    packs: (lock?.nodes ?? [])
      .filter(({ missing }) => missing !== null)
      .map(({ name }) => ({
        name,
        classes: [...(manifest?.nodes.find((pack) => pack.name === name)?.classes ?? [])],
      })),
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
