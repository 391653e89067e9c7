/** One load run from its first job to its last: driver, samples, cards, stop rules, and what it comes to. */
import { setMaxListeners } from "node:events";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Graph } from "@holdfast/comfyui/protocol";
import {
  collectedPace,
  createJobPlan,
  createLoadCollector,
  createPacing,
  createStopRules,
  paceText,
  toLoadSummary,
  type GpuSample,
  type JobSample,
  type LoadSummary,
  type LoadTimeline,
  type RunFacts,
  type StopReason,
} from "@holdfast/load";
import type { Clock } from "@holdfast/runtime";
import type { Cards } from "./cards.ts";
import { createDriver } from "./driver.ts";
import type { LiveFacts } from "./live-view.ts";
import type { CardReading, LoadTarget } from "./load-target.ts";
import type { LoadRequest } from "./request.ts";
import { graphOfJob } from "./seeded-graph.ts";

/** What is run: a request without where it goes and what is made of it. */
export type LoadPlan = Pick<
  LoadRequest,
  "workflows" | "mix" | "pace" | "limits" | "warmUp" | "timeoutMs" | "stop"
>;

/** What a run is made of. */
export interface MeasureOptions {
  readonly plan: LoadPlan;
  readonly target: LoadTarget;
  readonly cards: Cards;
  readonly scenario: string | null;
  /** The graph to send in the place of the one of an index; default: that one. */
  readonly graphFor?: (index: number, graph: Graph) => Graph;
  readonly price: RunFacts["price"];
  readonly clock: Clock;
  /** Aborted: jobs in flight are cancelled, and what was measured is summed up. */
  readonly cancel: AbortSignal;
  /** `startedAt`: of the run, epoch ms. */
  readonly onSample?: (sample: JobSample, startedAt: number) => void;
  readonly onGpu?: (sample: GpuSample, startedAt: number) => void;
  /** Shows how it goes until the signal is aborted. */
  readonly show?: (facts: () => LiveFacts, signal: AbortSignal) => Promise<void>;
}

/** What a run came to. */
export interface MeasuredRun {
  readonly summary: LoadSummary;
  readonly timeline: LoadTimeline;
  /** Why a stop rule ended it; null where none did. */
  readonly stop: StopReason | null;
}

const LOOK_EVERY_MS = 1_000;
const LOOP_RESOLUTION_MS = 2;
const NS_PER_MS = 1e6;

/** Runs it to its end. Rejects for bugs alone. */
export async function measureLoad(options: MeasureOptions): Promise<MeasuredRun> {
  const { plan, target, clock, cancel } = options;
  // Every job in flight listens to it.
  setMaxListeners(0, cancel);
  const collector = createLoadCollector(collectedPace(plan.pace, plan.mix.seed));
  const rules = createStopRules(plan.stop);
  const graphs = new Map(plan.workflows.map(({ name, graph }) => [name, graphOfJob(graph)]));
  const startedAt = clock.now();
  const driver = createDriver({
    target,
    pacing: createPacing(plan.pace, plan.limits, plan.mix.seed),
    plan: createJobPlan(plan.mix),
    graphOf(job) {
      const graph = graphs.get(job.workflow)?.(job) ?? {};
      return options.graphFor?.(job.index, graph) ?? graph;
    },
    warmUp: plan.warmUp,
    timeoutMs: plan.timeoutMs,
    clock,
    cancel,
    stopWish: () => rules.reason()?.kind ?? null,
    onSample(sample, message) {
      collector.add(sample, message);
      rules.addJob(sample);
      options.onSample?.(sample, startedAt);
    },
  });
  const over = new AbortController();
  const delay = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
  let lastLook: readonly CardReading[] = [];
  const looking = lookAtCards(options.cards, clock, over.signal, (readings) => {
    lastLook = readings;
    const atMs = Math.max(0, clock.elapsed() - driver.originAt());
    for (const reading of readings) {
      const sample: GpuSample = { ...reading, atMs };
      collector.addGpu(sample);
      rules.addGpu(sample);
      options.onGpu?.(sample, startedAt);
    }
    if (rules.reason() !== null) driver.wake();
  });
  // Told where it is waited for, at the end: unheard until then, it would end the process.
  looking.catch(() => undefined);
  const showing = options.show?.(
    () => ({
      title: titleOf(plan, target),
      elapsedMs: clock.elapsed() - driver.originAt(),
      asked: plan.limits.jobs,
      driver: driver.state(),
      measured: collector.measured(),
      cards: lastLook,
      stop: rules.reason(),
    }),
    over.signal,
  );
  delay.enable();
  try {
    const end = await driver.run();
    delay.disable();
    const facts: RunFacts = {
      target: { kind: target.kind, url: target.url, version: target.version },
      scenario: options.scenario,
      plan: planFacts(plan),
      startedAt,
      asked: plan.limits.jobs,
      neverBegun: end.neverBegun,
      price: options.price,
      eventLoopP99Ms: loopP99(delay),
      stoppedBecause: end.stoppedBecause,
    };
    const summary = toLoadSummary(facts, collector.measured());
    return { summary, timeline: collector.timeline(), stop: rules.reason() };
  } finally {
    delay.disable();
    over.abort();
    await Promise.all([looking, showing]);
  }
}

/** What of a plan is kept in its run's file. */
export function planFacts({ pace, mix, workflows, warmUp }: LoadPlan): LoadSummary["plan"] {
  return {
    pace: paceText(pace),
    seed: mix.seed,
    workflows: workflows.map(({ name, hash, weight }) => ({ name, hash, weight })),
    warmUp,
  };
}

/** What is run where, in a line. */
export function titleOf(plan: LoadPlan, target: LoadTarget): string {
  const { jobs, forMs } = plan.limits;
  const names = plan.workflows.map(({ name, weight }) =>
    plan.workflows.length === 1 ? name : `${name}=${weight}`,
  );
  const kind = target.kind === "holdfast" ? "Holdfast" : "ComfyUI";
  const version = target.version === null ? "" : ` ${target.version}`;
  const amounts = [
    ...(jobs === null ? [] : [`${jobs} jobs`]),
    ...(forMs === null ? [] : [`${forMs / 1_000} s`]),
    paceText(plan.pace),
  ];
  return `load on ${kind}${version} at ${target.url}: ${names.join(", ")}; ${amounts.join(", ")}`;
}

async function lookAtCards(
  cards: Cards,
  clock: Clock,
  signal: AbortSignal,
  onLook: (readings: readonly CardReading[]) => void,
): Promise<void> {
  if (cards.source === null) return;
  try {
    for (;;) {
      onLook(await cards.look(signal));
      await clock.sleep(LOOK_EVERY_MS, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** The histogram counts from one tick to the next, the wished distance included. */
function loopP99(delay: ReturnType<typeof monitorEventLoopDelay>): number | null {
  return delay.count === 0
    ? null
    : Math.max(0, delay.percentile(99) / NS_PER_MS - LOOP_RESOLUTION_MS);
}
