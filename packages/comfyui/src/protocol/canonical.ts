import type { Graph } from "./graph.ts";

/**
 * JSON with the keys of every object in code-unit order and no white space: equal values give equal
 * text. Numbers are written as JavaScript writes them (`1.0` and `1` are one number, `-0` is `0`);
 * members that are undefined are left out. For values whose depth `parseGraph` has limited.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) {
    return `[${value.map((item: unknown) => canonicalJson(item ?? null)).join(",")}]`;
  }
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`);
    return `{${members.join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}

/**
 * A graph's identity: the hash of its canonical text without the nodes' `_meta` (titles change
 * nothing that is computed). `sha256` turns text into a digest; the caller brings it, because this
 * package names no platform.
 */
export function hashGraph(graph: Graph, sha256: (text: string) => string): string {
  const bare = Object.entries(graph).map(([id, node]) => {
    const { _meta, ...rest } = node;
    return [id, rest];
  });
  return sha256(canonicalJson(Object.fromEntries(bare)));
}
