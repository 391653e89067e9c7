/** Models as steps of the installer, as a plan, and one by one on demand. */
import { assertNever } from "@holdfast/runtime";
import type { Manifest, ModelEntry } from "../../manifest/model.ts";
import type { MachinePlaces } from "../../machine-places.ts";
import { StepFailure, type Step, type StepCheck, type StepContext } from "../model.ts";
import { sizeText } from "./disk-space.ts";
import { downloadFailure, type DownloadFailure } from "./download-failure.ts";
import { examineModel } from "./examine-model.ts";
import {
  bringModel,
  licenceFailure,
  type FetchedModel,
  type FetchPlace,
  type FetchPorts,
  type FetchTold,
} from "./fetch-model.ts";
import { modelKey, type ModelName } from "./model-target.ts";
import { ModelQueue } from "./model-queue.ts";

/** What the steps of models need of the world. */
export interface ModelPorts extends FetchPorts {
  /**
   * Aborted when the run of the installer is over, however it ended: models are fetched ahead of their
   * steps, and must not go on when no step comes for them.
   */
  readonly lifetime: AbortSignal;
}

/** Where models are fetched to. */
export function modelRoot(manifest: Manifest, places: MachinePlaces): string {
  return manifest.modelFolders.root ?? places.models;
}

/** The root with what has to stay free there. */
export function fetchPlace(manifest: Manifest, places: MachinePlaces): FetchPlace {
  return {
    root: modelRoot(manifest, places),
    keepFreeBytes: manifest.downloads.keepFreeBytes,
  };
}

/**
 * One step for each model that is always fetched, in the order of the manifest. The steps come one
 * after the other; with the first that has to fetch, all that are missing begin.
 */
export function modelSteps(
  manifest: Manifest,
  places: MachinePlaces,
  ports: ModelPorts,
): readonly Step[] {
  const entries = manifest.models.filter(({ fetch }) => fetch === "always");
  const place = fetchPlace(manifest, places);
  const queue = new ModelQueue(entries, manifest.downloads, place, ports);
  const onEnd = (): void => void queue.close(ports.lifetime.reason);
  ports.lifetime.addEventListener("abort", onEnd, { once: true });
  if (ports.lifetime.aborted) onEnd();
  return entries.map((entry) => toStep(entry, place, ports, queue));
}

function toStep(entry: ModelEntry, place: FetchPlace, ports: ModelPorts, queue: ModelQueue): Step {
  const key = modelKey(entry);
  return {
    id: `model:${key}`,
    title: `Model ${key}`,
    isOptional: entry.optional,
    after: [],
    lane: "models",
    check: () => checkModel(entry, place, ports),
    apply: async (context) => {
      const told = toldBy(context, () => queue.totalText());
      const fetched = await queue.bring(entry, told, context.signal);
      if (fetched.kind === "failed") throw stepFailure(fetched.failure);
      const { sizeBytes, receivedBytes, path } = fetched;
      context.progress({ done: sizeBytes, total: sizeBytes, unit: "bytes", detail: null });
      context.log(
        `${path}: ${sizeText(sizeBytes)}, of these fetched now ${sizeText(receivedBytes)}`,
      );
    },
    verify: async () => {
      const found = await examineModel(entry, place.root, ports.hashes);
      if (found.kind === "present") return;
      throw new StepFailure(
        `${key} is not there, or not with the SHA-256 ${entry.sha256}`,
        "Look whether something else changes the model folder, then run it again.",
      );
    },
  };
}

async function checkModel(
  entry: ModelEntry,
  place: FetchPlace,
  ports: FetchPorts,
): Promise<StepCheck> {
  const found = await examineModel(entry, place.root, ports.hashes);
  switch (found.kind) {
    case "present":
      return { kind: "done", detail: `${sizeText(found.sizeBytes)}, right hash` };
    case "unread":
      return { kind: "needed", detail: "the file is there, and has to be read once" };
    case "blocked":
      return { kind: "needed", detail: found.failure.message };
    case "missing":
    case "outdated": {
      const licence = licenceFailure(entry);
      if (licence !== null) return { kind: "needed", detail: licence.message };
      const total = found.sizeBytes === null ? "of unknown size" : sizeText(found.sizeBytes);
      const kept = found.keptBytes === 0 ? "" : `, ${sizeText(found.keptBytes)} are kept`;
      const why = found.kind === "missing" ? "missing" : "another version is there";
      return { kind: "needed", detail: `${why}; to be fetched, ${total}${kept}` };
    }
    default:
      return assertNever(found);
  }
}

function toldBy(context: StepContext, detail: () => string): FetchTold {
  return {
    onProgress: (done, total) => context.progress({ done, total, unit: "bytes", detail: detail() }),
    onNote: (line) => context.log(line),
  };
}

function stepFailure({ message, advice }: DownloadFailure): StepFailure {
  return new StepFailure(message, advice);
}

/**
 * Fetches one model of the manifest now: what is `on_demand` there. Safe beside a run of the installer.
 * Throws the signal's reason when aborted.
 */
export async function fetchModel(
  manifest: Manifest,
  places: MachinePlaces,
  ports: FetchPorts,
  name: ModelName,
  told: FetchTold,
  signal: AbortSignal,
): Promise<FetchedModel> {
  const key = modelKey(name);
  const entry = manifest.models.find((model) => modelKey(model) === key);
  if (entry !== undefined) {
    return await bringModel(entry, fetchPlace(manifest, places), ports, told, signal);
  }
  const failure = downloadFailure(
    "not_found",
    `machine.yaml names no model ${key.slice(0, 300)}`,
    "Add it under models in machine.yaml, with its url and sha256.",
  );
  return { kind: "failed", failure };
}
