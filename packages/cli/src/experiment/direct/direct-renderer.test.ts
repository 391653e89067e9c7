import { readFile, rm, mkdtemp } from "node:fs/promises";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Graph } from "@holdfast/comfyui/protocol";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { startSimulator, type Simulator, type SimulatorOptions } from "@holdfast/simulator";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { EarlierStart, Renderer } from "../renderer.ts";
import { openDirectRenderer } from "./direct-renderer.ts";

let workFolder: string;
let simulator: Simulator;
const open: Renderer[] = [];
const queued: string[] = [];
beforeEach(async () => {
  workFolder = await mkdtemp(join(tmpdir(), "holdfast-direct-"));
  queued.splice(0);
});
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
  await simulator.stop();
  await rm(workFolder, { recursive: true, force: true });
});

const quiet = () => undefined;
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
const startComfy = async (options: Partial<SimulatorOptions> = {}): Promise<void> => {
  simulator = await startSimulator({
    clock: systemClock,
    timeScale: 0,
    onQueued: ({ promptId }) => void queued.push(promptId),
    ...options,
  });
};
const renderer = async (executionLimitMs = 60_000, inFlight = 1): Promise<Renderer> => {
  const one = await openDirectRenderer({
    url: simulator.url,
    workFolder,
    inFlight,
    executionLimitMs,
    stall: { progressMs: 60_000, firstLoadMs: 60_000 },
    clock: systemClock,
    random: systemRandom,
    log,
  });
  open.push(one);
  return one;
};
const picture = (color: number): Graph => ({
  "1": { class_type: "EmptyImage", inputs: { width: 32, height: 32, batch_size: 1, color } },
  "2": { class_type: "SaveImage", inputs: { filename_prefix: "x", images: ["1", 0] } },
});
/** Renders as a run does it; its result is on the disk at once. */
const render = async (one: Renderer, color: number, earlier?: EarlierStart) => {
  const promptId = one.nextPromptId(earlier);
  const request = { name: "exp_0000", graph: picture(color), promptId, earlier };
  const rendered = await one.render(request);
  one.settled(promptId);
  return { promptId, ...rendered };
};
const timesQueued = (promptId: string): number => queued.filter((one) => one === promptId).length;

