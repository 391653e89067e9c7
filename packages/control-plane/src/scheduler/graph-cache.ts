import { applyPatch, type Graph, type GraphPatch } from "@holdfast/comfyui/protocol";
import { invariant } from "@holdfast/runtime";
import type { Queryable } from "../platform/db.ts";
import { readGraphBodies } from "./lease-store.ts";

/** Graph templates kept in memory, most recently used last. */
const GRAPHS_KEPT = 512;

/** Gives whole graphs for granted jobs; templates never change, so they are kept by id. */
export interface GraphCache {
  /** Reads the templates that are not known yet. */
  load(db: Queryable, ids: readonly number[]): Promise<void>;
  /** The template with the patches applied in order. The template must have been loaded. */
  build(id: number, patches: readonly (GraphPatch | null)[]): Graph;
}

/** Makes a {@link GraphCache}. */
export function createGraphCache(): GraphCache {
  const bodies = new Map<number, Graph>();
  return {
    async load(db, ids) {
      const unknown = ids.filter((id) => !bodies.has(id));
      if (unknown.length === 0) return;
      for (const [id, body] of await readGraphBodies(db, unknown)) bodies.set(id, body as Graph);
      for (const id of bodies.keys()) {
        if (bodies.size <= GRAPHS_KEPT) break;
        if (!ids.includes(id)) bodies.delete(id);
      }
    },
    build(id, patches) {
      const template = bodies.get(id);
      invariant(template !== undefined, `graph ${id} was not loaded`);
      return patches.reduce<Graph>(
        (graph, patch) => (patch === null ? graph : applyPatch(graph, patch)),
        template,
      );
    },
  };
}
