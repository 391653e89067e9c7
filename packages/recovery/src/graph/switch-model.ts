/** `SWITCH_MODEL`: another model that is there, in the place of one that is not. */
import type { Graph, ModelNeed } from "@holdfast/comfyui/protocol";
import type { LossLevel } from "../ladder.ts";
import { familyOfName, type ModelFamily } from "./model-family.ts";
import { keyOf, modelPlaces } from "./model-places.ts";

/** What C1 falls back to, in this order, where it is there. */
export const DEFAULT_FALLBACK_MODELS: readonly string[] = [
  "sd_xl_base_1.0.safetensors",
  "v1-5-pruned-emaonly.ckpt",
  "anything-v4.5-pruned.ckpt",
];

/** What is asked. */
export interface SwitchModelRequest {
  readonly graph: Graph;
  /** The model that is not there, as the graph names it. */
  readonly missing: ModelNeed;
  /** Names in the same folder on the instances that have all else the graph needs. */
  readonly there: readonly string[];
  readonly fallbacks: readonly string[];
  /** Models that this job was given instead before, and that did not help. */
  readonly tried: ReadonlySet<string>;
  /** What files say of themselves, by {@link keyOf}; it outranks what their names say. */
  readonly files?: ModelFiles;
}

/** What is known of a model file beside its name. */
export interface ModelFile {
  readonly family: ModelFamily | null;
  /** Of its tensors, as the file declares it. */
  readonly tensorHash: string | null;
  readonly sizeBytes: number | null;
}

/** Asks for a file by {@link keyOf}; undefined for one that says nothing. */
export type ModelFiles = Pick<ReadonlyMap<string, ModelFile>, "get">;

/** Why a file was chosen: the same by its hash or name, the same family, or the list of fallbacks. */
type SwitchReason = "same_hash" | "same_name" | "same_family" | "fallback";

/** What switching came to. */
export type Switched =
  | {
      readonly kind: "switched";
      readonly to: string;
      readonly because: SwitchReason;
      /** `none` for the same file: by its hash, or by a name that differs in case or separators alone. */
      readonly loss: LossLevel;
    }
  | { readonly kind: "nothing"; readonly reason: string };

/** Folders whose files may be replaced by one of another family: they are the whole model. */
const WHOLE_MODEL_FOLDERS: ReadonlySet<string> = new Set(["checkpoints"]);
/** Folders whose files work with a base model of their own family only. */
const COMPANION_FOLDERS: ReadonlySet<string> = new Set(["loras", "controlnet", "hypernetworks"]);
/** Endings of files that loaders of models read. */
const MODEL_ENDINGS = /\.(?:safetensors|ckpt|pt2?|pth|bin|sft|gguf|pkl)$/i;

/** Whether a name is that of a file a loader of models reads; for lists that people write. */
export function isModelFileName(name: string): boolean {
  return MODEL_ENDINGS.test(name);
}

/**
 * Chooses among the files of the same folder, so a checkpoint is never replaced by a LoRA: first the
 * same file by its hash, then the same name written otherwise (separators, case, ending), then one of the same family, and for a
 * checkpoint the list of fallbacks, unless LoRAs or ControlNets of the graph are of another family.
 */
export function switchModel(request: SwitchModelRequest): Switched {
  const { graph, missing, there, tried, files } = request;
  const { folder, name } = missing;
  if (!modelPlaces(graph).some((place) => keyOf(place) === keyOf(missing))) {
    return {
      kind: "nothing",
      reason: `No input of the graph takes a model in the place of ${name}.`,
    };
  }
  const names = there.filter((one) => one !== name && !tried.has(one));
  if (names.length === 0) {
    return {
      kind: "nothing",
      reason: `There is no other file in ${folder} to take instead of ${name}.`,
    };
  }
  const chosen = choose(name, folder, names, request);
  if (chosen === undefined) {
    return {
      kind: "nothing",
      reason: `None of the ${String(names.length)} other files in ${folder} fits in the place of ${name}.`,
    };
  }
  const [to, because] = chosen;
  const isSameFile =
    because === "same_hash" ||
    (because === "same_name" &&
      samePath(to) === samePath(name) &&
      compareFiles(files?.get(keyOf(missing)), files?.get(keyOf({ folder, name: to }))) !==
        "other");
  return { kind: "switched", to, because, loss: isSameFile ? "none" : "content" };
}

