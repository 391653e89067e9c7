/**
 * Checkpoints on the whole system: a job whose instance dies goes on elsewhere from the latents that
 * were put away, and gives the pixels of a run that nothing disturbed.
 */
import { readFileSync } from "node:fs";
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { AttemptView, JobView } from "@holdfast/contract";
import { afterEach, expect, it } from "vitest";
import { largestDifference, pixelsOf } from "../support/png-pixels.ts";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

let system: TestSystem;
afterEach(() => system.close());

/** Long enough for a crash in the middle of a stage. */
const SLOW = { timeScale: 0.25, restartDelayMs: 60_000 };
const TWO_SLOW = { simulators: [SLOW, SLOW] };

/** A card on which sixteen pictures do not fit at once. */
const SMALL = { vram: { totalBytes: Math.round(1.8 * 1024 ** 3), deviceName: "simulated" } };

type Nodes = Record<string, { class_type: string; inputs: Record<string, unknown> }>;

function example(name: string, set: Readonly<Record<string, unknown>> = {}): Nodes {
  const url = new URL(`../../examples/${name}.json`, import.meta.url);
  const nodes = JSON.parse(readFileSync(url, "utf8")) as Nodes;
  for (const [place, value] of Object.entries(set)) {
    const [nodeId = "", input = ""] = place.split(".");
    const node = nodes[nodeId];
    if (node === undefined) throw new Error(`no node ${nodeId}`);
    node.inputs[input] = value;
  }
  return nodes;
}

const TWO_STAGES = example("two-stage-upscale", {
  "5.width": 1024,
  "5.height": 1024,
  "3.steps": 20,
  "10.width": 1280,
  "10.height": 1280,
});

async function ended(id: string): Promise<JobView> {
  return until("the job ends", async () => {
    const job = await system.client.job(id);
    return job.endedAt === null ? undefined : job;
  });
}

async function pixels(id: string): Promise<Readonly<Record<string, string>>> {
  const outputs = await system.client.outputs(id);
  const named = outputs.map(async (output): Promise<[string, string]> => [
    `${output.nodeId}:${String(output.ordinal)}`,
    pixelsOf(await system.client.download(output)),
  ]);
  return Object.fromEntries(await Promise.all(named));
}

/** What the graph gives when nothing happens, and nothing is put away. */
async function undisturbed(graph: Nodes): Promise<Readonly<Record<string, string>>> {
  const job = await system.client.submit(graph, { policy: { checkpoints: "off" } });
  expect((await ended(job.id)).status).toBe("completed");
  return pixels(job.id);
}

/** Waits for a job's first latent, and kills the instance that runs it. */
async function killAfterCheckpoint(id: string, count = 1): Promise<void> {
  const attempts = await until("latents are put away", async () => {
    const now = await system.client.attempts(id);
    return (now[0]?.checkpoints.length ?? 0) >= count ? now : undefined;
  });
  expect(attempts).toHaveLength(1);
  expect(attempts[0]?.outcome).toBeNull();
  system.simulators.find(({ url }) => url === attempts[0]?.instanceName)?.crash();
}

async function eventTypes(id: string): Promise<readonly string[]> {
  const path = `/api/v1/jobs/${id}/events?limit=100`;
  const { items } = await system.client.call<{ items: { type: string }[] }>("GET", path);
  return items.map(({ type }) => type);
}

it("a job whose instance dies in the second stage goes on elsewhere from the first", async () => {
  system = await startSystem(TWO_SLOW);
  const job = await system.client.submit(TWO_STAGES);
  await killAfterCheckpoint(job.id);
  expect((await ended(job.id)).status).toBe("completed");
  const [first, second, ...more] = await system.client.attempts(job.id);
  expect(more).toEqual([]);
  expect(first).toMatchObject({ outcome: "instance_died", resume: null });
  const [checkpoint] = first?.checkpoints ?? [];
  expect(checkpoint).toMatchObject({ nodeId: "3", problem: null });
  expect(checkpoint?.sizeBytes).toBeGreaterThan(1024);
  expect(Date.parse(checkpoint?.keptUntil ?? "") - Date.parse(checkpoint?.savedAt ?? "")).toBe(
    48 * 3_600_000,
  );
  expect(second).toMatchObject({
    outcome: "succeeded",
    resume: { nodeIds: ["3"], fromAttempt: 1, savedMs: checkpoint?.spentMs },
  });
  expect(second?.instanceId).not.toBe(first?.instanceId);
  expect(checkpoint?.spentMs).toBeGreaterThan(0);
  expect(await eventTypes(job.id)).toEqual(
    expect.arrayContaining(["checkpoint.saved", "attempt.resumed", "job.completed"]),
  );
  // The promised outputs, no latent among them.
  expect((await system.client.outputs(job.id)).map(({ kind }) => kind)).toEqual(["image", "image"]);
  expect(await pixels(job.id)).toEqual(await undisturbed(TWO_STAGES));
});

it("a long euler sampler in segments goes on in its middle, as if nothing had happened", async () => {
  system = await startSystem(TWO_SLOW);
  const graph = example("sd15-text-to-image", { "3.steps": 60, "5.width": 768, "5.height": 768 });
  const job = await system.client.submit(graph, { policy: { checkpoints: "segments" } });
  await killAfterCheckpoint(job.id, 2);
  expect((await ended(job.id)).status).toBe("completed");
  const [, second] = await system.client.attempts(job.id);
  expect(second?.resume?.nodeIds).toEqual([expect.stringMatching(/^3:segment[2-5]$/)]);
  const quiet = await system.client.submit(graph, { policy: { checkpoints: "segments" } });
  await ended(quiet.id);
  expect(await pixels(job.id)).toEqual(await pixels(quiet.id));
  // In one piece it is the same picture, but for rounding.
  const [output] = await system.client.outputs(job.id);
  const whole = await system.client.submit(graph, { policy: { checkpoints: "off" } });
  await ended(whole.id);
  const [other] = await system.client.outputs(whole.id);
  if (output === undefined || other === undefined) throw new Error("no picture");
  const pictures = await Promise.all([output, other].map((one) => system.client.download(one)));
  expect(largestDifference(pictures[0], pictures[1])).toBeLessThanOrEqual(1);
});

