import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, it } from "vitest";
import { createInProcessSimulator } from "../in-process.ts";
import type { SimulatorOptions } from "../options.ts";

const GRAPH = {
  "1": {
    class_type: "CheckpointLoaderSimple",
    inputs: { ckpt_name: "sd_xl_base_1.0.safetensors" },
  },
  "2": { class_type: "CLIPTextEncode", inputs: { clip: ["1", 1], text: "a" } },
  "3": { class_type: "EmptyLatentImage", inputs: { width: 1024, height: 1024, batch_size: 1 } },
  "4": {
    class_type: "KSampler",
    inputs: {
      model: ["1", 0],
      positive: ["2", 0],
      negative: ["2", 0],
      latent_image: ["3", 0],
      seed: 0,
      steps: 20,
      cfg: 7,
      sampler_name: "euler",
      scheduler: "normal",
      denoise: 1,
    },
  },
  "5": { class_type: "VAEDecode", inputs: { samples: ["4", 0], vae: ["1", 2] } },
  "6": { class_type: "SaveImage", inputs: { images: ["5", 0], filename_prefix: "a" } },
};

/** Simulated ms that a second picture takes: models are loaded, and only the card works. */
async function warmMs(vram: NonNullable<SimulatorOptions["vram"]>): Promise<number> {
  const clock = createFakeClock();
  const simulator = createInProcessSimulator({ clock, vram });
  const ask = (method: string, url: string, body?: unknown) =>
    simulator.request({
      method,
      url,
      headers: { "content-type": "application/json" },
      readBody: () => Promise.resolve(Buffer.from(JSON.stringify(body ?? null))),
    });
  const render = async (seed: number): Promise<number> => {
    const prompt = structuredClone(GRAPH);
    prompt["4"].inputs.seed = seed;
    const before = simulator.stats().historySize;
    const answer = await ask("POST", "/prompt", { prompt });
    expect(answer).toMatchObject({ status: 200 });
    const startedAt = clock.elapsed();
    while (simulator.stats().historySize === before) {
      await clock.advanceToNext();
      // Pictures are packed outside of the clock.
      await new Promise(setImmediate);
    }
    return clock.elapsed() - startedAt;
  };
  await render(1);
  const ms = await render(2);
  simulator.stop();
  return ms;
}

it("a card that is known by its name takes the time that is written down for it", async () => {
  const [fast, named] = [await warmMs("24gb"), await warmMs("rtx5060ti")];
  expect(named / fast).toBeCloseTo(1.92, 1);
  // 20 steps of a megapixel at 422 ms, and what is around them.
  expect(named).toBeGreaterThan(8_400);
  expect(named).toBeLessThan(10_000);
});
