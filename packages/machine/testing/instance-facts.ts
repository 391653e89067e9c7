/** Plans, releases and specs for tests of instances. */
import type { InstancePlan, Release } from "../src/instances/model.ts";

/** An instance without a GPU. */
export function plan(changes: Partial<InstancePlan> = {}): InstancePlan {
  const port = changes.port ?? 8_188;
  return {
    name: "comfyui-cpu0",
    host: "127.0.0.1",
    port,
    url: `http://127.0.0.1:${port}`,
    gpu: null,
    flags: [],
    env: {},
    recycleAboveBytes: null,
    memoryLimitBytes: null,
    startTimeoutMs: 60_000,
    drainMs: 30_000,
    stopTimeoutMs: 5_000,
    ...changes,
  };
}

/** An instance of the card with this index. */
export function gpuPlan(index: number, changes: Partial<InstancePlan> = {}): InstancePlan {
  const gpu = {
    index,
    uuid: `GPU-0000000${index}`,
    name: "A card",
    memoryTotalBytes: 24 * 1024 ** 3,
  };
  return plan({ name: `comfyui-gpu${index}`, port: 8_188 + index, gpu, ...changes });
}

/** A release in a folder that need not be there. */
export function release(id = "r1", changes: Partial<Release> = {}): Release {
  return {
    id,
    comfyuiFolder: `/srv/machine/releases/${id}/comfyui`,
    python: `/srv/machine/releases/${id}/venv/bin/python`,
    extraModelPaths: null,
    nodeClasses: [],
    models: [],
    ...changes,
  };
}