describe("a run on a ComfyUI", () => {
  it("gives its files with their hashes, and leaves ComfyUI's history clean", async () => {
    await startComfy();
    const one = await renderer();
    const { failure, files, promptId, facts } = await render(one, 1);
    expect(failure).toBeUndefined();
    expect(files).toHaveLength(1);
    const bytes = await readFile(files[0]?.path ?? "");
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(files[0]?.sha256);
    expect(facts).toMatchObject({ attempts: 1, loss: 0, recovery: [] });
    await expect
      .poll(async () => (await fetch(`${simulator.url}/history/${promptId}`)).json())
      .toEqual({});
  });

  it.each([
    ["the answer to its POST is lost", { kind: "reset", when: "after" }, "/prompt"],
    ["its POST is cut off before it arrives", { kind: "reset", when: "before" }, "/prompt"],
    ["a picture is cut off on its way", { kind: "reset", when: "before" }, "/view"],
  ] as const)("is rendered once although %s", async (_what, fault, path) => {
    await startComfy();
    const one = await renderer();
    await render(one, 1);
    simulator.faults.add({ ...fault, match: { path } });
    const { failure, promptId } = await render(one, 2);
    expect(failure).toBeUndefined();
    expect(timesQueued(promptId)).toBe(1);
  });

  it("is rendered although its socket is dropped, or deaf", async () => {
    await startComfy();
    const one = await renderer();
    simulator.faults.add({ kind: "drop_socket", afterEvents: 1 });
    expect((await render(one, 1)).failure).toBeUndefined();
    simulator.faults.add({ kind: "lose_registration" });
    expect((await render(one, 2)).failure).toBeUndefined();
  });

  it("that fails for its own reason is no service's trouble", async () => {
    await startComfy();
    const one = await renderer();
    simulator.faults.add({ kind: "oom", match: { nodeClass: "SaveImage" } });
    const { failure } = await render(one, 1);
    expect(failure).toMatchObject({
      class: "cuda_out_of_memory",
      isInfrastructure: false,
      nodeId: "2",
      nodeType: "SaveImage",
      exceptionType: expect.stringContaining("OutOfMemoryError"),
      traceback: expect.stringContaining("File "),
    });
    expect((await render(one, 2)).failure).toBeUndefined();
    const bad = { "1": { class_type: "NoSuchNode", inputs: {} } };
    const promptId = one.nextPromptId(undefined);
    const refused = await one.render({ name: "x", graph: bad, promptId, earlier: undefined });
    one.settled(promptId);
    expect(refused.failure).toMatchObject({ isInfrastructure: false });
  });

  it("ends at its limit, and the next one is rendered", async () => {
    await startComfy();
    const one = await renderer(1_500);
    simulator.faults.add({ kind: "hang", polls: true, match: { nodeClass: "SaveImage" } });
    expect((await render(one, 1)).failure).toMatchObject({
      class: "timeout",
      isInfrastructure: false,
    });
    expect((await render(one, 2)).failure).toBeUndefined();
  });

  it("that ComfyUI dies of is a service's trouble, and the next one waits for a new process", async () => {
    await startComfy({ restartDelayMs: 300 });
    const one = await renderer();
    simulator.faults.add({ kind: "crash", match: { nodeClass: "SaveImage" }, downMs: 300 });
    const { failure } = await render(one, 1);
    expect(failure).toMatchObject({ isInfrastructure: true });
    await expect.poll(async () => (await render(one, 2)).failure).toBeUndefined();
  });

  it("fails at once while nothing listens", async () => {
    await startComfy();
    const one = await renderer();
    await render(one, 1);
    simulator.crash(null);
    const { failure, promptId } = await render(one, 2);
    expect(failure).toMatchObject({ isInfrastructure: true });
    expect(timesQueued(promptId)).toBe(0);
  });
});

describe("the next process", () => {
  it("finds a prompt that ended meanwhile, and does not render it again", async () => {
    await startComfy();
    const first = await renderer();
    const promptId = first.nextPromptId(undefined);
    const request = { name: "x", graph: picture(1), promptId, earlier: undefined };
    const before = await first.render(request);
    // Killed before its result was on the disk: ComfyUI still has it.
    await first.close();
    open.pop();
    const second = await renderer();
    const earlier = { promptId, hasEnded: false };
    expect(second.nextPromptId(earlier)).toBe(promptId);
    expect(await second.isThere(earlier)).toBe(true);
    const lookedAt = systemClock.now();
    const after = await render(second, 1, earlier);
    expect(after.failure).toBeUndefined();
    expect(after.facts.span?.endedAt).toBeLessThanOrEqual(lookedAt);
    expect(after.files[0]?.sha256).toBe(before.files[0]?.sha256);
    expect(timesQueued(promptId)).toBe(1);
  });

  it("renders a prompt that never arrived, under its id", async () => {
    await startComfy();
    const one = await renderer();
    const promptId = "6b83fb8e-4136-4991-bd4c-8ca9b704810c";
    expect(await one.isThere({ promptId, hasEnded: false })).toBe(false);
    const { failure, promptId: used } = await render(one, 1, { promptId, hasEnded: false });
    expect(failure).toBeUndefined();
    expect(used).toBe(promptId);
    expect(timesQueued(promptId)).toBe(1);
  });

  it("gives a run that failed with a service a new prompt", async () => {
    await startComfy();
    const one = await renderer();
    const promptId = "6b83fb8e-4136-4991-bd4c-8ca9b704810c";
    expect(one.nextPromptId({ promptId, hasEnded: true })).not.toBe(promptId);
  });
});
