/** Runs one cell of the chaos matrix and checks what must hold afterwards. */
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { tmpdir } from "node:os";
import type { JobView } from "@holdfast/contract";
import { api, sleepingGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import type { Cell, Instant } from "./cells.ts";
import { LEASE_TTL_MS, partsOf, testIds, type World } from "./world.ts";

/** Jobs of a cell: one runs, one is staged behind it, one waits. */
const JOBS = 3;
const RENDER_SECONDS = 0.4;
/** All jobs of a cell end within this time, or the cell has failed. */
const CELL_LIMIT_MS = 60_000;
/** Longer than a lease lasts, and than the reconcile loop's pace. */
const PAUSE_MS = LEASE_TTL_MS + 1_500;
/** How long a paused victim's work may take to be somebody else's. */
const SUCCESSION_LIMIT_MS = 60_000;
/** What a victim with something to say says at once. */
const LAST_WORD_MS = 3_000;
/** PNG's first bytes. */
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47]);

/** What a cell found. */
export interface CellResult extends Cell {
  readonly ok: boolean;
  /** Whether the instant was reached at all: a fault that never came proves nothing. */
  readonly reached: boolean;
  readonly attempts: number;
  readonly seconds: number;
  readonly problems: readonly string[];
}

/** The process that stands still at the cell's instant. */
type Holder = "agent" | "replica-1";

/** What both kinds of cells need. */
interface Scene {
  readonly world: World;
  readonly cell: Cell;
  readonly holder: Holder;
  /** The holder is the victim, or part of it. */
  readonly isOwn: boolean;
  /** The holder goes on when this file is there. */
  readonly gate: string;
  readonly problems: string[];
}

/** Does to the cell's victim what the cell says, waits for the jobs; returns every broken promise. */
export async function runCell(world: World, cell: Cell): Promise<CellResult> {
  const startedAt = Date.now();
  const holder = cell.instant.startsWith("agent.") ? "agent" : "replica-1";
  const isOwn = partsOf(cell.victim).includes(holder);
  const gate = join(tmpdir(), `holdfast-gate-${testIds.next("tst")}`);
  const scene: Scene = { world, cell, holder, isOwn, gate, problems: [] };
  const { problems } = scene;
  const { jobs } = await stage(scene);
  const reached = await world
    .process(holder)
    .saw(`failpoint ${cell.instant}`, 25_000)
    .then(() => true)
    .catch(() => false);
  if (!reached) problems.push(`the instant was never reached\n${world.output()}`);
  let attempts = 0;
  try {
    if (cell.fault === "kill") await killAndRevive(scene, reached);
    else await pauseAndResume(scene, jobs);
    const ended = await waitForAll(world, await jobs);
    if (cell.fault === "pause") await hearOut(scene);
    for (const job of ended) {
      attempts += job.attemptCount;
      problems.push(...(await checkJob(world, job)));
    }
  } catch (error) {
    problems.push(`${error instanceof Error ? error.message : String(error)}\n${world.output()}`);
  }
  if (!existsSync(gate)) problems.push("the gate is gone");
  await rm(gate, { force: true });
  return {
    ...cell,
    ok: problems.length === 0,
    reached,
    attempts,
    seconds: Math.round((Date.now() - startedAt) / 100) / 10,
    problems,
  };
}

/** Arms the holder and submits the jobs; `jobs` resolves when all submits are answered. */
async function stage(scene: Scene): Promise<{ readonly jobs: Promise<readonly JobView[]> }> {
  const { world, cell, holder, isOwn, gate } = scene;
  const { instant, fault } = cell;
  const armed =
    fault === "kill"
      ? [`${instant}:1:${isOwn ? "kill" : `pause:${gate}`}`]
      : [instant, ...lastWordOf(scene)].map((name) => `${name}:1:pause:${gate}`);
  await world.restart(holder, armed.join(","));
  // The other replica would take the calls: without it the instant is reached here.
  if (holder === "replica-1") await world.process("replica-2").kill();
  if (instant === "control-plane.registered") await world.restart("agent");
  else await world.ready();
  const jobs = submitJobs(world);
  jobs.catch(() => undefined); // Waited for later.
  return { jobs };
}

async function killAndRevive(scene: Scene, reached: boolean): Promise<void> {
  const { world, cell, holder, isOwn, gate } = scene;
  if (isOwn && reached) await world.process(holder).exited;
  await world.kill(cell.victim);
  await startReplica2(world);
  await world.revive(cell.victim);
  await writeFile(gate, "go on");
}

/**
 * Stops the victim until its leases have run out. Where it takes the agent along, another agent takes
 * the jobs meanwhile. A paused agent goes on while the other one still renders, so that both believe to
 * own a job; a paused box goes on when all is done, and with it whatever its replica was about to write.
 */
