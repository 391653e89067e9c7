/** `REDUCE_PARAMS`: less of everything that takes memory, by the numbers of the error recovery API. */
import type { Graph, GraphPatch, ObjectInfo } from "@holdfast/comfyui/protocol";
import { assertNever } from "@holdfast/runtime";
import { findSites, type Site, type SiteRole } from "./sites.ts";

/** One value that was made smaller. */
export interface Reduction {
  readonly nodeId: string;
  readonly input: string;
  readonly role: SiteRole;
  readonly from: number;
  /** By the rule, before the node's raster: 819 of 1024. */
  readonly to: number;
  /** What is written into the node: 816. */
  readonly written: number;
}

/** Whether the number of pictures may be reduced, or only what each of them is. */
export type ReductionScope = "all" | "sizes";

/** What reducing came to. */
export type Reduced =
  | {
      readonly kind: "reduced";
      readonly patch: GraphPatch;
      readonly reductions: readonly Reduction[];
    }
  /** Everything is at or under its minimum, or the graph has nothing of the kind. */
  | { readonly kind: "nothing"; readonly reason: string };

const PICTURE_ROLES: ReadonlySet<SiteRole> = new Set(["batch", "frames"]);
const KEEP = 0.8;
const MIN_SIZE = 512;
const MIN_STEPS = 20;
const MIN_BATCH = 1;
/** Under this a video is a handful of pictures. */
const MIN_FRAMES = 16;
const MIN_MEGAPIXELS = (MIN_SIZE * MIN_SIZE) / (1024 * 1024);

/**
 * Halves the batch (to 1 at least), takes 20 % off width, height (to 512) and steps (to 20), and moves
 * with them what only makes sense beside them. Frames of a video go only when neither batch nor size
 * can. A value at or under its minimum stays. Links to a primitive are replaced by the new number, so
 * that nobody else who takes it is changed.
 */
export function reduceParameters(
  graph: Graph,
  objectInfo?: ObjectInfo,
  scope: ReductionScope = "all",
): Reduced {
  const found = findSites(graph, objectInfo);
  const sites = scope === "all" ? found : found.filter(({ role }) => !PICTURE_ROLES.has(role));
  const main = sites.flatMap((site) => reduceSite(site) ?? []);
  const isLessMemory = main.some((one) => one.role !== "steps");
  const frames = isLessMemory ? [] : sites.flatMap((site) => reduceFrames(site) ?? []);
  const leading = [...main, ...frames];
  if (leading.length === 0) return { kind: "nothing", reason: explainNothing(sites) };
  const reductions = [...leading, ...sites.flatMap((site) => follow(site, leading) ?? [])];
  const set = reductions.map(({ nodeId, input, written }) => ({ nodeId, input, value: written }));
  return { kind: "reduced", patch: { set }, reductions };
}

function reduceSite(site: Site): Reduction | undefined {
  switch (site.role) {
    case "batch":
      return smaller(site, Math.floor(site.value / 2), MIN_BATCH, 1);
    case "width":
    case "height":
      return smaller(site, Math.floor(site.value * KEEP), MIN_SIZE, site.step);
    case "steps":
      return smaller(site, Math.floor(site.value * KEEP), MIN_STEPS, 1);
    case "megapixels":
      return smaller(site, site.value * KEEP * KEEP, MIN_MEGAPIXELS, site.step);
    case "frames":
    case "follow_x":
    case "follow_y":
    case "step_mark":
      return undefined;
    default:
      return assertNever(site.role);
  }
}

function reduceFrames(site: Site): Reduction | undefined {
  if (site.role !== "frames" || site.value <= MIN_FRAMES) return undefined;
  const to = Math.max(MIN_FRAMES, Math.floor(site.value * KEEP));
  // Video models take 4n+1 frames and the like: the new count has the same remainder.
  const remainder = site.value % site.step;
  const written = Math.floor((to - remainder) / site.step) * site.step + remainder;
  return written >= 1 && written < site.value ? reduction(site, to, written) : undefined;
}

function smaller(site: Site, wanted: number, min: number, step: number): Reduction | undefined {
  if (site.value <= min) return undefined;
  const to = Math.max(min, wanted);
  const written = Math.max(min, snapDown(to, step));
  return written < site.value ? reduction(site, to, written) : undefined;
}

/** What only makes sense beside a reduced value shrinks by the same share. */
function follow(site: Site, leading: readonly Reduction[]): Reduction | undefined {
  const leader = leaderOf(site, leading);
  if (leader === undefined) return undefined;
  if (site.role === "step_mark" && site.value >= leader.from) return undefined; // "to the end"
  const to =
    site.value === leader.from
      ? leader.written
      : Math.floor((site.value * leader.written) / leader.from);
  const written = snapDown(to, site.step);
  return written < site.value ? reduction(site, to, written) : undefined;
}

function leaderOf(site: Site, leading: readonly Reduction[]): Reduction | undefined {
  const role = LEADERS[site.role];
  if (role === undefined) return undefined;
  const fitting = leading.filter((one) => one.role === role);
  return (
    fitting.find((one) => one.nodeId === site.nodeId) ??
    fitting.find((one) => one.from === site.value) ??
    fitting.reduce<Reduction | undefined>(
      (most, one) => (most === undefined || one.from > most.from ? one : most),
      undefined,
    )
  );
}

const LEADERS: Readonly<Partial<Record<SiteRole, SiteRole>>> = {
  follow_x: "width",
  follow_y: "height",
  step_mark: "steps",
};

function reduction(site: Site, to: number, written: number): Reduction {
  const { nodeId, input, role, value: from } = site;
  return { nodeId, input, role, from, to, written };
}

function snapDown(value: number, step: number): number {
  // Steps like 0.01 are no whole numbers in binary: rounded to what a person would write.
  return Number((Math.floor(value / step + 1e-9) * step).toFixed(6));
}

function explainNothing(sites: readonly Site[]): string {
  const own = sites.filter((site) => reducible(site.role));
  if (own.length === 0) return "The graph has no batch, size or steps that could be made smaller.";
  const list = own
    .slice(0, LISTED)
    .map((site) => `${site.nodeId}.${site.input} = ${String(site.value)}`)
    .join(", ");
  const rest = own.length > LISTED ? ` and ${String(own.length - LISTED)} more` : "";
  return `Everything that could be made smaller is at its minimum already: ${list}${rest}.`;
}

const LISTED = 8;

function reducible(role: SiteRole): boolean {
  return !(role in LEADERS);
}
