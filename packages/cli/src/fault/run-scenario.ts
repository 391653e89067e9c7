import type { Graph } from "@holdfast/comfyui/protocol";
import { createApiClient } from "../api/api-client.ts";
import { openBareClient } from "./client/bare-client.ts";
import { submitAll, submitBook, type CallFacts } from "./client/holdfast-jobs.ts";
import { openReference } from "./client/reference.ts";
import { blurredGraph, sleepingGraph } from "./graphs.ts";
import type { FaultSpan, Observed } from "./observed.ts";
import type { BareResult, ScenarioResult } from "./result.ts";
import type { ActiveFault, Scenario, WorkFacts } from "./scenario.ts";
import { p95Ms } from "./scenarios/times.ts";
import { judge } from "./verdict.ts";
import { startWorld, type World, type WorldOptions } from "./world/world.ts";

/** How scenarios are run. */
export interface ScenarioOptions extends Omit<WorldOptions, "plan" | "client"> {
  readonly jobs: number;
}

/** All jobs of a scenario end in this time, or it has failed. */
const JOBS_LIMIT_MS = 180_000;
/** Alerts come some seconds after what they are about. */
const SEEN_LIMIT_MS = 30_000;
const LOOK_EVERY_MS = 200;
/** What a bare client waits for a render before it counts as lost. */
const BARE_LIMIT_MS = 40_000;
const BLURS_A_SECOND = 3;
const TAIL_SHOWN = 6_000;

/** Runs one scenario with Holdfast. Rejects when aborted, and for bugs. */
export async function runScenario(
  scenario: Scenario,
  options: ScenarioOptions,
): Promise<ScenarioResult> {
  if (options.comfyuiUrl !== undefined && scenario.real !== "possible") {
    return { kind: "not_here", why: scenario.real.notHere };
  }
  const world = await worldFor(scenario, "holdfast", options);
  if ("why" in world) return world;
  const { clock } = options;
  const startedAt = clock.elapsed();
  try {
    const observed = await observe(scenario, world, options);
    const attempts = observed.jobs.reduce((sum, one) => sum + one.attempts.length, 0);
    const seconds = secondsSince(startedAt, clock.elapsed());
    const verdict = judge(observed, (seen) => scenario.check(seen));
    if (verdict.state === "failed" && options.isKept) options.note(world.tail().slice(-TAIL_SHOWN));
    return { kind: "judged", verdict, jobs: observed.jobs.length, attempts, seconds };
  } catch (error) {
    if (options.signal.aborted) throw error;
    const reasons = [`the scenario broke off: ${messageOf(error)}`];
    options.note(world.tail().slice(-TAIL_SHOWN));
    const seconds = secondsSince(startedAt, clock.elapsed());
    const verdict = { state: "failed", reasons, evidence: [] } as const;
    return { kind: "judged", verdict, jobs: 0, attempts: 0, seconds };
  } finally {
    await world.close();
  }
}

/** Does the same with a bare client: the same jobs, the same fault. */
export async function runBare(scenario: Scenario, options: ScenarioOptions): Promise<BareResult> {
  if (scenario.bare !== "possible") return { kind: "not_here", why: scenario.bare.notHere };
  if (options.comfyuiUrl !== undefined && scenario.real !== "possible") {
    return { kind: "not_here", why: scenario.real.notHere };
  }
  const world = await worldFor(scenario, "bare", options);
  if ("why" in world) return { kind: "no_world", why: world.why };
  try {
    const client = await openBareClient(world.struck.url, options);
    const fault = await scenario.begin(world);
    try {
      const work = scenario.work(workFacts(options, null));
      const limit = AbortSignal.any([options.signal, AbortSignal.timeout(BARE_LIMIT_MS)]);
      const renders = work.map(async (job) => ({
        job,
        outcome: await client.render(job.graph, limit),
      }));
      await strike(fault, world);
      const ended = await Promise.all(renders);
      options.signal.throwIfAborted();
      const wanted = ended.filter(({ job }) => job.expected === "completed");
      const whys = wanted.flatMap(({ outcome }) => (outcome.kind === "lost" ? [outcome.why] : []));
      return {
        kind: "rendered",
        jobs: wanted.length,
        lost: whys.length,
        reasons: [...new Set(whys)],
        struck: await fault.struck(),
      };
    } finally {
      await fault.end();
      await client.close();
    }
  } catch (error) {
    if (options.signal.aborted) throw error;
    return { kind: "no_world", why: messageOf(error) };
  } finally {
    await world.close();
  }
}