async function pauseAndResume(scene: Scene, jobs: Promise<readonly JobView[]>): Promise<void> {
  const { world, cell, holder, gate } = scene;
  const { victim } = cell;
  await world.pause(victim);
  try {
    // A replica cannot start while the database stands still.
    if (victim !== "postgres") await startReplica2(world);
    if (partsOf(victim).includes("agent")) await world.startSuccessor();
    await writeFile(gate, "go on");
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    if (victim === "agent") await untilTakenOver(world, await jobs);
    if (victim === "box") await waitForAll(world, await jobs);
  } finally {
    await world.resume();
    await startReplica2(world);
  }
  for (const word of lastWordOf(scene)) {
    // Most often there is none: what it held was taken from it.
    await world
      .process(holder)
      .saw(`failpoint ${word}`, LAST_WORD_MS)
      .catch(() => undefined);
  }
}

async function startReplica2(world: World): Promise<void> {
  if (!world.process("replica-2").isRunning()) await world.restart("replica-2");
}

/** Resolves when each job that has not ended is in the successor's hands. */
async function untilTakenOver(world: World, jobs: readonly JobView[]): Promise<void> {
  const client = world.client();
  const isSettled = async ({ id }: JobView): Promise<boolean> => {
    const attempts = await client.attempts(id);
    const holder = attempts.at(-1)?.instanceName;
    if (holder !== undefined && world.successorInstances.includes(holder)) return true;
    return (await client.job(id)).endedAt !== null;
  };
  await until(
    "the successor has every job",
    async () => (await Promise.all(jobs.map(isSettled))).every(Boolean),
    SUCCESSION_LIMIT_MS,
  );
}

/** Ends what was paused, and who took its place, in order: afterwards neither has anything to say. */
async function hearOut({ world, cell }: Scene): Promise<void> {
  const paused = partsOf(cell.victim).filter((part) => part !== "comfyui");
  await Promise.all([...paused, "successor" as const].map((part) => world.end(part)));
  for (const part of paused) await world.restart(part);
}

/** The failpoint after the last write of an attempt, when it is the victim that writes. */
function lastWordOf({ cell, holder, isOwn }: Scene): readonly Instant[] {
  const word = holder === "agent" ? "agent.after-report" : "control-plane.completed";
  return isOwn && cell.instant !== word ? [word] : [];
}

/** Submits as a careful caller does: with an idempotency key, again until an answer came. */
async function submitJobs(world: World): Promise<readonly JobView[]> {
  const graphs = Array.from({ length: JOBS }, (_, index) =>
    sleepingGraph(Date.now() + index, RENDER_SECONDS),
  );
  return await Promise.all(
    graphs.map(async (graph) => {
      const client = api(world.url, { "idempotency-key": testIds.next("key") });
      return await until(
        "a submit is answered",
        async () => await client.submit(graph),
        CELL_LIMIT_MS,
      );
    }),
  );
}

async function waitForAll(world: World, jobs: readonly JobView[]): Promise<JobView[]> {
  return await Promise.all(
    jobs.map((job) =>
      until(
        `job ${job.number} ends`,
        async () => {
          const now = await world.client().job(job.id);
          return now.endedAt === null ? undefined : now;
        },
        CELL_LIMIT_MS,
      ),
    ),
  );
}

/** P1, P2 and P3 of one job: completed once, by its newest attempt alone, with whole outputs. */
async function checkJob(world: World, { id, number }: JobView): Promise<string[]> {
  const client = world.client();
  const problems: string[] = [];
  const bad = (what: string): void => void problems.push(`job ${number}: ${what}`);
  const job = await client.job(id);
  const attempts = await client.attempts(id);
  if (job.status !== "completed") {
    bad(`${job.status}: ${JSON.stringify(job.error)} ${JSON.stringify(attempts)}`);
    return problems;
  }
  const succeeded = attempts.filter((attempt) => attempt.outcome === "succeeded");
  if (succeeded.length !== 1) bad(`${succeeded.length} attempts succeeded`);
  for (const attempt of succeeded) {
    if (attempt.number < attempts.length) {
      bad(`attempt ${attempt.number} completed it after attempt ${attempts.length} had begun`);
    }
  }
  const open = attempts.filter((attempt) => attempt.outcome === null);
  if (open.length > 0) bad(`${open.length} attempts have no end`);
  const { items: events } = await client.call<{ items: { type: string }[] }>(
    "GET",
    `/api/v1/jobs/${id}/events?limit=500`,
  );
  const completions = events.filter((event) => event.type === "job.completed");
  if (completions.length !== 1) bad(`completed ${completions.length} times`);
  const outputs = await client.outputs(id);
  if (outputs.length !== 1) bad(`${outputs.length} outputs`);
  for (const output of outputs) {
    const bytes = await client.download(output);
    if (!bytes.subarray(0, 4).equals(PNG)) bad("the output is no PNG");
  }
  return problems;
}
