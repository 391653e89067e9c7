import { createHash } from "node:crypto";
import type { Manifest } from "./model.ts";

/**
 * SHA-256 of what decides an installation, as 64 hexadecimal digits: the same for two manifests that
 * ask for the same files, however they are written. Instances, services, health and how downloads
 * are fetched may change without a new installation, and are not in it; nor are a model's known
 * size, and a licence's name.
 */
export function manifestDigest(manifest: Manifest): string {
  const { comfyui, python, torch, nodes, modelFolders } = manifest;
  const models = manifest.models
    .map((model) => ({
      ...model,
      sizeBytes: undefined,
      // Only an accepted one is fetched.
      licence: model.licence?.accepted ?? true,
    }))
    .sort((a, b) => order(`${a.folder}/${a.name}`, `${b.folder}/${b.name}`));
  const repositories = [...manifest.repositories].sort((a, b) => order(a.name, b.name));
  // The order of packs and packages stays: what is installed later may replace what came before.
  return digestOf({ comfyui, python, torch, nodes, models, modelFolders, repositories });
}

/**
 * SHA-256 of what decides which release a manifest asks for. Models are beside releases: one more of
 * them is no wish for another release.
 */
export function releaseDigest(manifest: Manifest): string {
  const { comfyui, python, torch, nodes } = manifest;
  const repositories = [...manifest.repositories].sort((a, b) => order(a.name, b.name));
  return digestOf({ comfyui, python, torch, nodes, repositories });
}

/** JSON with the keys of every mapping in order, and without those that have no value. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((one) => canonicalJson(one)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value)
    .filter(([, one]) => one !== undefined)
    .sort(([a], [b]) => order(a, b))
    .map(([key, one]) => `${JSON.stringify(key)}:${canonicalJson(one)}`);
  return `{${entries.join(",")}}`;
}

function digestOf(decisive: unknown): string {
  return createHash("sha256").update(canonicalJson(decisive)).digest("hex");
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
