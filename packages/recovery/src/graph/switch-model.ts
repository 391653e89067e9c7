/** `SWITCH_MODEL`: another model that is there, in the place of one that is not. */
import {
  choicesOf,
  classInfo,
  inputSpec,
  modelFolderOf,
  nodeOf,
  type Graph,
  type GraphPatch,
  type ObjectInfo,
} from "@holdfast/comfyui/protocol";
import { familyOfName, type ModelFamily } from "./model-family.ts";

/** What C1 falls back to, in this order, where it is there. */
export const DEFAULT_FALLBACK_MODELS: readonly string[] = [
  "sd_xl_base_1.0.safetensors",
  "v1-5-pruned-emaonly.ckpt",
  "anything-v4.5-pruned.ckpt",
];

/** What is asked. */
export interface SwitchModelRequest {
  readonly graph: Graph;
  /** The input whose model is missing. */
  readonly nodeId: string;
  readonly input: string;
  /** Of the instance that shall run it: its lists say what is there (F5). */
  readonly objectInfo: ObjectInfo;
  readonly fallbacks: readonly string[];
  /** Models that this job was given instead before, and that did not help. */
  readonly tried: ReadonlySet<string>;
  /** Families known from the files themselves, by name; they outrank what the name says. */
  readonly families?: ReadonlyMap<string, ModelFamily>;
}

/** What switching came to. */
export type Switched =
  | {
      readonly kind: "switched";
      readonly patch: GraphPatch;
      readonly from: string;
      readonly to: string;
      /** Why this one: the same file written otherwise, the same family, or the list of fallbacks. */
      readonly because: "same_name" | "same_family" | "fallback";
    }
  | { readonly kind: "nothing"; readonly reason: string };

/** Folders whose files may be replaced by one of another family: they are the whole model. */
const WHOLE_MODEL_FOLDERS: ReadonlySet<string> = new Set(["checkpoints"]);

/**
 * Chooses among the files that the input itself offers, so a checkpoint is never replaced by a LoRA:
 * first the same name written otherwise (separators, case, ending), then one of the same family, and
 * for a checkpoint the list of fallbacks. Every node that names the missing file in an input of the
 * same folder gets the same substitute.
 */
export function switchModel(request: SwitchModelRequest): Switched {
  const { graph, nodeId, input, objectInfo } = request;
  const node = nodeOf(graph, nodeId);
  const missing = node?.inputs[input];
  const folder = node === undefined ? undefined : modelFolderOf(node.class_type, input);
  if (node === undefined || typeof missing !== "string" || folder === undefined) {
    return { kind: "nothing", reason: `${nodeId}.${input} names no model.` };
  }
  const info = classInfo(objectInfo, node.class_type);
  const spec = info === undefined ? undefined : inputSpec(info, input);
  const there = (spec === undefined ? undefined : choicesOf(spec)) ?? [];
  const names = there.filter(
    (name): name is string =>
      typeof name === "string" && name !== missing && !request.tried.has(name),
  );
  if (names.length === 0) {
    return {
      kind: "nothing",
      reason: `There is no other file in ${folder} to take instead of ${missing}.`,
    };
  }
  const chosen = choose(missing, folder, names, request);
  if (chosen === undefined) {
    return {
      kind: "nothing",
      reason: `None of the ${String(names.length)} other files in ${folder} fits in the place of ${missing}.`,
    };
  }
  const [to, because] = chosen;
  const set = placesOf(graph, folder, missing).map((place) => ({ ...place, value: to }));
  return { kind: "switched", patch: { set }, from: missing, to, because };
}

function choose(
  missing: string,
  folder: string,
  names: readonly string[],
  { fallbacks, families }: SwitchModelRequest,
): readonly [string, "same_name" | "same_family" | "fallback"] | undefined {
  const familyOf = (name: string): ModelFamily | null => families?.get(name) ?? familyOfName(name);
  const family = familyOf(missing);
  const same = sameFile(missing, names, familyOf);
  if (same !== undefined) return [same, "same_name"];
  if (family !== null) {
    const kin = names.filter((name) => familyOf(name) === family);
    const best = mostAlike(missing, kin, fallbacks, WHOLE_MODEL_FOLDERS.has(folder) ? 0 : 1);
    if (best !== undefined) return [best, "same_family"];
  }
  if (!WHOLE_MODEL_FOLDERS.has(folder)) return undefined;
  const listed = fallbacks.find((name) => names.includes(name));
  return listed === undefined ? undefined : [listed, "fallback"];
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

function plainPath(name: string): string {
  const path = name.replaceAll("\\", "/").toLowerCase();
  return path.replace(/\.(?:safetensors|ckpt|pt|pth|bin|sft)$/, "");
}

function plainName(name: string): string {
  return plainPath(name).split("/").at(-1) ?? name;
}

function wordsOf(name: string): readonly string[] {
  return plainName(name)
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
}

function placesOf(
  graph: Graph,
  folder: string,
  name: string,
): readonly { readonly nodeId: string; readonly input: string }[] {
  return Object.entries(graph).flatMap(([nodeId, node]) =>
    Object.entries(node.inputs).flatMap(([input, value]) =>
      value === name && modelFolderOf(node.class_type, input) === folder ? [{ nodeId, input }] : [],
    ),
  );
}
