import { CONDITIONING_NODES } from "./conditioning-nodes.ts";
import { FAULT_NODES } from "./fault-nodes.ts";
import { IMAGE_NODES } from "./image-nodes.ts";
import { LATENT_NODES } from "./latent-nodes.ts";
import { LOADER_NODES } from "./loader-nodes.ts";
import {
  V3_INFO,
  type InputSpec,
  type InputSpecs,
  type NodeClass,
  type NodeSurroundings,
} from "./node-class.ts";
import { OUTPUT_NODES } from "./output-nodes.ts";
import { PRIMITIVE_NODES } from "./primitive-nodes.ts";
import { SAMPLER_NODES } from "./sampler-nodes.ts";
import { VAE_NODES } from "./vae-nodes.ts";

/** Every node class the simulator knows, by name. */
export const NODE_CLASSES: ReadonlyMap<string, NodeClass> = new Map(
  [
    ...SAMPLER_NODES,
    ...LOADER_NODES,
    ...CONDITIONING_NODES,
    ...LATENT_NODES,
    ...VAE_NODES,
    ...IMAGE_NODES,
    ...OUTPUT_NODES,
    ...PRIMITIVE_NODES,
    ...FAULT_NODES,
  ].map((nodeClass) => [nodeClass.name, nodeClass]),
);

const IMAGE_FILE = /\.(png|jpe?g|webp|gif|bmp|tiff?)$/i;

/** The choices or the type name of an input, files looked up now. */
function resolveType(spec: InputSpec, surroundings: NodeSurroundings): string | readonly string[] {
  const { type } = spec;
  if (typeof type === "string" || !("listOf" in type)) return type;
  if (type.listOf === "models") {
    return [...surroundings.modelNames(type.folder ?? ""), ...(type.also ?? [])];
  }
  const names = [...surroundings.files.list("input", "")].sort();
  if (type.listOf === "input_files") return names;
  const isImage = type.listOf === "input_images";
  return names.filter((name) => (isImage ? IMAGE_FILE.test(name) : name.endsWith(".latent")));
}

/** An input's declaration as ComfyUI shows it: in `/object_info`, and in validation errors. */
export function shownSpec(
  nodeClass: NodeClass,
  spec: InputSpec,
  surroundings: NodeSurroundings,
): readonly [type: string | readonly string[], options?: Readonly<Record<string, unknown>>] {
  const type = resolveType(spec, surroundings);
  if (!isV3(nodeClass)) return spec.options === undefined ? [type] : [type, spec.options];
  if (typeof type === "string") return [type, spec.options ?? {}];
  return ["COMBO", { ...spec.options, multiselect: false, options: type }];
}

/** One class as `GET /object_info` shows it. */
export function toObjectInfo(
  nodeClass: NodeClass,
  surroundings: NodeSurroundings,
): Record<string, unknown> {
  const groups = { required: nodeClass.required, optional: nodeClass.optional };
  const input: Record<string, unknown> = {};
  const order: Record<string, readonly string[]> = {};
  for (const [group, specs] of Object.entries(groups)) {
    if (specs === undefined) continue;
    input[group] = toInfoInputs(nodeClass, specs, surroundings);
    order[group] = Object.keys(specs);
  }
  if (nodeClass.hidden !== undefined) {
    input["hidden"] = isV3(nodeClass) ? listed(nodeClass.hidden) : nodeClass.hidden;
    order["hidden"] = Object.keys(nodeClass.hidden);
  }
  const tooltips =
    nodeClass.outputTooltips ?? (isV3(nodeClass) ? nodeClass.outputs.map(() => null) : undefined);
  return {
    input,
    input_order: order,
    output: nodeClass.outputs,
    output_is_list: nodeClass.outputs.map(() => false),
    output_name: nodeClass.outputNames ?? nodeClass.outputs,
    name: nodeClass.name,
    display_name: nodeClass.displayName,
    description: nodeClass.description ?? "",
    python_module: nodeClass.module ?? "nodes",
    category: nodeClass.category,
    output_node: nodeClass.isOutput === true,
    ...(tooltips === undefined ? {} : { output_tooltips: tooltips }),
    ...nodeClass.extraInfo,
  };
}

function isV3(nodeClass: NodeClass): boolean {
  return nodeClass.extraInfo === V3_INFO;
}

function listed(hidden: Readonly<Record<string, string>>): Record<string, readonly string[]> {
  return Object.fromEntries(Object.entries(hidden).map(([name, kind]) => [name, [kind]]));
}

function toInfoInputs(
  nodeClass: NodeClass,
  specs: InputSpecs,
  surroundings: NodeSurroundings,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(specs).map(([name, spec]) => [name, shownSpec(nodeClass, spec, surroundings)]),
  );
}
