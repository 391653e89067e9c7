import { asText, isRecord, member } from "./json-shape.ts";

/** An input's type: a name (`INT`, `IMAGE`, `COMBO`, `INT,FLOAT`, `*`) or the list of its values. */
export type InputType = string | readonly unknown[];

/** An input's declaration: its type and options (`default`, `min`, `max`, `options`, …). */
export type InputSpec = readonly [type: InputType, options?: Readonly<Record<string, unknown>>];

/** The inputs that a node class declares, by name. `hidden` ones are filled by ComfyUI. */
export interface NodeInputs {
  readonly required?: Readonly<Record<string, InputSpec>>;
  readonly optional?: Readonly<Record<string, InputSpec>>;
  readonly hidden?: Readonly<Record<string, unknown>>;
}

/** One class in `GET /object_info` (`node_info` in server.py, 0.3.64), spelled as ComfyUI does. */
export interface NodeInfo {
  readonly input: NodeInputs;
  readonly output: readonly InputType[];
  readonly output_is_list?: readonly boolean[];
  readonly output_name?: readonly string[];
  readonly name?: string;
  readonly display_name?: string;
  readonly description?: string;
  readonly category?: string;
  /** `nodes`, `comfy_extras.nodes_x` or `custom_nodes.pack`. */
  readonly python_module?: string;
  readonly output_node: boolean;
  readonly [key: string]: unknown;
}

/** `GET /object_info`: what an instance can run, by class. */
export type ObjectInfo = Readonly<Record<string, NodeInfo>>;

/**
 * Reads `GET /object_info`. Classes of a shape nobody could use are left out, single inputs of such
 * a shape too: a custom node's oddity must not hide the others. Undefined when it is no object.
 */
export function parseObjectInfo(value: unknown): ObjectInfo | undefined {
  if (!isRecord(value)) return undefined;
  const classes: [string, NodeInfo][] = [];
  for (const [classType, info] of Object.entries(value)) {
    if (!isRecord(info)) continue;
    const input = member(info, "input");
    const output = member(info, "output");
    const hidden = member(input, "hidden");
    const name = asText(member(info, "python_module"));
    const { python_module: _module, ...rest } = info;
    classes.push([
      classType,
      {
        ...rest,
        ...(name !== undefined && { python_module: name }),
        input: {
          required: toSpecs(member(input, "required")),
          optional: toSpecs(member(input, "optional")),
          ...(isRecord(hidden) && { hidden }),
        },
        output: Array.isArray(output) ? output.filter(isInputType) : [],
        output_node: member(info, "output_node") === true,
      },
    ]);
  }
  return Object.fromEntries(classes);
}

/** The declaration of a class, or undefined when the instance does not have it. */
export function classInfo(objectInfo: ObjectInfo, classType: string): NodeInfo | undefined {
  return Object.hasOwn(objectInfo, classType) ? objectInfo[classType] : undefined;
}

/** The declaration of an input, required or optional. */
export function inputSpec(info: NodeInfo, input: string): InputSpec | undefined {
  for (const specs of [info.input.required, info.input.optional]) {
    if (specs !== undefined && Object.hasOwn(specs, input)) return specs[input];
  }
  return undefined;
}

/** The values of a choice, in either of its spellings; undefined when the input is no choice. */
export function choicesOf(spec: InputSpec): readonly unknown[] | undefined {
  const [type, options] = spec;
  if (typeof type !== "string") return type;
  const listed = type === "COMBO" ? member(options, "options") : undefined;
  return Array.isArray(listed) ? listed : undefined;
}

function toSpecs(value: unknown): Readonly<Record<string, InputSpec>> {
  if (!isRecord(value)) return {};
  const specs: [string, InputSpec][] = [];
  for (const [name, spec] of Object.entries(value)) {
    if (!Array.isArray(spec) || !isInputType(spec[0])) continue;
    const options: unknown = spec[1];
    specs.push([name, isRecord(options) ? [spec[0], options] : [spec[0]]]);
  }
  return Object.fromEntries(specs);
}

function isInputType(value: unknown): value is InputType {
  return typeof value === "string" || Array.isArray(value);
}
