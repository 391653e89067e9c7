import type { Graph, ModelNeed } from "@holdfast/comfyui/protocol";
import type { FailureEvidence } from "../evidence.ts";
import { keyOf, modelPlaces } from "./model-places.ts";

/**
 * Which models of a graph a failure is about: those that no instance has; else the one that the failing
 * node names, or that the message does. Empty when nothing tells.
 */
export function findMissingModels(
  graph: Graph,
  evidence: Pick<FailureEvidence, "nodeId" | "message"> | null,
  isSomewhere: (model: ModelNeed) => boolean,
): readonly ModelNeed[] {
  const places = modelPlaces(graph);
  const nowhere = distinct(places.filter((place) => !isSomewhere(place)));
  if (nowhere.length > 0 || evidence === null) return nowhere;
  // A list may be older than the folder, and a file that is there may be unreadable.
  const own = places.filter((place) => place.nodeId === evidence.nodeId);
  const candidates = own.length > 0 ? own : places;
  const named = distinct(candidates.filter((place) => evidence.message.includes(baseName(place))));
  if (named.length > 0) return named;
  const only = distinct(candidates);
  return only.length === 1 ? only : [];
}

function distinct(places: readonly ModelNeed[]): readonly ModelNeed[] {
  const found = new Map<string, ModelNeed>();
  for (const { folder, name } of places) found.set(keyOf({ folder, name }), { folder, name });
  return [...found.values()];
}

/** Messages of other systems spell the folders differently. */
function baseName({ name }: ModelNeed): string {
  return name.slice(Math.max(name.lastIndexOf("/"), name.lastIndexOf("\\")) + 1);
}
