/** Against the simulator: what a bare client sees, and what it loses. */
import type { Graph } from "@holdfast/comfyui/protocol";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { startSimulator, type Simulator, type SimulatorOptions } from "@holdfast/simulator";
import { afterEach, expect, it } from "vitest";
import { openComfyuiTarget } from "./comfyui-target.ts";
import type { LoadTarget } from "./load-target.ts";

let simulator: Simulator;
let target: LoadTarget;
afterEach(async () => {
  await target.close();
  await simulator.stop();
});

const start = async (options: Partial<SimulatorOptions> = {}): Promise<void> => {
  simulator = await startSimulator({ clock: systemClock, timeScale: 0, ...options });
  target = await openComfyuiTarget({
    url: simulator.url,
    version: null,
    clock: systemClock,
    random: systemRandom,
  });
};
const picture = (color: number, more: Graph = {}): Graph => ({
  "1": { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color } },
  "2": { class_type: "SaveImage", inputs: { filename_prefix: "x", images: ["1", 0] } },
  ...more,
});
const sleeping = (seconds: number): Graph => ({
  "1": { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: 9 } },
  "3": { class_type: "HoldfastSleep", inputs: { image: ["1", 0], seconds, poll: true } },
  "2": { class_type: "SaveImage", inputs: { filename_prefix: "x", images: ["3", 0] } },
});
const job = (graph: Graph, index = 0, timeoutMs = 60_000) => ({
  index,
  workflow: "w",
  graph,
  timeoutMs,
});
const never = new AbortController().signal;
const queue = async (): Promise<unknown> => await (await fetch(`${simulator.url}/queue`)).json();

it("renders, and tells the times of each part", async () => {
  await start();
  const { seen, message } = await target.render(job(picture(1)), never);
  expect(seen).toMatchObject({ outcome: "completed", errorClass: null, outputs: 1, retries: 0 });
  expect(message).toBe("");
  expect(seen.bytes).toBeGreaterThan(100);
  const times = [seen.begunAt, seen.startedAt ?? 0, seen.executedAt ?? 0, seen.endedAt];
  expect(times.toSorted((a, b) => a - b)).toEqual(times);
  // Nothing is loaded by this graph.
  expect(seen.loadedAt).toBeNull();
});

it("tells of loading where models are loaded", async () => {
  await start();
  const graph: Graph = {
    "4": {
      class_type: "CheckpointLoaderSimple",
      inputs: { ckpt_name: "tiny.safetensors" },
    },
    "5": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
    "8": { class_type: "VAEDecode", inputs: { samples: ["5", 0], vae: ["4", 2] } },
    "9": { class_type: "SaveImage", inputs: { filename_prefix: "x", images: ["8", 0] } },
  };
  const { seen } = await target.render(job(graph), never);
  expect(seen.outcome).toBe("completed");
  expect(seen.loadedAt).not.toBeNull();
});

it("a graph that ComfyUI refuses is refused, with its class", async () => {
  await start();
  const missing: Graph = { "1": { class_type: "NoSuchNode", inputs: {} } };
  const { seen, message } = await target.render(job(missing), never);
  expect(seen).toMatchObject({ outcome: "refused", errorClass: "node_missing", acceptedAt: null });
  expect(message).toContain("NoSuchNode");
});

it("what ComfyUI refuses of a node is told with the node, and has the class of that", async () => {
  await start();
  const graph: Graph = {
    "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "gone.safetensors" } },
    "5": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
    "8": { class_type: "VAEDecode", inputs: { samples: ["5", 0], vae: ["4", 2] } },
    "9": { class_type: "SaveImage", inputs: { filename_prefix: "x", images: ["8", 0] } },
  };
  const { seen, message } = await target.render(job(graph), never);
  expect(seen).toMatchObject({ outcome: "refused", errorClass: "model_missing" });
  expect(message).toMatch(/^node 4 CheckpointLoaderSimple: Value not in list: .*gone\.safetensors/);
});

it("an error of a node is its class", async () => {
  await start({ faults: [{ kind: "oom", match: { nodeClass: "SaveImage" } }] });
  const { seen } = await target.render(job(picture(2)), never);
  expect(seen).toMatchObject({ outcome: "failed", errorClass: "cuda_out_of_memory" });
});

it("a dropped socket fails what was waited for, and later jobs are rendered", async () => {
  await start();
  const lost = target.render(job(sleeping(30)), never);
  await simulatorHasWork();
  simulator.faults.add({ kind: "drop_socket" });
  const { seen, message } = await lost;
  expect(seen).toMatchObject({ outcome: "failed", errorClass: "network_error" });
  expect(message).toContain("the socket was dropped");
  // What was given up is not in the way of the next one for its 30 s.
  const next = await target.render(job(picture(3), 1, 10_000), never);
  expect(next.seen.outcome).toBe("completed");
});

it("a job that begins while there is no socket waits for one, and is rendered", async () => {
  await start();
  simulator.crash(1_500);
  await systemClock.sleep(200);
  const { seen, message } = await target.render(job(picture(4)), never);
  expect([seen.outcome, message]).toEqual(["completed", ""]);
});

it("a job out of its time is given up, and taken out of ComfyUI", async () => {
  await start();
  const { seen } = await target.render(job(sleeping(30), 0, 200), never);
  expect(seen).toMatchObject({ outcome: "timed_out", errorClass: "timeout" });
  await target.close();
  expect(await queue()).toMatchObject({ queue_pending: [] });
});

it("a job whose time is over before its POST is answered is not rendered afterwards", async () => {
  await start({ faults: [{ kind: "delay", ms: 600, match: { path: "/prompt", count: 0 } }] });
  const renders = [0, 1, 2].map((index) => target.render(job(sleeping(30), index, 100), never));
  const seen = (await Promise.all(renders)).map((one) => one.seen);
  expect(seen.map(({ outcome }) => outcome)).toEqual(Array.from({ length: 3 }, () => "timed_out"));
  expect(seen.map(({ acceptedAt }) => acceptedAt)).toEqual([null, null, null]);
  await target.close();
  // ComfyUI goes on with a POST whose client is gone. What ran was interrupted: it ends at its next look.
  await systemClock.sleep(800);
  await expect
    .poll(queue, { timeout: 20_000 })
    .toMatchObject({ queue_running: [], queue_pending: [] });
});

it("what is cancelled is taken out of ComfyUI's queue, all of it", async () => {
  await start();
  const cancel = new AbortController();
  const renders = [0, 1, 2].map((index) => target.render(job(sleeping(30), index), cancel.signal));
  await simulatorHasWork();
  cancel.abort();
  const outcomes = (await Promise.all(renders)).map(({ seen }) => seen.outcome);
  expect(outcomes).toEqual(["cancelled", "cancelled", "cancelled"]);
  await target.close();
  expect(await queue()).toMatchObject({ queue_pending: [] });
});

it("tells of the memory of its card, and not of its use", async () => {
  await start();
  expect(await target.cards?.(never)).toMatchObject([
    { gpu: 0, utilisationPercent: null, source: "system_stats" },
  ]);
});

async function simulatorHasWork(): Promise<void> {
  for (;;) {
    const { queue_running: running } = (await queue()) as { queue_running: unknown[] };
    if (running.length > 0) return;
    await systemClock.sleep(10);
  }
}
