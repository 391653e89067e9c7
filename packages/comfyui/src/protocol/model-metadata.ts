import { asNumber, asText, isRecord, member } from "./json-shape.ts";

/**
 * What the header of a safetensors file says of the model in it, in the writers' own words; null where
 * it says nothing. Nobody checks these texts: they are as true as the tool that wrote them.
 */
export interface ModelMetadata {
  /**
   * `modelspec.architecture` of the SAI model spec 1.0: `stable-diffusion-xl-v1-base`, `flux-1-dev`,
   * `stable-diffusion-v1/lora`. Written by ComfyUI's CheckpointSave, kohya's and OneTrainer's scripts.
   */
  readonly architecture: string | null;
  /** kohya's `ss_base_model_version` (`sdxl_base_v1-0`, `sd_v1`, `flux1`), or `sd_v2` for its `ss_v2`. */
  readonly baseModel: string | null;
  /**
   * SHA-256 over the tensors without the header, in lower-case hex: `modelspec.hash_sha256` (`0x…`),
   * else kohya's `sshs_model_hash`. Both are made in the same way.
   */
  readonly tensorHash: string | null;
}

/** Longest text that is kept; real ones have some tens of characters. */
const TEXT_MAX = 128;
/** What tools write that hashed nothing. */
const HASH_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** Reads `__metadata__` as `/view_metadata` answers it (server.py, 0.3.64); undefined when it is no object. */
export function parseModelMetadata(value: unknown): ModelMetadata | undefined {
  if (!isRecord(value)) return undefined;
  const isV2 = textOf(value, "ss_v2")?.toLowerCase() === "true";
  return {
    architecture: textOf(value, "modelspec.architecture"),
    baseModel: textOf(value, "ss_base_model_version") ?? (isV2 ? "sd_v2" : null),
    tensorHash: hashOf(value, "modelspec.hash_sha256") ?? hashOf(value, "sshs_model_hash"),
  };
}

/**
 * Sizes in bytes by name, as `/experiment/models/{folder}` lists them (app/model_manager.py, 0.3.64);
 * undefined when it is no list. A name that is in several folders has the size of the first, which is
 * the one that loaders take.
 */
export function parseModelSizes(value: unknown): ReadonlyMap<string, number> | undefined {
  if (!Array.isArray(value)) return undefined;
  const sizes = new Map<string, number>();
  for (const item of value) {
    const [name, size] = [asText(member(item, "name")), asNumber(member(item, "size"))];
    if (name === undefined || size === undefined || !Number.isSafeInteger(size) || size < 0)
      continue;
    if (!sizes.has(name)) sizes.set(name, size);
  }
  return sizes;
}

function textOf(value: unknown, key: string): string | null {
  const text = asText(member(value, key))?.trim() ?? "";
  return text === "" || text.length > TEXT_MAX ? null : text;
}

function hashOf(value: unknown, key: string): string | null {
  const hash = textOf(value, key)?.toLowerCase().replace(/^0x/, "") ?? "";
  return /^[0-9a-f]{64}$/.test(hash) && hash !== HASH_OF_NOTHING ? hash : null;
}