async function worldFor(
  scenario: Scenario,
  client: WorldOptions["client"],
  options: ScenarioOptions,
): Promise<World | { readonly kind: "no_world"; readonly why: string }> {
  try {
    const world = await startWorld({ ...options, plan: scenario.plan, client });
    if (options.isKept) options.note(`  kept: ${world.folder}`);
    return world;
  } catch (error) {
    if (options.signal.aborted) throw error;
    return { kind: "no_world", why: messageOf(error) };
  }
}

async function observe(
  scenario: Scenario,
  world: World,
  options: ScenarioOptions,
): Promise<Observed> {
  const { clock, random, signal } = options;
  const url = world.holdfast?.url ?? "";
  const facts: CallFacts = {
    api: createApiClient({ baseUrl: url, apiKey: undefined }),
    clock,
    signal,
  };
  const reference = await openReference(options.comfyuiUrl, { clock, random });
  try {
    let baseline: Observed["baseline"] = [];
    const before = scenario.baseline?.(workFacts(options, null));
    if (before !== undefined) {
      const submission = await submitAll(before, facts);
      await submission.ended(JOBS_LIMIT_MS);
      baseline = (await submission.observe(reference)).jobs;
    }
    const work = scenario.work(workFacts(options, p95Ms(baseline)));
    // Nothing of the fault stands in the way of the question yet.
    const rendersBefore = await rendersOf(world);
    const fault = await scenario.begin(world);
    try {
      const submit = scenario.isBook === true ? submitBook : submitAll;
      const submission = await submit(work, facts);
      const span = await strike(fault, world);
      await submission.ended(JOBS_LIMIT_MS);
      const struck = await fault.struck();
      await fault.end();
      const rendersAfter = await rendersOf(world);
      await untilAllSeen(scenario, world, options);
      const seen = await submission.observe(reference);
      const told = world.holdfast?.told() ?? [];
      const renders =
        rendersBefore === null || rendersAfter === null ? null : rendersAfter - rendersBefore;
      return { ...seen, baseline, told, renders, fault: { how: fault.how, struck, span } };
    } finally {
      await fault.end();
    }
  } finally {
    await reference.close();
  }
}

async function strike(fault: ActiveFault, world: World): Promise<FaultSpan | null> {
  if (fault.strike === undefined) return null;
  await world.untilRendering();
  const fromMs = world.clock.now();
  await fault.strike();
  return { fromMs, untilMs: world.clock.now() };
}

/** Pictures of ours that the ComfyUIs have rendered; null where one does not tell. */
async function rendersOf({ comfyuis }: World): Promise<number | null> {
  const counts = await Promise.all(comfyuis.map((one) => one.counts()));
  return counts.reduce<number | null>(
    (sum, one) => (sum === null || one === null ? null : sum + one.renders),
    0,
  );
}

async function untilAllSeen(
  scenario: Scenario,
  world: World,
  { clock, signal }: ScenarioOptions,
): Promise<void> {
  const deadline = clock.elapsed() + SEEN_LIMIT_MS;
  while (scenario.isAllSeen?.(world) === false && clock.elapsed() < deadline) {
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
}

function workFacts(options: ScenarioOptions, baselineP95Ms: number | null): WorkFacts {
  const picture = (index: number, seconds: number): Graph =>
    options.comfyuiUrl === undefined
      ? sleepingGraph(index, seconds)
      : blurredGraph(index, Math.max(1, Math.round(seconds * BLURS_A_SECOND)));
  return { count: options.jobs, picture, baselineP95Ms };
}

function secondsSince(startedAt: number, now: number): number {
  return Math.round((now - startedAt) / 100) / 10;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
