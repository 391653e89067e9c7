import { applyPatch, type Graph, type GraphPatch } from "@holdfast/comfyui/protocol";
import { invariant } from "@holdfast/runtime";
import type { Queryable } from "../platform/db.ts";
import { readGraphBodies, type GraphBody } from "./lease-store.ts";

/**
 * JSON of the templates kept in memory, in bytes; as objects they take three to five times as much. A
 * usual graph has 6 KB, the largest that is taken some MB: a count would bound nothing.
 */
const GRAPH_CACHE_MAX_BYTES = 16 * 1024 * 1024;

/** Gives the templates of granted jobs; they never change, so they are kept by id. */
export interface GraphCache {
  /**
   * These templates, read from the database where they are not kept. What is given stays whole for
   * the caller, whatever the cache lets go meanwhile.
   */
  load(db: Queryable, ids: readonly number[]): Promise<GraphTemplates>;
}

/** Templates by id. */
export type GraphTemplates = ReadonlyMap<number, Graph>;

/** How to make a {@link GraphCache}. */
export interface GraphCacheOptions {
  readonly maxBytes?: number;
  readonly read?: (
    db: Queryable,
    ids: readonly number[],
  ) => Promise<ReadonlyMap<number, GraphBody>>;
}

/** Makes a {@link GraphCache}: over the limit, what was used longest ago goes. */
export function createGraphCache(options: GraphCacheOptions = {}): GraphCache {
  const { maxBytes = GRAPH_CACHE_MAX_BYTES, read = readGraphBodies } = options;
  /** Most recently used last. */
  const kept = new Map<number, GraphBody>();
  let keptBytes = 0;

  const use = (id: number, graph: GraphBody): void => {
    if (graph.sizeBytes > maxBytes) return; // It would drive all others out.
    const before = kept.get(id);
    if (before !== undefined) keptBytes -= before.sizeBytes;
    kept.delete(id);
    kept.set(id, graph);
    keptBytes += graph.sizeBytes;
  };
  const trim = (): void => {
    for (const [id, graph] of kept) {
      if (keptBytes <= maxBytes) return;
      kept.delete(id);
      keptBytes -= graph.sizeBytes;
    }
  };

  return {
    async load(db, ids) {
      const known = new Map(
        ids.flatMap((id) => {
          const graph = kept.get(id);
          return graph === undefined ? [] : [[id, graph] as const];
        }),
      );
      const unknown = [...new Set(ids)].filter((id) => !known.has(id));
      const found = unknown.length === 0 ? new Map<number, GraphBody>() : await read(db, unknown);
      const graphs = new Map([...known, ...found]);
      for (const [id, graph] of graphs) use(id, graph);
      trim();
      return new Map([...graphs].map(([id, { body }]) => [id, body as Graph]));
    },
  };
}

/** A template with the patches applied in order. It must be among those that were loaded. */
export function buildGraph(
  templates: GraphTemplates,
  id: number,
  patches: readonly (GraphPatch | null)[],
): Graph {
  const template = templates.get(id);
  invariant(template !== undefined, `graph ${id} was not loaded`);
  return patches.reduce<Graph>(
    (graph, patch) => (patch === null ? graph : applyPatch(graph, patch)),
    template,
  );
}
