/** Families of diffusion models: files of one can take each other's place, others cannot. */

/** What a model was trained as; null when the name says nothing. */
export type ModelFamily =
  | "sd1"
  | "sd2"
  | "sdxl"
  | "sd3"
  | "flux"
  | "svd"
  | "wan"
  | "hunyuan"
  | "ltxv"
  | "qwen"
  | "cascade"
  | "auraflow";

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
  ["flux", /flux|(?:^|[^a-z])chroma(?:[^a-z]|$)/],
  ["sd3", /(?:^|[^a-z])sd3(?:[^0-9]|$)|sd3\.?5|stable.?diffusion.?3/],
  ["sdxl", /sd_?xl|(?:^|[^a-z])xl(?:[^a-z]|$)|(?:pony|illustrious|noobai|juggernaut.?xl)|xl[_.-]/],
  ["sd2", /(?:^|[^a-z0-9])v2[-_.][01]|sd_?2[._-]?[01]|(?:^|[^a-z])768-v|stable.?diffusion.?2/],
  [
    "sd1",
    /(?:^|[^a-z0-9])v1[-_.]?[1-5]|sd_?1[._-]?[45]|sd_?v?1(?:[^0-9]|$)|stable.?diffusion.?v?1|anything.?v?\d|dreamshaper.?[0-9]|realistic.?vision|(?:^|[^a-z0-9])1\.5/,
  ],
];

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
