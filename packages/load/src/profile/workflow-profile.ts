/** Runs of one workflow, summed up. */
import { vramPeakBytes } from "./card-tally.ts";
import {
  PROFILE_VERSION,
  type ProfiledCards,
  type ProfiledNode,
  type ProfiledRun,
  type ProfiledWorkflow,
  type WorkflowProfile,
} from "./model.ts";

/** What is known of a node by its graph. */
export type NodeFacts = Pick<ProfiledNode, "nodeId" | "classType" | "title" | "isLoader">;

/** Everything of one workflow. */
export interface WorkflowRuns {
  readonly name: string;
  readonly hash: string;
  readonly asked: number;
  readonly nodes: readonly NodeFacts[];
  readonly runs: readonly ProfiledRun[];
  readonly cards: readonly ProfiledCards[];
}

const BOTTLENECKS_MAX = 5;
const BOTTLENECK_SHARE = 0.8;

/** Its entry in `summary.json`, and its own file. */
export function profileWorkflow(all: WorkflowRuns): {
  readonly summary: ProfiledWorkflow;
  readonly profile: WorkflowProfile;
} {
  const { name, hash, runs, cards } = all;
  const completed = runs.filter(({ outcome }) => outcome === "completed");
  const cold = completed.find(({ kind }) => kind === "cold");
  const warm = completed.filter(({ kind }) => kind === "warm");
  const nodes = profileNodes(all.nodes, warm.length > 0 ? warm : completed, cold);
  const coldMs = cold?.executeMs ?? null;
  const warmMs = spreadOf(warm.map(({ executeMs }) => executeMs));
  const loadMs = loadingMs(coldMs, warmMs?.mean ?? null);
  const silences = known(completed.map(({ longestSilenceMs }) => longestSilenceMs));
  return {
    summary: {
      name,
      hash,
      runs: {
        asked: all.asked,
        completed: completed.length,
        failed: runs.length - completed.length,
      },
      coldMs,
      warmMs,
      loadMs,
      loadShare: loadMs === null || coldMs === null || coldMs === 0 ? null : loadMs / coldMs,
      loaderMs: {
        cold: cold?.loaderMs ?? null,
        warm: meanOf(warm.map(({ loaderMs }) => loaderMs)),
      },
      firstStepMs: {
        cold: cold?.firstStepMs ?? null,
        warm: meanOf(warm.map(({ firstStepMs }) => firstStepMs)),
      },
      longestSilenceMs: silences.length === 0 ? null : Math.max(...silences),
      vramPeakBytes: vramPeakBytes(cards),
      cards: [...cards],
      bottlenecks: bottlenecksOf(nodes),
    },
    profile: { version: PROFILE_VERSION, workflow: name, hash, runs: [...runs], nodes },
  };
}

/** A cold run that was the shorter one says nothing of loading: something else took longer in warm ones. */
function loadingMs(coldMs: number | null, warmMs: number | null): number | null {
  return coldMs === null || warmMs === null || coldMs < warmMs ? null : coldMs - warmMs;
}

function profileNodes(
  facts: readonly NodeFacts[],
  runs: readonly ProfiledRun[],
  cold: ProfiledRun | undefined,
): ProfiledNode[] {
  const timesIn = (run: ProfiledRun | undefined, nodeId: string): number | null =>
    run?.nodes?.find((one) => one.nodeId === nodeId)?.ms ?? null;
  if (![...runs, cold].some((run) => Array.isArray(run?.nodes))) return [];
  const named = facts.map((node) => {
    const times = known(runs.map((run) => timesIn(run, node.nodeId)));
    const sum = times.reduce((all, ms) => all + ms, 0);
    return { node, times, sum };
  });
  const all = named.reduce((total, { sum }) => total + sum, 0);
  return named
    .map(({ node, times, sum }) => ({
      ...node,
      count: times.length,
      meanMs: times.length === 0 ? null : sum / times.length,
      maxMs: times.length === 0 ? null : Math.max(...times),
      share: all === 0 ? null : sum / all,
      coldMs: timesIn(cold, node.nodeId),
    }))
    .sort((a, b) => (b.share ?? 0) - (a.share ?? 0) || (b.coldMs ?? 0) - (a.coldMs ?? 0));
}

function bottlenecksOf(nodes: readonly ProfiledNode[]): ProfiledNode[] {
  const found: ProfiledNode[] = [];
  let sum = 0;
  for (const node of nodes) {
    if (sum >= BOTTLENECK_SHARE || found.length >= BOTTLENECKS_MAX) break;
    if (node.share === null || node.share === 0) break;
    found.push(node);
    sum += node.share;
  }
  return found;
}

function known(values: readonly (number | null)[]): readonly number[] {
  return values.filter((value) => value !== null);
}

function meanOf(values: readonly (number | null)[]): number | null {
  const some = known(values);
  return some.length === 0 ? null : some.reduce((all, value) => all + value, 0) / some.length;
}

function spreadOf(values: readonly (number | null)[]): ProfiledWorkflow["warmMs"] {
  const some = known(values);
  const mean = meanOf(some);
  if (mean === null) return null;
  return { count: some.length, mean, min: Math.min(...some), max: Math.max(...some) };
}
