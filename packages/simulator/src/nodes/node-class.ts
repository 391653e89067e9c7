import type { Graph } from "@holdfast/comfyui/protocol";
import type { LeakHolder, VramDemand } from "../card/vram.ts";
import type { FileStore } from "../files/file-store.ts";
import type { Picture } from "../pixels/picture.ts";
import type { NodeInputs } from "./node-inputs.ts";
import type { NodeValue } from "./values.ts";

/** A list of choices that is read when asked: model files, uploaded files. */
interface ListedChoices {
  readonly listOf: "models" | "input_images" | "input_files" | "input_latents";
  /** Folder of a model list. */
  readonly folder?: string;
  /** Choices that stand after the files. */
  readonly also?: readonly string[];
}

/** The type of an input: a link type or a primitive, choices, or a list read when asked. */
type InputType = string | readonly string[] | ListedChoices;

/** One input, as `/object_info` shows it. `options` absent differs from empty there. */
export interface InputSpec {
  readonly type: InputType;
  readonly options?: Readonly<Record<string, unknown>>;
}

/** Inputs by name, in the order ComfyUI shows. */
export type InputSpecs = Readonly<Record<string, InputSpec>>;

/** What a node class can see while its inputs are checked. */
export interface NodeSurroundings {
  readonly files: FileStore;
  modelNames(folder: string): readonly string[];
}

/** What a node can do while it runs. */
export interface NodeCall extends NodeSurroundings {
  readonly nodeId: string;
  readonly promptId: string;
  readonly graph: Graph;
  /** `extra_data.extra_pnginfo` of the prompt: written into PNG files. */
  readonly pngInfo: Readonly<Record<string, unknown>>;
  readonly inputs: NodeInputs;
  /** Five random letters that belong to this node object (`ComfyUI_temp_abcde_00001_.png`). */
  readonly objectSuffix: string;
  nowMs(): number;
  /** Lets simulated time pass. `polls`: an interrupt ends it early. */
  spend(ms: number, polls?: boolean): Promise<void>;
  /** How long work takes on the simulated card that takes so many ms on a fast one. */
  cardMs(ms: number): number;
  /** Lets real time pass, whatever the time scale. */
  spendReal(ms: number, polls: boolean): Promise<void>;
  /** Never ends, but by an interrupt when it `polls`. */
  hang(polls: boolean): Promise<never>;
  /** The process dies under the node. */
  crashProcess(): never;
  /** Tells progress, as a sampler does after each step, and ends here when interrupted. */
  progress(value: number, max: number, preview?: Preview): void;
  /** Takes memory of the card; throws as torch does when there is none. */
  useCard(demand: VramDemand): { readonly offloadedShare: number; readonly loadMs: number };
  /** Takes memory of the card and keeps it. */
  leak(bytes: number, heldBy: LeakHolder): void;
  /** True when work of this size fits on the card at all. */
  fitsCard(workBytes: number): boolean;
  /** Reads weights from disk: takes time the first time. */
  readWeights(key: string, bytes: number): Promise<void>;
  /** Sends text under the node (`send_progress_text`). */
  progressText(text: string): void;
  /** Writes an output; throws `OSError` when the disk is full. */
  save(area: "output" | "temp", subfolder: string, name: string, bytes: Buffer): void;
  log(line: string): void;
}

/** A picture shown while a node works. */
export interface Preview {
  readonly picture: Picture;
  readonly format: "JPEG" | "PNG";
}

/** What a node gives back. `ui` is what `executed` and the history show. */
export interface NodeResult {
  readonly outputs: readonly NodeValue[];
  readonly ui?: Readonly<Record<string, readonly unknown[]>>;
}

/** A node class: what `/object_info` says of it, and what it does. */
export interface NodeClass {
  readonly name: string;
  readonly displayName: string | null;
  readonly category: string;
  readonly description?: string;
  readonly module?: string;
  readonly required?: InputSpecs;
  readonly optional?: InputSpecs;
  readonly hidden?: Readonly<Record<string, string>>;
  readonly outputs: readonly string[];
  readonly outputNames?: readonly string[];
  readonly outputTooltips?: readonly (string | null)[];
  readonly isOutput?: boolean;
  /** Fields that only newer node classes show (`deprecated`, `experimental`, `api_node`). */
  readonly extraInfo?: Readonly<Record<string, unknown>>;
  /** ComfyUI's VALIDATE_INPUTS: true, or what is wrong with the value of one named input. */
  readonly validate?: {
    readonly input: string;
    check(value: unknown, surroundings: NodeSurroundings): true | string;
  };
  /** ComfyUI's IS_CHANGED: a changed answer makes the node run again; null is never the same. */
  fingerprint?(
    inputs: Readonly<Record<string, unknown>>,
    surroundings: NodeSurroundings,
  ): string | null;
  run(call: NodeCall): NodeResult | Promise<NodeResult>;
}

/**
 * Fields that classes of the newer node API show. They also show their choices as `COMBO`, options
 * where there are none, and a tooltip for every output.
 */
export const V3_INFO = { deprecated: false, experimental: false, api_node: false };

/** A required link of a type. */
export function link(type: string, tooltip?: string): InputSpec {
  return tooltip === undefined ? { type } : { type, options: { tooltip } };
}

/** A primitive with its options (`default`, `min`, `max`, `step`, …). */
export function primitive(
  type: "INT" | "FLOAT" | "STRING" | "BOOLEAN",
  options: Readonly<Record<string, unknown>>,
): InputSpec {
  return { type, options };
}

/** One of some fixed words. */
export function choice(
  words: readonly string[],
  options?: Readonly<Record<string, unknown>>,
): InputSpec {
  return options === undefined ? { type: words } : { type: words, options };
}

/** One of the files in a model folder. */
export function modelFile(folder: string, options?: Readonly<Record<string, unknown>>): InputSpec {
  const type: ListedChoices = { listOf: "models", folder };
  return options === undefined ? { type } : { type, options };
}
