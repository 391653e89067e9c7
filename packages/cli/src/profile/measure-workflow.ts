/** Runs one workflow so many times, one after the other, and looks at the cards meanwhile. */
import type { Graph } from "@holdfast/comfyui/protocol";
import {
  createCardTally,
  createTraceWatch,
  profileWorkflow,
  type GpuSample,
  type ProfiledRun,
  type RunTrace,
  type TraceEvent,
} from "@holdfast/load";
import type { Clock } from "@holdfast/runtime";
import { loaderNodes } from "../load/comfyui-prompts.ts";
import { UNREACHABLE_CLASS, type LoadTarget } from "../load/load-target.ts";
import type { LoadWorkflow } from "../load/read-workflow.ts";
import { graphOfJob } from "../load/seeded-graph.ts";
import { samplesOf, type CardLook, type CardLooks } from "./card-looks.ts";

/** What it is done with. */
export interface MeasureOptions {
  readonly target: LoadTarget;
  readonly looks: CardLooks;
  readonly clock: Clock;
  /** `elapsed()` of the profiling's start. */
  readonly originAt: number;
  readonly runs: number;
  readonly firstSeed: number;
  readonly everyMs: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Frees the models before the first run; false where it could not. */
  readonly free: () => Promise<boolean>;
  /** Whether the server answers at all. */
  readonly isThere: () => Promise<boolean>;
  /** Of the workflows before, the last ones in a row that found no server. */
  readonly lostRuns: number;
  /** Hands on what the socket tells to the run that goes on. */
  readonly listen: (hear: ((event: TraceEvent) => void) | null) => void;
  readonly onLook: (look: CardLook, samples: readonly GpuSample[]) => Promise<void>;
  readonly onRun: (run: ProfiledRun) => void;
}

/** After these in a row that found no server it is given up: one alone may have met a restart. */
const LOST_RUNS_MAX = 2;

/** What it came to; `lostRuns`: the last runs in a row that found no server; `isLost`: it was given up. */
export async function measureWorkflow(workflow: LoadWorkflow, options: MeasureOptions) {
  const { clock, originAt, signal } = options;
  const tally = createCardTally();
  const loaders = loaderNodes(workflow.graph);
  const graphOf = graphOfJob(workflow.graph);
  const runs: ProfiledRun[] = [];
  const isFreed = await options.free();
  const look = async (take: (sample: GpuSample) => void): Promise<void> => {
    const seen = await options.looks.look(signal);
    const samples = samplesOf(seen, clock.elapsed() - originAt);
    for (const sample of samples) take(sample);
    await options.onLook(seen, samples);
  };
  await look((sample) => tally.before(sample)).catch(ignoreAbort(signal));
  const over = new AbortController();
  const stopped = AbortSignal.any([signal, over.signal]);
  const looking = keepLooking(
    () => look((sample) => tally.add(sample)),
    options.everyMs,
    clock,
    stopped,
  );
  let lost = options.lostRuns;
  for (let index = 0; index < options.runs && !signal.aborted && lost < LOST_RUNS_MAX; index += 1) {
    const seed = options.firstSeed + index;
    const graph = graphOf({ index, seed, workflow: workflow.name });
    const run = await runOnce(workflow, graph, { index, seed, loaders, isFreed }, options);
    runs.push(run);
    options.onRun(run);
    lost = await lostAfter(run, lost, options);
    // The last look of a run sees what it left in memory.
    await look((sample) => tally.add(sample)).catch(ignoreAbort(signal));
  }
  over.abort(new Error("all runs have ended"));
  await looking;
  const nodes = Object.entries(workflow.graph).map(([nodeId, node]) => ({
    nodeId,
    classType: node.class_type,
    title: node._meta?.title ?? null,
    isLoader: loaders.has(nodeId),
  }));
  const { name, hash } = workflow;
  const cards = tally.cards();
  return {
    ...profileWorkflow({ name, hash, asked: options.runs, nodes, runs, cards }),
    lostRuns: lost,
    isLost: lost >= LOST_RUNS_MAX,
  };
}

/** A run that waited all its time for a server that is gone has waited for its restart already. */
async function lostAfter(
  { errorClass, outcome }: ProfiledRun,
  lost: number,
  { isThere }: MeasureOptions,
): Promise<number> {
  const mayBeLost = errorClass === UNREACHABLE_CLASS || outcome === "timed_out";
  if (!mayBeLost || (await isThere())) return 0;
  return outcome === "timed_out" ? LOST_RUNS_MAX : lost + 1;
}

async function runOnce(
  workflow: LoadWorkflow,
  graph: Graph,
  facts: {
    readonly index: number;
    readonly seed: number;
    readonly loaders: ReadonlySet<string>;
    readonly isFreed: boolean;
  },
  { target, clock, timeoutMs, signal, listen }: MeasureOptions,
): Promise<ProfiledRun> {
  const { index, seed, loaders } = facts;
  const watch = createTraceWatch();
  listen((event) => watch.add(event, clock.elapsed()));
  const job = { index, workflow: workflow.name, graph, timeoutMs };
  const { seen, message, isCold } = await target.render(job, signal);
  listen(null);
  const trace = target.kind === "comfyui" ? watch.trace() : null;
  const { startedAt, executedAt, outcome, errorClass } = seen;
  const executeMs =
    trace?.executeMs ??
    (startedAt === null || executedAt === null ? null : Math.max(0, executedAt - startedAt));
  return {
    index,
    seed,
    kind: kindOf(workflow, hasLoaded(trace, isCold, facts), index),
    outcome,
    errorClass,
    message,
    executeMs: outcome === "completed" ? executeMs : null,
    firstStepMs: trace?.firstStepMs ?? null,
    longestSilenceMs: trace?.longestSilenceMs ?? null,
    loaderMs:
      trace === null
        ? null
        : trace.nodes.reduce((all, { nodeId, ms }) => all + (loaders.has(nodeId) ? ms : 0), 0),
    nodes: trace === null ? null : [...trace.nodes],
  };
}

/** Loader nodes that ran, and did not come from the cache, loaded their models. Undefined: not known. */
function hasLoaded(
  trace: RunTrace | null,
  isCold: boolean | undefined,
  facts: {
    readonly index: number;
    readonly loaders: ReadonlySet<string>;
    readonly isFreed: boolean;
  },
): boolean | undefined {
  if (trace === null) return isCold;
  return facts.loaders.size === 0
    ? facts.index === 0 && facts.isFreed
    : trace.nodes.some(({ nodeId }) => facts.loaders.has(nodeId));
}

function kindOf(
  { isVaried }: LoadWorkflow,
  isCold: boolean | undefined,
  index: number,
): ProfiledRun["kind"] {
  if (isCold === undefined) return "unknown";
  if (isCold) return "cold";
  return index > 0 && !isVaried ? "cached" : "warm";
}

async function keepLooking(
  look: () => Promise<void>,
  everyMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await clock.sleep(everyMs, signal).catch(ignoreAbort(signal));
    if (!signal.aborted) await look().catch(ignoreAbort(signal));
  }
}

/** An abort is not an error: the loop's condition sees it. */
function ignoreAbort(signal: AbortSignal): (error: unknown) => void {
  return (error) => {
    if (!signal.aborted) throw error;
  };
}
