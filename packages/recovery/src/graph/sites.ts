/**
 * The places in a graph whose numbers decide how much memory and time a run takes. They are found by
 * what a node takes and gives, not by a list of classes: custom samplers, video latents and nodes of
 * subgraphs (`12:3`) count as well as those of a default graph.
 */
import {
  ancestorsOf,
  classInfo,
  inputOf,
  inputSpec,
  isLink,
  nodeOf,
  promisedOutputs,
  pruneTo,
  type Graph,
  type GraphNode,
  type ObjectInfo,
} from "@holdfast/comfyui/protocol";
import { assertNever } from "@holdfast/runtime";

/**
 * What a number stands for.
 * - `batch`: pictures rendered together. `frames`: frames of a video latent.
 * - `width`, `height`: pixels of a picture or latent that is made or scaled to.
 * - `megapixels`: the same by area.
 * - `follow_x`, `follow_y`: pixels that only make sense beside a size: areas, offsets, size conditioning.
 * - `steps`: sampling steps. `step_mark`: a step that another one's count gives its meaning.
 */
export type SiteRole =
  | "batch"
  | "frames"
  | "width"
  | "height"
  | "megapixels"
  | "follow_x"
  | "follow_y"
  | "steps"
  | "step_mark";

/** One input of one node that holds such a number, or takes it from a node that only holds it. */
export interface Site {
  readonly nodeId: string;
  readonly classType: string;
  readonly input: string;
  readonly role: SiteRole;
  readonly value: number;
  /** The node's own raster for the value. */
  readonly step: number;
}

const BATCH_INPUTS: ReadonlySet<string> = new Set(["batch_size"]);
/** Inputs that multiply what comes in; only here do they count as a batch. */
const REPEATS: Readonly<Record<string, string>> = {
  RepeatImageBatch: "amount",
  RepeatLatentBatch: "amount",
};
const FRAME_INPUTS: ReadonlySet<string> = new Set([
  "frame_count",
  "frames",
  "length",
  "num_frames",
  "video_frames",
]);
const WIDTH_INPUTS: ReadonlySet<string> = new Set(["empty_latent_width", "width"]);
const HEIGHT_INPUTS: ReadonlySet<string> = new Set(["empty_latent_height", "height"]);
const STEP_INPUTS: ReadonlySet<string> = new Set(["num_inference_steps", "num_steps", "steps"]);
const STEP_MARKS: ReadonlySet<string> = new Set(["end_at_step", "start_at_step"]);
const MEGAPIXEL_INPUTS: ReadonlySet<string> = new Set(["megapixels"]);
const FOLLOW_X: ReadonlySet<string> = new Set(["crop_w", "target_width", "x"]);
const FOLLOW_Y: ReadonlySet<string> = new Set(["crop_h", "target_height", "y"]);

/** Smaller numbers are no pixels: a share of the picture, or 0 for "as it comes". */
const MIN_PIXELS = 16;
/** What most latents are rastered by, where the node does not say. */
const DEFAULT_RASTER = 8;
/** Rasters of pixels and of frames by family of classes, as they declare them (0.3.64). */
const RASTERS: readonly (readonly [classes: RegExp, pixels: number, frames: number])[] = [
  [/LTXV/, 32, 8],
  [/HunyuanImageLatent/, 32, 1],
  [/Wan22ImageToVideo/, 32, 4],
  [/Cosmos/, 16, 8],
  [/Mochi/, 16, 6],
  [/Wan|Hunyuan/, 16, 4],
  [/SD3|Flux|Chroma|Qwen/, 16, 1],
];
/** Classes that only speak of a size, for when what a class gives is not known. */
const SPEAKS_OF_SIZE = /^(?:CLIPTextEncode|Conditioning|ModelSampling|SolidMask|CropMask)/;
/** What a node must give for a size of its own to be the size of something in memory. */
const PICTURE_TYPES: ReadonlySet<string> = new Set(["IMAGE", "LATENT"]);

/**
 * Every {@link Site} that an output of the graph depends on, in the order of the graph. Without
 * `objectInfo` the rasters are guessed, and classes that only speak of a size are told by name.
 */
export function findSites(graph: Graph, objectInfo?: ObjectInfo): readonly Site[] {
  const outputs = promisedOutputs(graph, objectInfo).map((output) => output.nodeId);
  const used = outputs.length === 0 ? graph : pruneTo(graph, outputs);
  const sites: Site[] = [];
  for (const [nodeId, node] of Object.entries(used)) {
    const isBehindPicture = (): boolean =>
      [...ancestorsOf(used, nodeId)].some((id) => {
        const source = nodeOf(used, id);
        return source !== undefined && hasOwnSize(source, objectInfo);
      });
    const roleOf = rolesOf(node, objectInfo, isBehindPicture);
    for (const input of Object.keys(node.inputs)) {
      const role = roleOf(input);
      if (role === undefined) continue;
      const value = numberOf(used, node, input);
      if (value === undefined || !isPlausible(role, value)) continue;
      const step = rasterOf(node, input, role, objectInfo);
      sites.push({ nodeId, classType: node.class_type, input, role, value, step });
    }
  }
  return sites;
}

