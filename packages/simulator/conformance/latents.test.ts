import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { decodePng, encodePng } from "../src/pixels/png.ts";
import {
  ask,
  CHECKPOINT,
  lackOfCheckpoint,
  REAL_URL,
  realTarget,
  run,
  startSimulated,
  viewPath,
  type PostedJson,
  type Target,
} from "./target.ts";

type Inputs = Readonly<Record<string, unknown>>;
const node = (classType: string, inputs: Inputs): PostedJson[string] => ({
  class_type: classType,
  inputs,
});

/** Model, prompts and two empty latents: what every case samples from. */
const BASE: PostedJson = {
  "4": node("CheckpointLoaderSimple", { ckpt_name: CHECKPOINT }),
  "5": node("EmptyLatentImage", { width: 64, height: 64, batch_size: 2 }),
  "6": node("CLIPTextEncode", { text: "a fox", clip: ["4", 1] }),
  "7": node("CLIPTextEncode", { text: "blurry", clip: ["4", 1] }),
};
const SAMPLING = {
  cfg: 7,
  sampler_name: "euler",
  scheduler: "normal",
  model: ["4", 0],
  positive: ["6", 0],
  negative: ["7", 0],
};
const sampler = (latent: string, more: Inputs = {}): PostedJson[string] =>
  node("KSampler", {
    ...SAMPLING,
    seed: 8,
    steps: 4,
    denoise: 1,
    latent_image: [latent, 0],
    ...more,
  });
const segment = (latent: string, name: string, from: number, to: number): PostedJson[string] =>
  node("KSamplerAdvanced", {
    ...SAMPLING,
    sampler_name: name,
    noise_seed: 8,
    steps: 8,
    latent_image: [latent, 0],
    add_noise: from === 0 ? "enable" : "disable",
    start_at_step: from,
    end_at_step: to,
    return_with_leftover_noise: to === 8 ? "disable" : "enable",
  });

/**
 * What becomes of latents between nodes and files, with a model of the SD1.x kind: what checkpoints
 * rely on. The same cases for the simulator and for a real server that has {@link CHECKPOINT}; left
 * out, loudly, where it has none.
 */
function latents(start: () => Promise<Target>): void {
  let target: Target;
  let lack: string | undefined;
  beforeAll(async () => {
    target = await start();
    lack = await lackOfCheckpoint(target);
  });
  beforeEach((context) => {
    if (lack !== undefined) context.skip(lack);
  });
  afterAll(() => target.stop());

  const render = async (graph: PostedJson, latent: string): Promise<readonly Buffer[]> => {
    const ended = await run(target, {
      ...BASE,
      ...graph,
      "8": node("VAEDecode", { samples: [latent, 0], vae: ["4", 2] }),
      "9": node("SaveImage", { images: ["8", 0], filename_prefix: `latents-${randomUUID()}` }),
    });
    const files = ended.outputs["9"]?.images;
    if (files === undefined) throw new Error(JSON.stringify(ended.status.messages.at(-1)));
    return Promise.all(
      files.map(async (file) => {
        const png = decodePng((await ask(target, "GET", viewPath(file))).bytes);
        return Buffer.from(png?.rgb ?? []);
      }),
    );
  };
  /** Saves a latent, moves the file to the input folder, and gives the node that loads it. */
  const moved = async (graph: PostedJson, latent: string): Promise<PostedJson[string]> => {
    const ended = await run(target, {
      ...BASE,
      ...graph,
      "9": node("SaveLatent", { samples: [latent, 0], filename_prefix: `moved-${randomUUID()}` }),
    });
    const file = ended.outputs["9"]?.latents?.[0];
    if (file === undefined) throw new Error(JSON.stringify(ended.status.messages.at(-1)));
    const { bytes } = await ask(target, "GET", viewPath(file));
    const form = new FormData();
    const name = `${randomUUID()}.latent`;
    form.append("image", new Blob([new Uint8Array(bytes)]), name);
    form.append("subfolder", "moved");
    expect((await ask(target, "POST", "/upload/image", form)).status).toBe(200);
    return node("LoadLatent", { latent: `moved/${name}` });
  };

  /** A mask of nothing, when it is taken for one. */
  const blackPicture = async (): Promise<string> => {
    const form = new FormData();
    const name = `${randomUUID()}.png`;
    const bytes = encodePng(64, 64, new Uint8Array(64 * 64 * 3));
    form.append("image", new Blob([new Uint8Array(bytes)]), name);
    expect((await ask(target, "POST", "/upload/image", form)).status).toBe(200);
    return name;
  };

  it("F19: a sampled latent that was saved and loaded is the same to whatever comes next", async () => {
    const first = { "3": sampler("5") };
    const loaded = { "3": await moved(first, "3") };
    expect(await render(loaded, "3")).toEqual(await render(first, "3"));
    const second = { "11": sampler("3", { seed: 9, denoise: 0.5 }) };
    expect(await render({ ...loaded, ...second }, "11")).toEqual(
      await render({ ...first, ...second }, "11"),
    );
  });

  it("a file keeps neither the place in a batch nor the mask", async () => {
    const picked = {
      "12": node("LatentFromBatch", { samples: ["5", 0], batch_index: 1, length: 1 }),
    };
    const after = { "3": sampler("12") };
    const own = await render({ ...picked, ...after }, "3");
    expect(await render({ "12": await moved(picked, "12"), ...after }, "3")).not.toEqual(own);

    const started = { "3": sampler("5") };
    const masked = {
      ...started,
      "13": node("LoadImageMask", { image: await blackPicture(), channel: "red" }),
      "14": node("SetLatentNoiseMask", { samples: ["3", 0], mask: ["13", 0] }),
    };
    const again = { "11": sampler("14", { seed: 9 }) };
    const kept = await render({ ...masked, ...again }, "11");
    expect(await render({ "14": await moved(masked, "14"), ...again }, "11")).not.toEqual(kept);
  });

  it.each(["euler", "ddim", "heun"])(
    "F21: %s in two segments is within 1 of 255 of one piece, through a file or not",
    async (name) => {
      const [whole] = await render({ "3": sampler("5", { steps: 8, sampler_name: name }) }, "3");
      const first = { "2": segment("5", name, 0, 4) };
      const second = { "3": segment("2", name, 4, 8) };
      const [cut] = await render({ ...first, ...second }, "3");
      const [resumed] = await render({ "2": await moved(first, "2"), ...second }, "3");
      expect(resumed).toEqual(cut);
      expect(cut).toHaveLength(whole?.length ?? 0);
      const differences = cut?.map((value, at) => Math.abs(value - (whole?.[at] ?? 0)));
      expect(Math.max(...(differences ?? [Infinity]))).toBeLessThanOrEqual(1);
    },
  );
}

describe("simulator", () => {
  latents(startSimulated);
});
describe.skipIf(REAL_URL === undefined)("real ComfyUI", { timeout: 120_000 }, () => {
  latents(() => Promise.resolve(realTarget()));
});
