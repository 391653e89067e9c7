/**
 * Which workflow a job of a load run is, and with which seed. Job i depends on i and the run's seed
 * alone: two runs of one plan send the same jobs, in whatever order they end.
 *
 * I1: no two jobs of a run have the same seed, or ComfyUI would answer the second from its cache.
 * I2: after any number of jobs each workflow has had its share of them, within a few jobs: twelve jobs
 *     drawn by chance would measure another mix at every run.
 */
import { invariant, seededRandom } from "@holdfast/runtime";

/** A workflow of the mix and how often it comes: 3 comes three times as often as 1. */
export interface MixedWorkflow {
  readonly name: string;
  readonly weight: number;
}

/** What a run's jobs are made of. */
export interface Mix {
  readonly workflows: readonly MixedWorkflow[];
  /** Of the run; of its jobs' seeds, unless `firstJobSeed` says where those begin. */
  readonly seed: number;
  readonly firstJobSeed?: number;
}

/** One job to be sent. */
export interface PlannedJob {
  readonly index: number;
  readonly workflow: string;
  /** For the graph's samplers; a safe integer that is not negative. */
  readonly seed: number;
}

/** Most workflows of a mix: each has histograms of its own. */
export const WORKFLOWS_MAX = 100;
/** Largest weight. */
export const WEIGHT_MAX = 1_000_000;
/** Most jobs of a run. */
export const JOBS_MAX = 10_000_000;
/** Longest name of a workflow. */
const NAME_LENGTH_MAX = 200;

/** Steps of this length fill [0, 1) more evenly than chance, from wherever they begin. */
const GOLDEN_STEP = (Math.sqrt(5) - 1) / 2;
/** Job seeds begin below it, so that none leaves the safe integers. */
const FIRST_SEED_BELOW = 2 ** 52;

/** Everything that is wrong with a mix; empty for a sound one. */
export function mixProblems({ workflows, seed, firstJobSeed }: Mix): readonly string[] {
  const problems: string[] = [];
  if (workflows.length === 0 || workflows.length > WORKFLOWS_MAX) {
    problems.push(`expected 1 to ${WORKFLOWS_MAX} workflows, found ${workflows.length}`);
  }
  const names = new Set<string>();
  for (const { name, weight } of workflows.slice(0, WORKFLOWS_MAX)) {
    if (name === "" || name.length > NAME_LENGTH_MAX) {
      problems.push(`a workflow's name: expected 1 to ${NAME_LENGTH_MAX} characters`);
    } else if (names.has(name)) {
      problems.push(`two workflows are called "${name}": give one another name`);
    }
    names.add(name);
    if (!(weight > 0 && weight <= WEIGHT_MAX)) {
      problems.push(`weight of "${name}": expected over 0 to ${WEIGHT_MAX}, found ${weight}`);
    }
  }
  if (!Number.isSafeInteger(seed) || seed < 0) {
    problems.push(`seed: expected a whole number from 0, found ${seed}`);
  }
  if (firstJobSeed !== undefined && !isFirstSeed(firstJobSeed)) {
    problems.push(
      `first job's seed: expected a whole number from 0 to 2^52 - 1, found ${firstJobSeed}`,
    );
  }
  return problems;
}

/** The job of an index, of a mix without problems. */
export function createJobPlan(mix: Mix): (index: number) => PlannedJob {
  invariant(mixProblems(mix).length === 0, "a mix with problems");
  const random = seededRandom(foldedSeed(mix.seed));
  const offset = random.next();
  const first = mix.firstJobSeed ?? Math.floor(random.next() * FIRST_SEED_BELOW);
  const sum = mix.workflows.reduce((total, { weight }) => total + weight, 0);
  return (index) => {
    invariant(Number.isInteger(index) && index >= 0 && index < JOBS_MAX, `job ${index} of a plan`);
    const place = ((offset + index * GOLDEN_STEP) % 1) * sum;
    return { index, workflow: workflowAt(mix.workflows, place), seed: first + index };
  };
}

/** A generator's 32 bits out of a whole seed: seeds that differ above them shall differ here too. */
export function foldedSeed(seed: number): number {
  return (seed ^ Math.imul(Math.floor(seed / 2 ** 32), 0x9e3779b1)) >>> 0;
}

function isFirstSeed(seed: number): boolean {
  return Number.isInteger(seed) && seed >= 0 && seed < FIRST_SEED_BELOW;
}

function workflowAt(workflows: readonly MixedWorkflow[], place: number): string {
  let until = 0;
  for (const { name, weight } of workflows) {
    until += weight;
    if (place < until) return name;
  }
  // Rounding may leave a place at the very end to nobody.
  return workflows.at(-1)?.name ?? "";
}