/** The number that an input holds, or takes from a node that holds a single one (a primitive). */
export function numberOf(graph: Graph, node: GraphNode, input: string): number | undefined {
  const value = inputOf(node, input);
  if (typeof value === "number") return Number.isFinite(value) ? value : undefined;
  if (!isLink(value)) return undefined;
  const source = nodeOf(graph, value[0]);
  if (source === undefined) return undefined;
  const held = Object.values(source.inputs);
  // A node that takes links computes something: its number would be a guess.
  if (held.some(isLink)) return undefined;
  const numbers = held.filter((one) => typeof one === "number" && Number.isFinite(one));
  return numbers.length === 1 ? (numbers[0] as number) : undefined;
}

function rolesOf(
  node: GraphNode,
  objectInfo: ObjectInfo | undefined,
  isBehindPicture: () => boolean,
): (input: string) => SiteRole | undefined {
  const names = Object.keys(node.inputs);
  const hasSize = names.some((n) => WIDTH_INPUTS.has(n)) && names.some((n) => HEIGHT_INPUTS.has(n));
  const hasPlace = names.includes("x") && names.includes("y");
  const makesPicture = givesPicture(node, objectInfo);
  // A part that is cut out or put in: it moves and shrinks with the whole, if the whole shrinks.
  const isPart = hasPlace && (!makesPicture || isBehindPicture());
  const isFollower = hasSize && !makesPicture;
  return (input) => {
    if (BATCH_INPUTS.has(input) || REPEATS[node.class_type] === input) return "batch";
    if (STEP_INPUTS.has(input)) return "steps";
    if (STEP_MARKS.has(input)) return "step_mark";
    if (node.class_type === "SplitSigmas" && input === "step") return "step_mark";
    if (makesPicture && MEGAPIXEL_INPUTS.has(input)) return "megapixels";
    if (hasSize && makesPicture && FRAME_INPUTS.has(input)) return "frames";
    if (WIDTH_INPUTS.has(input)) {
      if (isPart || isFollower) return "follow_x";
      return hasSize && !hasPlace ? "width" : undefined;
    }
    if (HEIGHT_INPUTS.has(input)) {
      if (isPart || isFollower) return "follow_y";
      return hasSize && !hasPlace ? "height" : undefined;
    }
    if (FOLLOW_X.has(input) && (isPart || isFollower)) return "follow_x";
    if (FOLLOW_Y.has(input) && (isPart || isFollower)) return "follow_y";
    return undefined;
  };
}

/** Whether a node makes or scales a picture to a size of its own. */
function hasOwnSize(node: GraphNode, objectInfo: ObjectInfo | undefined): boolean {
  const names = Object.keys(node.inputs);
  const hasSize = names.some((name) => WIDTH_INPUTS.has(name));
  return hasSize && !names.includes("x") && givesPicture(node, objectInfo);
}

function givesPicture(node: GraphNode, objectInfo: ObjectInfo | undefined): boolean {
  const info = objectInfo === undefined ? undefined : classInfo(objectInfo, node.class_type);
  if (info === undefined) return !SPEAKS_OF_SIZE.test(node.class_type);
  return info.output.some((type) => typeof type === "string" && PICTURE_TYPES.has(type));
}

function isPlausible(role: SiteRole, value: number): boolean {
  switch (role) {
    case "width":
    case "height":
      return value >= MIN_PIXELS;
    case "megapixels":
      return value > 0;
    case "batch":
    case "frames":
    case "steps":
      return value >= 1;
    case "follow_x":
    case "follow_y":
    case "step_mark":
      // Shares of the picture (0 to 1) need no change, nor does 0.
      return value > 1;
    default:
      return assertNever(role);
  }
}

function rasterOf(
  node: GraphNode,
  input: string,
  role: SiteRole,
  objectInfo: ObjectInfo | undefined,
): number {
  const info = objectInfo === undefined ? undefined : classInfo(objectInfo, node.class_type);
  const declared = info === undefined ? undefined : inputSpec(info, input)?.[1]?.["step"];
  if (typeof declared === "number" && declared > 0) return declared;
  const family = RASTERS.find(([classes]) => classes.test(node.class_type));
  if (role === "width" || role === "height") return family?.[1] ?? DEFAULT_RASTER;
  if (role === "frames") return family?.[2] ?? 1;
  return role === "megapixels" ? 0.01 : 1;
}
