/** Runs one cell of the kill matrix and checks what must hold afterwards. */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { tmpdir } from "node:os";
import type { JobView } from "@holdfast/contract";
import { api, sleepingGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import type { Cell } from "./cells.ts";
import { testIds, type World } from "./world.ts";

/** Jobs of a cell: one runs, one is staged behind it, one waits. */
const JOBS = 3;
const RENDER_SECONDS = 0.4;
/** All jobs of a cell end within this time, or the cell has failed. */
const CELL_LIMIT_MS = 60_000;
/** PNG's first bytes. */
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47]);

/** What a cell found. */
export interface CellResult extends Cell {
  readonly ok: boolean;
  /** Whether the instant was reached at all: a kill that never came proves nothing. */
  readonly reached: boolean;
  readonly attempts: number;
  readonly seconds: number;
  readonly problems: readonly string[];
}

/** Kills the cell's victim at its instant and waits for the jobs; returns every broken promise. */
export async function runCell(world: World, cell: Cell): Promise<CellResult> {
  const startedAt = Date.now();
  const gate = join(tmpdir(), `holdfast-gate-${testIds.next("tst")}`);
  const holder = cell.instant.startsWith("agent.") ? "agent" : "replica-1";
  const isOwn =
    cell.victim === "agent"
      ? holder === "agent"
      : cell.victim === "control-plane" && holder === "replica-1";
  const action = isOwn ? "kill" : `pause:${gate}`;
  await world.restart(holder, `${cell.instant}:1:${action}`);
  // The other replica would take the calls: without it the instant is reached here.
  if (holder === "replica-1") await world.process("replica-2").kill();
  if (cell.instant === "control-plane.registered") await world.restart("agent");
  else await world.ready();
  const jobs = submitJobs(world);
  const problems: string[] = [];
  let reached = true;
  try {
    await world.process(holder).saw(`failpoint ${cell.instant}`, 25_000);
  } catch {
    reached = false;
    problems.push(`the instant was never reached\n${world.output()}`);
  }
  if (!isOwn || !reached) await world.kill(cell.victim);
  else await world.process(holder).exited;
  if (!world.process("replica-2").isRunning()) await world.restart("replica-2");
  await world.revive(cell.victim);
  await writeFile(gate, "go on");
  let attempts = 0;
  try {
    const submitted = await jobs;
    const ended = await waitForAll(world, submitted);
    for (const job of ended) {
      attempts += job.attemptCount;
      problems.push(...(await checkJob(world, job)));
    }
  } catch (error) {
    problems.push(`${error instanceof Error ? error.message : String(error)}\n${world.output()}`);
  }
  if (!existsSync(gate)) problems.push("the gate is gone");
  return {
    ...cell,
    ok: problems.length === 0,
    reached,
    attempts,
    seconds: Math.round((Date.now() - startedAt) / 100) / 10,
    problems,
  };
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

/** P1, P2 and P3 of one job: completed once, by one attempt, with whole outputs. */
async function checkJob(world: World, job: JobView): Promise<string[]> {
  const client = world.client();
  const problems: string[] = [];
  const bad = (what: string): void => void problems.push(`job ${job.number}: ${what}`);
  const attempts = await client.attempts(job.id);
  if (job.status !== "completed") {
    bad(`${job.status}: ${JSON.stringify(job.error)} ${JSON.stringify(attempts)}`);
    return problems;
  }
  const succeeded = attempts.filter((attempt) => attempt.outcome === "succeeded");
  if (succeeded.length !== 1) bad(`${succeeded.length} attempts succeeded`);
  const { items: events } = await client.call<{ items: { type: string }[] }>(
    "GET",
    `/api/v1/jobs/${job.id}/events?limit=500`,
  );
  const completions = events.filter((event) => event.type === "job.completed");
  if (completions.length !== 1) bad(`completed ${completions.length} times`);
  const outputs = await client.outputs(job.id);
  if (outputs.length !== 1) bad(`${outputs.length} outputs`);
  for (const output of outputs) {
    const bytes = await client.download(output);
    if (!bytes.subarray(0, 4).equals(PNG)) bad("the output is no PNG");
  }
  return problems;
}
