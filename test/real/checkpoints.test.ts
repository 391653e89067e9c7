/** A job goes on from its latents in another process of a real ComfyUI, with the same pixels. */
import type { JobView } from "@holdfast/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { largestDifference, pixelsOf } from "../support/png-pixels.ts";
import { until } from "../support/processes.ts";
import { startRealSystem, type RealSystem } from "./real-system.ts";
import {
  COMFYUI_URL,
  firstCheckpointModel,
  RESTART_COMMAND,
  restartComfyUi,
  tellWhatIsSkipped,
} from "./target.ts";

tellWhatIsSkipped("real/checkpoints", true);

const LIMIT_MS = 300_000;
/** Every latent is put away, and long samplers are in segments. */
const SEGMENTS = { policy: { checkpoints: "segments" } };

function expectEqual(pictures: readonly Buffer[], others: readonly Buffer[]): void {
  expect(pictures.map(pixelsOf)).toEqual(others.map(pixelsOf));
}

/** Two stages: a small picture, and the same larger. */
function graph(model: string, first: object, second: object) {
  const sampler = (latent: string, inputs: object) => ({
    class_type: "KSampler",
    inputs: {
      seed: 7,
      cfg: 7,
      scheduler: "normal",
      denoise: 1,
      model: ["4", 0],
      positive: ["6", 0],
      negative: ["7", 0],
      latent_image: [latent, 0],
      ...inputs,
    },
  });
  return {
    "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: model } },
    "5": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 2 } },
    "6": { class_type: "CLIPTextEncode", inputs: { text: "a fox", clip: ["4", 1] } },
    "7": { class_type: "CLIPTextEncode", inputs: { text: "blurry", clip: ["4", 1] } },
    "3": sampler("5", first),
    "10": {
      class_type: "LatentUpscale",
      inputs: {
        samples: ["3", 0],
        upscale_method: "nearest-exact",
        width: 128,
        height: 128,
        crop: "disabled",
      },
    },
    "11": sampler("10", second),
    "8": { class_type: "VAEDecode", inputs: { samples: ["11", 0], vae: ["4", 2] } },
    "9": { class_type: "SaveImage", inputs: { images: ["8", 0], filename_prefix: "checkpoints" } },
  };
}

describe.skipIf(COMFYUI_URL === "")("checkpoints on a real ComfyUI", { timeout: 600_000 }, () => {
  let system: RealSystem;
  beforeEach(async () => {
    system = await startRealSystem(COMFYUI_URL);
  });
  afterEach(() => system.close());

  const pictures = async (job: JobView): Promise<readonly Buffer[]> => {
    const outputs = await system.client.outputs(job.id);
    expect(outputs.map(({ kind }) => kind)).toEqual(["image", "image"]);
    return Promise.all(outputs.map((output) => system.client.download(output)));
  };
  const render = async (what: object, more: object): Promise<readonly Buffer[]> => {
    const job = await system.client.submit(what, more);
    expect(await system.ended(job, LIMIT_MS)).toMatchObject({ status: "completed" });
    return pictures(job);
  };
  /** Kills ComfyUI when `nodeId` has been put away. */
  const killedAfter = async (what: object, nodeId: string): Promise<JobView> => {
    const job = await system.client.submit(what, SEGMENTS);
    await until(
      "a latent is put away",
      async () => {
        const [first] = await system.client.attempts(job.id);
        return first?.checkpoints.some((one) => one.nodeId === nodeId) === true || undefined;
      },
      LIMIT_MS,
    );
    await restartComfyUi();
    const done = await system.ended(job, LIMIT_MS);
    expect(done).toMatchObject({ status: "completed", error: null });
    return done;
  };

  it("a euler sampler in segments is within 1 of 255 of a whole one, and always the same", async () => {
    const what = graph(
      await firstCheckpointModel(),
      { steps: 24, sampler_name: "euler" },
      { steps: 2, sampler_name: "euler", denoise: 0.2 },
    );
    const only = {
      ...what,
      "8": { class_type: "VAEDecode", inputs: { samples: ["3", 0], vae: ["4", 2] } },
    };
    const [whole, cut, again] = [
      await render(only, { policy: { checkpoints: "off" } }),
      await render(only, SEGMENTS),
      await render(
        { ...only, "9": { ...only["9"], inputs: { ...only["9"].inputs, filename_prefix: "x" } } },
        SEGMENTS,
      ),
    ];
    for (const [at, picture] of cut.entries()) {
      expect(largestDifference(picture, whole[at])).toBeLessThanOrEqual(1);
      expect(pixelsOf(picture)).toBe(pixelsOf(again[at] ?? picture.subarray(0, 8)));
    }
  });

  it.skipIf(RESTART_COMMAND === "")(
    "a job whose ComfyUI is killed in the second stage goes on from the first",
    async () => {
      const what = graph(
        await firstCheckpointModel(),
        { steps: 4, sampler_name: "dpmpp_2m" },
        { steps: 30, sampler_name: "dpmpp_2m", denoise: 0.6 },
      );
      const job = await killedAfter(what, "3");
      const [first, second] = await system.client.attempts(job.id);
      expect(first?.outcome).toBe("instance_died");
      expect(second).toMatchObject({
        outcome: "succeeded",
        resume: { nodeIds: ["3"], fromAttempt: 1 },
      });
      expect(second?.resume?.savedMs).toBeGreaterThan(0);
      expectEqual(await pictures(job), await render(what, { policy: { checkpoints: "off" } }));
    },
  );

  it.skipIf(RESTART_COMMAND === "")(
    "a job whose ComfyUI is killed in a segmented sampler goes on in its middle",
    async () => {
      const what = graph(
        await firstCheckpointModel(),
        { steps: 4, sampler_name: "euler" },
        { steps: 40, sampler_name: "euler" },
      );
      const job = await killedAfter(what, "11:segment2");
      const [, second] = await system.client.attempts(job.id);
      expect(second?.resume?.nodeIds).toEqual([expect.stringMatching(/^11:segment[23]$/)]);
      expectEqual(await pictures(job), await render(what, SEGMENTS));
    },
  );
});
