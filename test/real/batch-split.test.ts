/** A batch in parts gives the pictures of the batch in one piece on a real ComfyUI, in order (F20). */
import { applyPatch, type Graph } from "@holdfast/comfyui/protocol";
import { splitBatch } from "@holdfast/recovery";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { largestDifference, pixelsOf } from "../support/png-pixels.ts";
import { startRealSystem, type RealSystem } from "./real-system.ts";
import { COMFYUI_URL, firstCheckpointModel, tellWhatIsSkipped } from "./target.ts";

tellWhatIsSkipped("real/batch-split");

const LIMIT_MS = 300_000;
const BATCH = 4;

function graph(model: string, width: number, height: number): Graph {
  return {
    "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: model } },
    "5": { class_type: "EmptyLatentImage", inputs: { width, height, batch_size: BATCH } },
    "6": { class_type: "CLIPTextEncode", inputs: { text: "a fox", clip: ["4", 1] } },
    "7": { class_type: "CLIPTextEncode", inputs: { text: "blurry", clip: ["4", 1] } },
    "3": {
      class_type: "KSampler",
      inputs: {
        seed: 11,
        steps: 6,
        cfg: 7,
        sampler_name: "dpmpp_2m",
        scheduler: "normal",
        denoise: 1,
        model: ["4", 0],
        positive: ["6", 0],
        negative: ["7", 0],
        latent_image: ["5", 0],
      },
    },
    "8": { class_type: "VAEDecode", inputs: { samples: ["3", 0], vae: ["4", 2] } },
    "9": { class_type: "SaveImage", inputs: { images: ["8", 0], filename_prefix: "split" } },
  };
}

describe.skipIf(COMFYUI_URL === "")("a batch in parts", { timeout: 600_000 }, () => {
  let system: RealSystem;
  beforeEach(async () => {
    system = await startRealSystem(COMFYUI_URL);
  });
  afterEach(() => system.close());

  const render = async (what: Graph): Promise<readonly Buffer[]> => {
    const job = await system.client.submit(what);
    expect(await system.ended(job, LIMIT_MS)).toMatchObject({ status: "completed" });
    const outputs = await system.client.outputs(job.id);
    expect(outputs).toHaveLength(BATCH);
    return Promise.all(outputs.map((output) => system.client.download(output)));
  };
  /** The pictures in one piece and one by one, and what the rung says of them. */
  const both = async (width: number, height: number) => {
    const whole = graph(await firstCheckpointModel(), width, height);
    const split = splitBatch(whole, 1);
    if (split.kind === "nothing") throw new Error(split.reason);
    const parts = await render(applyPatch(whole, split.patch));
    return { whole: await render(whole), parts, isIdentical: split.isIdentical };
  };

  it("is the same pictures in the same order, where the latent's size allows it", async () => {
    const { whole, parts, isIdentical } = await both(64, 96);
    expect(isIdentical).toBe(true);
    expect(new Set(whole.map(pixelsOf)).size).toBe(BATCH);
    for (const [at, picture] of parts.entries()) {
      expect(largestDifference(picture, whole[at])).toBeLessThanOrEqual(1);
    }
  });

  it("says that it is not identical where it is not: 72 × 88", async () => {
    const { whole, parts, isIdentical } = await both(72, 88);
    expect(isIdentical).toBe(false);
    const most = parts.map((picture, at) => largestDifference(picture, whole[at]));
    expect(Math.max(...most)).toBeGreaterThan(1);
  });
});
