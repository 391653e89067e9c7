import { isLink, type Graph, type GraphNode } from "./graph.ts";
import { isRecord, member } from "./json-shape.ts";
import { classInfo, type ObjectInfo } from "./object-info.ts";

/** What an output node of a graph will show when it has run. */
export interface PromisedOutput {
  readonly nodeId: string;
  readonly classType: string;
  /** `file`: at least one file in the output folder; `temp`: one in the temp folder; `any`: unsure. */
  readonly kind: "file" | "temp" | "any";
}

/** A file that a run has made, as ComfyUI names it and `/view` serves it. */
export interface OutputFileRef {
  readonly filename: string;
  readonly subfolder: string;
  /** `output`, `temp` or `input`; custom nodes may say something else. */
  readonly type: string;
  /** The key under which the node listed it: `images`, `gifs`, `audio`, `latents`, … */
  readonly key: string;
}

/** Output classes that we know without `/object_info` (nodes.py and comfy_extras, 0.3.64). */
const KNOWN_OUTPUT_CLASSES: Readonly<Record<string, PromisedOutput["kind"]>> = {
  SaveAnimatedPNG: "file",
  SaveAnimatedWEBP: "file",
  SaveAudio: "file",
  SaveAudioMP3: "file",
  SaveAudioOpus: "file",
  SaveGLB: "file",
  SaveImage: "file",
  SaveLatent: "file",
  SaveSVGNode: "file",
  SaveVideo: "file",
  SaveWEBM: "file",
  PreviewAudio: "temp",
  PreviewImage: "temp",
  MaskPreview: "temp",
  // Makes a temp file when `save_output` is off.
  VHS_VideoCombine: "any",
  // These run for their effect: pixels over the socket, text, or a file that they do not list.
  CheckpointSave: "any",
  CLIPSave: "any",
  LoraSave: "any",
  LossGraphNode: "any",
  ModelSave: "any",
  Preview3D: "any",
  Preview3DAnimation: "any",
  PreviewAny: "any",
  SaveImageWebsocket: "any",
  SaveLoRA: "any",
  SaveText: "any",
  VAESave: "any",
};

/** More files of one node than this are not collected. */
const MAX_FILES_PER_NODE = 10_000;

/**
 * The output nodes of a graph, in its order. With `objectInfo` its word counts (a class it does not
 * know falls back to the table); without it, the classes known here: then an empty list does not
 * prove that nothing would run.
 */
export function promisedOutputs(graph: Graph, objectInfo?: ObjectInfo): readonly PromisedOutput[] {
  return Object.entries(graph).flatMap(([nodeId, node]) => {
    const classType = node.class_type;
    const known = Object.hasOwn(KNOWN_OUTPUT_CLASSES, classType)
      ? KNOWN_OUTPUT_CLASSES[classType]
      : undefined;
    const info = objectInfo === undefined ? undefined : classInfo(objectInfo, classType);
    const isOutput = info === undefined ? known !== undefined : info.output_node;
    return isOutput ? [{ nodeId, classType, kind: known ?? "any" }] : [];
  });
}

/**
 * Every file and text in what one node showed, in its order: lists of `{filename, subfolder, type}`
 * under any key (`images`, `gifs`, `audio`, …), and the texts under `text` and `string`.
 */
export function collectOutputFiles(output: unknown): {
  readonly files: readonly OutputFileRef[];
  readonly texts: readonly string[];
} {
  const files: OutputFileRef[] = [];
  const texts: string[] = [];
  if (!isRecord(output)) return { files, texts };
  for (const [key, value] of Object.entries(output)) {
    const items: readonly unknown[] = Array.isArray(value) ? value : [value];
    for (const item of items) {
      if (files.length >= MAX_FILES_PER_NODE) break;
      const filename = member(item, "filename");
      if (typeof filename === "string" && filename !== "") {
        const subfolder = member(item, "subfolder");
        const type = member(item, "type");
        files.push({
          filename,
          subfolder: typeof subfolder === "string" ? subfolder : "",
          type: typeof type === "string" && type !== "" ? type : "output",
          key,
        });
      } else if (typeof item === "string" && (key === "text" || key === "string")) {
        texts.push(item);
      }
    }
  }
  return { files, texts };
}

/**
 * Puts `prefix/` before the `filename_prefix` of every node that has one, so that the files of two
 * attempts can never meet (F16). ComfyUI's tokens (`%date%`, `%width%`) stay as they are. Nodes whose
 * prefix comes by a link cannot be changed that way and are named in `linked`.
 */
export function prefixOutputs(
  graph: Graph,
  prefix: string,
): {
  readonly graph: Graph;
  readonly prefixed: readonly string[];
  readonly linked: readonly string[];
} {
  const prefixed: string[] = [];
  const linked: string[] = [];
  const entries = Object.entries(graph).map(([nodeId, node]): [string, GraphNode] => {
    const original = Object.hasOwn(node.inputs, "filename_prefix")
      ? node.inputs["filename_prefix"]
      : undefined;
    if (isLink(original)) linked.push(nodeId);
    if (typeof original !== "string") return [nodeId, node];
    prefixed.push(nodeId);
    // A leading separator would make it an absolute path, which ComfyUI refuses to write.
    const tail = original.replace(/^[/\\]+/, "");
    const inputs = { ...node.inputs, filename_prefix: `${prefix}/${tail}` };
    return [nodeId, { ...node, inputs }];
  });
  return { graph: Object.fromEntries(entries), prefixed, linked };
}
