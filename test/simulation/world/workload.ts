/** The jobs of a simulation, and what may become of each. */
import type { SubmitJob } from "@holdfast/contract";
import { nextInt, type Random } from "@holdfast/runtime";

type Graph = SubmitJob["graph"];

/** One job to submit. */
export interface PlannedJob {
  readonly key: string;
  readonly kind: JobKind;
  readonly graph: Graph;
  /** Colour of every pixel that its saved pictures must have; undefined where it says nothing. */
  readonly color: number | undefined;
  readonly maxRetryAttempts: number | undefined;
  /** Such a graph fails on every machine, however often it is tried. */
  readonly isDoomed: boolean;
  readonly submitAtMs: number;
  readonly cancelAtMs: number | undefined;
  /** Whether its caller tries again, once, when it has failed. */
  readonly isRedriven: boolean;
}

const KINDS = [
  "plain",
  "plain",
  "plain",
  "plain",
  "plain",
  "plain",
  "plain",
  "two_outputs",
  "two_outputs",
  "batch",
  "model",
  "input",
  "raises",
  "kills",
  "hangs",
] as const;
/** What a job's graph does. */
export type JobKind = (typeof KINDS)[number];

const SLOW: ReadonlySet<JobKind> = new Set(["hangs", "kills"]);

/** The input picture that graphs of the kind `input` read, by name. */
export const INPUT_NAME = "page.png";
/** A model that only some of the instances have. */
export const RARE_MODEL = "v1-5-pruned-emaonly.safetensors";

/** What a fleet and its time allow. */
export interface WorkloadSpace {
  readonly count: number;
  /** All are submitted within so many ms. */
  readonly withinMs: number;
  readonly instances: number;
}

/** Plans jobs. */
export function planJobs(random: Random, space: WorkloadSpace): readonly PlannedJob[] {
  const { count, withinMs } = space;
  const used = new Set<JobKind>();
  return Array.from({ length: count }, (_, index) => {
    const drawn = KINDS[nextInt(random, KINDS.length)] ?? "plain";
    // What keeps instances from working for minutes comes once at most, and a graph that kills only
    // where a second instance makes it poison: alone with one it would be tried ten times.
    const isTooMuch = used.has(drawn) || (drawn === "kills" && space.instances === 1);
    const kind = SLOW.has(drawn) && isTooMuch ? "plain" : drawn;
    used.add(kind);
    const color = 1 + nextInt(random, 0xfffffe);
    const seconds = 0.2 + random.next() ** 2 * 18;
    const submitAtMs = 500 + random.next() * withinMs;
    const isCancelled = random.next() < 0.12;
    return {
      key: `job-${index}`,
      kind,
      graph: graphOf(kind, color, seconds),
      color: kind === "model" || kind === "input" ? undefined : color,
      // A hang takes minutes until its instance works again: one retry shows all that four would.
      maxRetryAttempts: kind === "hangs" ? 1 : undefined,
      isDoomed: kind === "raises" || kind === "kills" || kind === "hangs",
      submitAtMs,
      cancelAtMs: isCancelled ? submitAtMs + random.next() * 30_000 : undefined,
      isRedriven: random.next() < 0.3 && !SLOW.has(kind),
    };
  });
}

/** What most graphs are made of. */
interface Parts {
  readonly picture: Node;
  readonly sleep: Node;
  readonly color: number;
}

interface Node {
  readonly class_type: string;
  readonly inputs: Readonly<Record<string, unknown>>;
}

function graphOf(kind: JobKind, color: number, seconds: number): Graph {
  return GRAPHS[kind]({
    color,
    picture: node("EmptyImage", { width: 16, height: 16, batch_size: 1, color }),
    sleep: node("HoldfastSleep", { image: ["1", 0], seconds, poll: color % 4 !== 0 }),
  });
}

function node(classType: string, inputs: Node["inputs"]): Node {
  return { class_type: classType, inputs };
}

function save(from: string): Node {
  return node("SaveImage", { images: [from, 0], filename_prefix: "sim/picture" });
}

const GRAPHS: Readonly<Record<JobKind, (parts: Parts) => Graph>> = {
  plain: ({ picture, sleep }) => ({ "1": picture, "2": sleep, "3": save("2") }),
  two_outputs: ({ picture, sleep }) => ({
    "1": picture,
    "2": sleep,
    "3": save("1"),
    "4": save("2"),
    "5": node("PreviewImage", { images: ["2", 0] }),
  }),
  batch: ({ picture, sleep }) => ({
    "1": node("EmptyImage", { ...picture.inputs, batch_size: 3 }),
    "2": sleep,
    "3": save("2"),
  }),
  model: ({ picture, sleep }) => ({
    "1": picture,
    "2": sleep,
    "4": node("CheckpointLoaderSimple", { ckpt_name: RARE_MODEL }),
    "5": node("VAEEncode", { pixels: ["2", 0], vae: ["4", 2] }),
    "6": node("VAEDecode", { samples: ["5", 0], vae: ["4", 2] }),
    "3": save("6"),
  }),
  input: ({ sleep }) => ({
    "1": node("LoadImage", { image: INPUT_NAME }),
    "2": sleep,
    "3": save("2"),
  }),
  raises: ({ picture }) => ({
    "1": picture,
    "2": node("HoldfastRaise", { image: ["1", 0], kind: "runtime", message: "no good" }),
    "3": save("2"),
  }),
  kills: ({ picture, sleep }) => ({
    "1": picture,
    "2": sleep,
    "4": node("HoldfastCrash", { image: ["2", 0] }),
    "3": save("4"),
  }),
  hangs: ({ picture, color }) => ({
    "1": picture,
    "2": node("HoldfastHang", { image: ["1", 0], poll: color % 2 === 0 }),
    "3": save("2"),
  }),
};