function choose(
  missing: string,
  folder: string,
  names: readonly string[],
  request: SwitchModelRequest,
): readonly [string, SwitchReason] | undefined {
  const { graph, fallbacks, files } = request;
  const familyIn = (need: ModelNeed): ModelFamily | null =>
    files?.get(keyOf(need))?.family ?? familyOfName(need.name);
  const familyOf = (name: string): ModelFamily | null => familyIn({ folder, name });
  const family = familyOf(missing);
  const own = files?.get(keyOf({ folder, name: missing }));
  // Most files tell no hash: then there is nothing to look for among the others.
  const isTelling = own !== undefined && own.tensorHash !== null;
  const twin = isTelling
    ? names.find((name) => compareFiles(own, files?.get(keyOf({ folder, name }))) === "same")
    : undefined;
  if (twin !== undefined) return [twin, "same_hash"];
  const same = sameFile(missing, names, familyOf);
  if (same !== undefined) return [same, "same_name"];
  if (family !== null) {
    const kin = names.filter((name) => familyOf(name) === family);
    const best = mostAlike(missing, kin, fallbacks, WHOLE_MODEL_FOLDERS.has(folder) ? 0 : 1);
    if (best !== undefined) return [best, "same_family"];
  }
  if (!WHOLE_MODEL_FOLDERS.has(folder)) return undefined;
  const companions = companionFamilies(graph, familyIn);
  const listed = fallbacks.find((name) => {
    const own = familyOf(name);
    return names.includes(name) && (own === null || companions.every((one) => one === own));
  });
  return listed === undefined ? undefined : [listed, "fallback"];
}

/** Families of what the graph loads beside its base model, as far as they are known. */
function companionFamilies(
  graph: Graph,
  familyIn: (need: ModelNeed) => ModelFamily | null,
): readonly ModelFamily[] {
  return modelPlaces(graph)
    .filter(({ folder }) => COMPANION_FOLDERS.has(folder))
    .flatMap((place) => familyIn(place) ?? []);
}

/**
 * Whether two files are the same, by what both say. Tools that convert a file often copy its
 * metadata, the hash of the original with it: only the size then tells that it is another one.
 */
function compareFiles(
  one: ModelFile | undefined,
  two: ModelFile | undefined,
): "same" | "other" | "unknown" {
  if (one === undefined || two === undefined) return "unknown";
  const hashes = compare(one.tensorHash, two.tensorHash);
  const sizes = compare(one.sizeBytes, two.sizeBytes);
  if (hashes === "other" || sizes === "other") return "other";
  return hashes === "same" && sizes === "same" ? "same" : "unknown";
}

function compare<T>(one: T | null, two: T | null): "same" | "other" | "unknown" {
  if (one === null || two === null) return "unknown";
  return one === two ? "same" : "other";
}

/**
 * The same file as another system or packer writes it: separators, case and ending apart. A name without
 * its folder is the same only when there is one of it, and nothing says that it is of another family.
 */
function sameFile(
  missing: string,
  names: readonly string[],
  familyOf: (name: string) => ModelFamily | null,
): string | undefined {
  const path = plainPath(missing);
  const exact = names.find((name) => plainPath(name) === path);
  if (exact !== undefined) return exact;
  const alike = names.filter((name) => plainName(name) === plainName(missing));
  const [only] = alike;
  if (only === undefined || alike.length > 1) return undefined;
  if (path.includes("/") && plainPath(only).includes("/")) return undefined;
  const [one, other] = [familyOf(only), familyOf(missing)];
  return one !== null && other !== null && one !== other ? undefined : only;
}

/**
 * One of the fallbacks if it is among them; else the name that shares most words, at least `least` beside
 * those that speak of the family.
 */
function mostAlike(
  missing: string,
  names: readonly string[],
  fallbacks: readonly string[],
  least: number,
): string | undefined {
  const listed = fallbacks.find((name) => names.includes(name));
  if (listed !== undefined) return listed;
  const wanted = new Set(wordsOf(missing).filter((word) => familyOfName(word) === null));
  let best: string | undefined;
  let most = least - 1;
  for (const name of names) {
    const shared = wordsOf(name).filter((word) => wanted.has(word)).length;
    if (shared > most) [best, most] = [name, shared];
  }
  return best;
}

function samePath(name: string): string {
  return name.replaceAll("\\", "/").toLowerCase();
}

function plainPath(name: string): string {
  return samePath(name).replace(/\.(?:safetensors|ckpt|pt|pth|bin|sft)$/, "");
}

function plainName(name: string): string {
  return plainPath(name).split("/").at(-1) ?? name;
}

function wordsOf(name: string): readonly string[] {
  return plainName(name)
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
}