it("a latent that the store has lost costs its work, and never the job", async () => {
  system = await startSystem(TWO_SLOW);
  const job = await system.client.submit(TWO_STAGES);
  const saved = await until("a latent is put away", async () => {
    const [first] = await system.client.attempts(job.id);
    return first?.checkpoints[0];
  });
  expect(await removeFiles(join(system.folder, "home"), saved.sizeBytes)).toBeGreaterThan(0);
  await killAfterCheckpoint(job.id);
  expect((await ended(job.id)).status).toBe("completed");
  const attempts = await system.client.attempts(job.id);
  expect(attempts.map(({ outcome, resume }) => [outcome, resume])).toEqual([
    ["instance_died", null],
    ["succeeded", null],
  ]);
  expect(problemsOf(attempts, "3")).toEqual([expect.stringContaining("no bytes with SHA-256")]);
  expect(await pixels(job.id)).toEqual(await undisturbed(TWO_STAGES));
});

it("a latent that came out broken is given up, and the whole graph runs", async () => {
  system = await startSystem(TWO_SLOW);
  for (const { faults } of system.simulators) {
    faults.add({ kind: "corrupt_file", how: "truncate", match: { path: "/view", count: 1 } });
  }
  const job = await system.client.submit(TWO_STAGES);
  await killAfterCheckpoint(job.id);
  // Only the latent was to come out broken, wherever it is made.
  for (const { faults } of system.simulators) faults.clear();
  const { status, failureCount } = await ended(job.id);
  const attempts = await system.client.attempts(job.id);
  expect(attempts.map(({ outcome }) => outcome)).toEqual([
    "instance_died",
    "released",
    "succeeded",
  ]);
  // Only the death counts.
  expect({ status, failureCount }).toEqual({ status: "completed", failureCount: 1 });
  expect(problemsOf(attempts, "3")).toEqual([expect.stringContaining("deserializing")]);
  expect(await pixels(job.id)).toEqual(await undisturbed(TWO_STAGES));
});

it("an agent that is started anew in the second stage takes no latent for an output", async () => {
  system = await startSystem({ simulators: [SLOW] });
  const job = await system.client.submit(TWO_STAGES);
  await until("a latent is put away", async () => {
    const [first] = await system.client.attempts(job.id);
    return first?.checkpoints[0];
  });
  await system.restartAgent();
  expect((await ended(job.id)).status).toBe("completed");
  expect(await system.client.attempts(job.id)).toHaveLength(1);
  expect((await system.client.outputs(job.id)).map(({ kind }) => kind)).toEqual(["image", "image"]);
  expect(await pixels(job.id)).toEqual(await undisturbed(TWO_STAGES));
});

it("a batch in parts goes on from the parts that were done", async () => {
  system = await startSystem({
    simulators: [
      { ...SMALL, ...SLOW },
      { ...SMALL, ...SLOW },
    ],
  });
  const graph = example("sd15-text-to-image", { "5.batch_size": 16, "3.steps": 4 });
  const job = await system.client.submit(graph, { policy: { checkpoints: "segments" } });
  await until("two parts are put away", async () => {
    const attempts = await system.client.attempts(job.id);
    const last = attempts.at(-1);
    if ((last?.checkpoints.length ?? 0) < 2 || last?.outcome !== null) return undefined;
    system.simulators.find(({ url }) => url === last.instanceName)?.crash();
    return true;
  });
  const { status, changes } = await ended(job.id);
  expect(status).toBe("completed");
  expect(changes?.loss).toBe("none");
  const resumed = (await system.client.attempts(job.id)).at(-1)?.resume;
  expect(resumed?.nodeIds.length).toBeGreaterThanOrEqual(2);
  const given = await pixels(job.id);
  expect(Object.keys(given)).toHaveLength(16);
  expect(given).toEqual(await undisturbed(graph));
});

it("nothing is put away where nobody wants it, or where it would cost more than it saves", async () => {
  system = await startSystem({ simulators: [{ timeScale: 0 }] });
  const short = await system.client.submit(example("sd15-text-to-image"));
  const unwanted = await system.client.submit(TWO_STAGES, { policy: { checkpoints: "off" } });
  const wanted = await system.client.submit(TWO_STAGES);
  for (const { id } of [short, unwanted, wanted]) {
    expect((await ended(id)).status).toBe("completed");
  }
  const types = await Promise.all([short, unwanted].map(({ id }) => eventTypes(id)));
  expect(types.flat()).not.toContain("checkpoint.saved");
});

/** What is wrong with the latents of a node. */
function problemsOf(attempts: readonly AttemptView[], nodeId: string): readonly (string | null)[] {
  return attempts
    .flatMap(({ checkpoints }) => checkpoints)
    .filter((checkpoint) => checkpoint.nodeId === nodeId)
    .map(({ problem }) => problem);
}

/** Removes the files of a size below a folder; returns how many there were. */
async function removeFiles(folder: string, sizeBytes: number): Promise<number> {
  let removed = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || (await stat(path)).size !== sizeBytes) continue;
    await rm(path);
    removed += 1;
  }
  return removed;
}
