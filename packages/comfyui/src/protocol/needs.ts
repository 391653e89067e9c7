import type { Graph, GraphNode } from "./graph.ts";
import { isRecord, member } from "./json-shape.ts";
import {
  FILE_INPUTS_BY_CLASS,
  MODEL_INPUTS,
  MODEL_INPUTS_BY_CLASS,
  NO_MODEL_FILE,
  UPLOAD_OPTIONS,
} from "./loaders.ts";
import { choicesOf, classInfo, inputSpec, type ObjectInfo } from "./object-info.ts";

/** A model file by its folder under `models/` and its name there, spelled as the graph does. */
export interface ModelNeed {
  readonly folder: string;
  readonly name: string;
}

/** A file that a node reads: `name` without ComfyUI's ` [output]` mark, `folder` from it. */
export interface InputFileNeed {
  readonly nodeId: string;
  readonly input: string;
  readonly name: string;
  readonly folder: "input" | "output" | "temp";
}

/** What an instance must have to run a graph. */
export interface GraphNeeds {
  /** Sorted, each once. */
  readonly nodeClasses: readonly string[];
  /** Sorted, each once. */
  readonly models: readonly ModelNeed[];
  /** In the order of the graph. */
  readonly inputFiles: readonly InputFileNeed[];
}

/**
 * What a graph needs, as far as it can be read off: classes exactly, models and files by a table of
 * known inputs and, with `objectInfo`, by the marks of upload inputs. Values that come by a link are
 * not known and left out.
 */
export function graphNeeds(graph: Graph, objectInfo?: ObjectInfo): GraphNeeds {
  const classes = new Set<string>();
  const models = new Map<string, ModelNeed>();
  const inputFiles: InputFileNeed[] = [];
  for (const [nodeId, node] of Object.entries(graph)) {
    classes.add(node.class_type);
    for (const [input, value] of Object.entries(node.inputs)) {
      const model = modelNeed(node, input, value, objectInfo);
      if (model !== undefined) models.set(`${model.folder}\n${model.name}`, model);
      else if (isFileInput(node.class_type, input, objectInfo)) {
        for (const text of fileNames(value)) inputFiles.push({ nodeId, input, ...parseName(text) });
      }
    }
  }
  return {
    nodeClasses: [...classes].sort(),
    models: [...models].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, model]) => model),
    inputFiles,
  };
}

/** Whether an input of a class names a file that must be on the instance before it runs. */
export function isFileInput(classType: string, input: string, objectInfo?: ObjectInfo): boolean {
  if (own(FILE_INPUTS_BY_CLASS, classType)?.includes(input) === true) return true;
  const info = objectInfo === undefined ? undefined : classInfo(objectInfo, classType);
  const options = info === undefined ? undefined : inputSpec(info, input)?.[1];
  return UPLOAD_OPTIONS.some((option) => member(options, option) === true);
}

/** The folder of models that an input of a class chooses from; undefined when it is none known. */
export function modelFolderOf(classType: string, input: string): string | undefined {
  const known = own(MODEL_INPUTS_BY_CLASS, classType);
  return known === undefined ? own(MODEL_INPUTS, input) : own(known, input);
}

function modelNeed(
  node: GraphNode,
  input: string,
  value: unknown,
  objectInfo: ObjectInfo | undefined,
): ModelNeed | undefined {
  // rgthree's Power Lora Loader keeps each of its rows in one object.
  if (isRecord(value) && member(value, "on") === true && typeof value["lora"] === "string") {
    return NO_MODEL_FILE.has(value["lora"]) ? undefined : { folder: "loras", name: value["lora"] };
  }
  if (typeof value !== "string" || NO_MODEL_FILE.has(value)) return undefined;
  const folder = modelFolderOf(node.class_type, input);
  if (folder === undefined) return undefined;
  const info = objectInfo === undefined ? undefined : classInfo(objectInfo, node.class_type);
  const spec = info === undefined ? undefined : inputSpec(info, input);
  // A custom node may use the name for plain text: only a choice names a file.
  if (spec !== undefined && choicesOf(spec) === undefined) return undefined;
  return { folder, name: value };
}

function fileNames(value: unknown): readonly string[] {
  if (typeof value === "string") return value === "" ? [] : [value];
  const list = member(value, "__value__");
  return Array.isArray(list)
    ? list.filter((item): item is string => typeof item === "string" && item !== "")
    : [];
}

/** Reads ComfyUI's annotated names: `a.png [output]` (`annotated_filepath` in folder_paths.py). */
function parseName(text: string): { name: string; folder: "input" | "output" | "temp" } {
  for (const folder of ["input", "output", "temp"] as const) {
    const mark = `[${folder}]`;
    if (text.endsWith(mark)) return { name: text.slice(0, -mark.length).trimEnd(), folder };
  }
  return { name: text, folder: "input" };
}

function own<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
