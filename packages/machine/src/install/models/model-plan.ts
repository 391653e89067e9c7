/** What fetching the models of a manifest would do, found out without changing anything. */
import type { Manifest } from "../../manifest/model.ts";
import type { MachinePlaces } from "../../machine-places.ts";
import { diskShortage, sizeText, type DiskVerdict } from "./disk-space.ts";
import type { DownloadFailure } from "./download-failure.ts";
import { licenceFailure, type FetchPorts } from "./fetch-model.ts";
import { judgeSurvey, surveyModels, type Surveyed } from "./model-queue.ts";
import { fetchPlace } from "./model-steps.ts";
import { findCollisions, modelKey } from "./model-target.ts";

/** One model of a plan. */
export interface PlannedModel {
  /** Of its step: `model:checkpoints/x.safetensors`. */
  readonly id: string;
  readonly folder: string;
  readonly name: string;
  readonly fetch: "always" | "on_demand";
  readonly isOptional: boolean;
  /** `unread`: a file is there, whose hash is not known yet. */
  readonly state: "present" | "unread" | "missing" | "outdated" | "blocked";
  /** Of the whole file; null while nobody knows. */
  readonly sizeBytes: number | null;
  /** To be fetched now: 0 when it is there or `on_demand`; null while nobody knows. */
  readonly fetchBytes: number | null;
  /** Why it could not be fetched as things are; null when nothing is known against it. */
  readonly problem: PlanProblem | null;
}

/** Something that a person has to do first. */
export interface PlanProblem {
  readonly message: string;
  readonly advice: string;
}

/** The models of a plan. */
export interface ModelPlan {
  readonly models: readonly PlannedModel[];
  /** Of all together, as far as it is known. */
  readonly fetchBytes: number;
  /** How many are to be fetched whose size nobody knows. */
  readonly unknownSizes: number;
  /** Each disk that something is to be fetched to. */
  readonly disks: readonly DiskVerdict[];
  /** What is wrong with all of them together: the disk, names that collide. */
  readonly problems: readonly PlanProblem[];
}

/** Looks at every model and its server. A model that cannot be had is a problem, not an exception. */
export async function planModels(
  manifest: Manifest,
  places: MachinePlaces,
  ports: FetchPorts,
  signal: AbortSignal,
): Promise<ModelPlan> {
  const place = fetchPlace(manifest, places);
  const surveyed = await surveyModels(manifest.models, place, ports, true, signal);
  const now = surveyed.filter(({ entry }) => entry.fetch === "always");
  const disks = judgeSurvey(now, place.keepFreeBytes);
  return {
    models: surveyed.map(toPlanned),
    fetchBytes: now.reduce((sum, { fetchBytes }) => sum + (fetchBytes ?? 0), 0),
    unknownSizes: now.filter(({ fetchBytes }) => fetchBytes === null).length,
    disks,
    problems: [
      ...collisionProblems(manifest),
      ...disks
        .filter(({ fits }) => !fits)
        .map((verdict) => toProblem(diskShortage(verdict, place.root))),
    ],
  };
}

function collisionProblems(manifest: Manifest): readonly PlanProblem[] {
  return findCollisions(manifest.models).map(({ first, second, reason }) => ({
    message: `${modelKey(second)} ${reason} (${modelKey(first)})`,
    advice: "Rename or remove one of the two in machine.yaml.",
  }));
}

function toPlanned(surveyed: Surveyed): PlannedModel {
  const { entry, found } = surveyed;
  const problem = problemOf(surveyed);
  return {
    id: `model:${modelKey(entry)}`,
    folder: entry.folder,
    name: entry.name,
    fetch: entry.fetch,
    isOptional: entry.optional,
    state: found.kind,
    sizeBytes: sizeOf(surveyed),
    fetchBytes: entry.fetch === "always" ? surveyed.fetchBytes : 0,
    problem,
  };
}

function sizeOf({ entry, found, probed }: Surveyed): number | null {
  const size = found.kind === "blocked" ? null : found.sizeBytes;
  return size ?? entry.sizeBytes ?? probed?.sizeBytes ?? null;
}

function problemOf({ entry, found, probed }: Surveyed): PlanProblem | null {
  if (found.kind === "blocked") return toProblem(found.failure);
  if (found.kind === "present" || found.kind === "unread") return null;
  const licence = licenceFailure(entry);
  if (licence !== null) return toProblem(licence);
  if (probed === null) {
    return {
      message: `the server of ${modelKey(entry)} does not answer`,
      advice: "Look whether this machine reaches it.",
    };
  }
  if (probed.failure !== null) return toProblem(probed.failure);
  const { sizeBytes } = entry;
  if (sizeBytes === undefined || probed.sizeBytes === null || probed.sizeBytes === sizeBytes) {
    return null;
  }
  return {
    message: `expected ${sizeBytes} bytes, and the server has ${probed.sizeBytes} (${sizeText(probed.sizeBytes)})`,
    advice: "Correct sizeBytes, sha256 or url of the model in machine.yaml.",
  };
}

function toProblem({ message, advice }: DownloadFailure): PlanProblem {
  return { message, advice };
}
