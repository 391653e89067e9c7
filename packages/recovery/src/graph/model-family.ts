/** Families of diffusion models: files of one can take each other's place, others cannot. */

/** What a model was trained as; null when the name says nothing. */
export type ModelFamily =
  | "sd1"
  | "sd2"
  | "sdxl"
  | "sdxl_refiner"
  | "sd3"
  | "flux"
  | "flux2"
  | "chroma"
  | "svd"
  | "wan"
  | "hunyuan"
  | "ltxv"
  | "qwen"
  | "zimage"
  | "lumina"
  | "hidream"
  | "cascade"
  | "auraflow";

/** What a file says it was trained as, in its own words; null where it does not. */
export interface DeclaredModel {
  /** `modelspec.architecture`. */
  readonly architecture: string | null;
  /** kohya's `ss_base_model_version`. */
  readonly baseModel: string | null;
}

/**
 * Names as people and hubs write them, the telling ones first: `sdxl-turbo` is no `sd-turbo`, and
 * `v1-5` stands in names of every kind. Word borders are anything that is no letter or digit.
 */
const NAMES: readonly (readonly [ModelFamily, RegExp])[] = [
  ["svd", /(?:^|[^a-z])svd(?:[^a-z]|$)|stable.?video/],
  ["wan", /(?:^|[^a-z])wan[._-]?\d/],
  ["hunyuan", /hunyuan|(?:^|[^a-z])hyvideo/],
  ["ltxv", /(?:^|[^a-z])ltxv?(?:[^a-z]|$)/],
  ["qwen", /qwen.?image/],
  ["cascade", /cascade/],
  ["auraflow", /aura.?flow/],
  ["zimage", /z[-_.]?image/],
  ["lumina", /lumina/],
  ["hidream", /hidream/],
  ["flux2", /flux[-_.]?2(?:[^0-9]|$)/],
  ["chroma", /(?:^|[^a-z])chroma(?:[^a-z]|$)/],
  ["flux", /flux/],
  ["sd3", /(?:^|[^a-z])sd3(?:[^0-9]|$)|sd3\.?5|stable.?diffusion.?3/],
  ["sdxl_refiner", /xl.?(?:v1[-_.])?refiner/],
  ["sdxl", /sd_?xl|(?:^|[^a-z])xl(?:[^a-z]|$)|(?:pony|illustrious|noobai|juggernaut.?xl)|xl[_.-]/],
  ["sd2", /(?:^|[^a-z0-9])v2[-_.][01]|sd_?2[._-]?[01]|(?:^|[^a-z])768-v|stable.?diffusion.?2/],
  [
    "sd1",
    /(?:^|[^a-z0-9])v1[-_.]?[1-5]|sd_?1[._-]?[45]|sd_?v?1(?:[^0-9]|$)|stable.?diffusion.?v?1|anything.?v?\d|dreamshaper.?[0-9]|realistic.?vision|(?:^|[^a-z0-9])1\.5/,
  ],
];

/**
 * Words for architectures, as the model spec, ComfyUI's CheckpointSave, kohya's scripts and SwarmUI
 * write them: `stable-diffusion-v1`, `stable-diffusion-xl-v1-base/lora`, `stable-diffusion-v3-medium`,
 * `stable-video-diffusion-img2vid-v1`. Those that are not here are written like file names.
 */
const ARCHITECTURES: readonly (readonly [ModelFamily, RegExp])[] = [
  ["svd", /^stable-video-diffusion/],
  ["sdxl_refiner", /^stable-diffusion-xl-v1-refiner/],
  ["sdxl", /^stable-diffusion-xl/],
  ["sd3", /^stable-diffusion-v?3/],
  ["sd2", /^stable-diffusion-v2/],
  ["sd1", /^stable-diffusion-v1/],
];

/** The same for kohya's word: `sd_v1`, `ss_v1`, `sd_v2_v`, `sdxl_base_v1-0`, `sdxl_`, `sd_1.5`. */
const BASE_MODELS: readonly (readonly [ModelFamily, RegExp])[] = [
  ["sdxl", /^sdxl/],
  ["sd3", /^sd3/],
  ["sd2", /^(?:s[ds]_?)?v?2(?:[^0-9]|$)/],
  ["sd1", /^(?:s[ds]_?)?v?1(?:[^0-9]|$)/],
];

/** The family that a file declares; null when it declares none, or one that is not known here. */
export function familyOfDeclared({ architecture, baseModel }: DeclaredModel): ModelFamily | null {
  return wordOf(architecture, ARCHITECTURES) ?? wordOf(baseModel, BASE_MODELS);
}

function wordOf(
  word: string | null,
  words: readonly (readonly [ModelFamily, RegExp])[],
): ModelFamily | null {
  // What is behind the slash is the kind of file: `/lora`, `/textual-inversion`, `/vae`.
  const text = word?.toLowerCase().split("/", 1)[0] ?? "";
  const known = words.find(([, pattern]) => pattern.test(text));
  return known === undefined ? familyOfName(text) : known[0];
}

/** The family that a file's name speaks of, folders included; null when it says nothing. */
export function familyOfName(name: string): ModelFamily | null {
  const lower = name.toLowerCase().replaceAll("\\", "/");
  const base = lower.slice(lower.lastIndexOf("/") + 1);
  // The file's own name says more than the folder somebody sorted it into.
  for (const text of [base, lower]) {
    for (const [family, pattern] of NAMES) if (pattern.test(text)) return family;
  }
  return null;
}
