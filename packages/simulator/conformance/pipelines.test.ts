import { randomUUID } from "node:crypto";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startSimulator, type Simulator, type SimulatorOptions } from "../src/index.ts";
import { decodePng } from "../src/pixels/png.ts";
import {
  ask,
  run,
  socketOf,
  viewPath,
  type FileJson,
  type HistoryJson,
  type PostedJson,
  type Target,
} from "./target.ts";

const SD15 = "v1-5-pruned-emaonly.safetensors";
const SDXL = "sd_xl_base_1.0.safetensors";

interface Render {
  readonly ckpt?: string;
  readonly seed?: number | string;
  readonly size?: number;
  readonly batch?: number;
  readonly steps?: number;
  readonly sampler?: string;
  readonly text?: string;
}

/** Text to image, as most people's first graph. */
function textToImage(render: Render = {}): Record<string, PostedJson[string]> {
  const { size = 64 } = render;
  return {
    "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: render.ckpt ?? SD15 } },
    "5": {
      class_type: "EmptyLatentImage",
      inputs: { width: size, height: size, batch_size: render.batch ?? 1 },
    },
    "6": { class_type: "CLIPTextEncode", inputs: { text: render.text ?? "a fox", clip: ["4", 1] } },
    "7": { class_type: "CLIPTextEncode", inputs: { text: "blurry", clip: ["4", 1] } },
    "3": {
      class_type: "KSampler",
      inputs: {
        seed: render.seed ?? 8,
        steps: render.steps ?? 4,
        cfg: 7,
        sampler_name: render.sampler ?? "euler",
        scheduler: "normal",
        denoise: 1,
        model: ["4", 0],
        positive: ["6", 0],
        negative: ["7", 0],
        latent_image: ["5", 0],
      },
    },
    "8": { class_type: "VAEDecode", inputs: { samples: ["3", 0], vae: ["4", 2] } },
    "9": { class_type: "SaveImage", inputs: { images: ["8", 0], filename_prefix: randomUUID() } },
  };
}

function filesOf(entry: HistoryJson, node = "9"): readonly FileJson[] {
  const files = entry.outputs[node]?.images;
  if (files === undefined) throw new Error(JSON.stringify(entry.status.messages.at(-1)));
  return files;
}

function onlyFile(entry: HistoryJson, node = "9"): FileJson {
  const [file] = filesOf(entry, node);
  if (file === undefined) throw new Error("no file");
  return file;
}

describe("graphs that people use", () => {
  let simulator: Simulator;
  let target: Target;

  const begin = async (options: Partial<SimulatorOptions> = {}): Promise<void> => {
    simulator = await startSimulator({ clock: systemClock, timeScale: 0, ...options });
    target = { name: "simulator", url: simulator.url, stop: () => simulator.stop() };
  };
  const render = async (graph: PostedJson, node = "9"): Promise<readonly string[]> => {
    const images = [];
    for (const file of filesOf(await run(target, graph), node)) {
      const png = decodePng((await ask(target, "GET", viewPath(file))).bytes);
      images.push(Buffer.from(png?.rgb ?? []).toString("base64"));
    }
    return images;
  };
  const upload = async (bytes: Buffer): Promise<string> => {
    const name = `${randomUUID()}.png`;
    const form = new FormData();
    form.append("image", new Blob([new Uint8Array(bytes)]), name);
    await ask(target, "POST", "/upload/image", form);
    return name;
  };

  beforeEach(() => begin());
  afterEach(() => simulator.stop());

  it("text to image: the same graph is the same picture on another instance", async () => {
    const first = await render(textToImage({ batch: 2 }));
    await simulator.stop();
    await begin({ seed: 99 });
    expect(await render(textToImage({ batch: 2 }))).toEqual(first);
    expect(first[0]).not.toBe(first[1]);
  });

  it.each<Render>([
    { seed: 9 },
    { steps: 5 },
    { sampler: "dpmpp_2m" },
    { text: "a hare" },
    { ckpt: SDXL },
    { size: 80 },
  ])("%j is another picture", async (change) => {
    const [base] = await render(textToImage());
    expect((await render(textToImage(change)))[0]).not.toBe(base);
  });

  it("seeds above 2^53 are told apart to the last digit", async () => {
    const [even] = await render(textToImage({ seed: "18446744073709551614" }));
    const [odd] = await render(textToImage({ seed: "18446744073709551615" }));
    expect(odd).not.toBe(even);
  });

  it("a picture tells its graph, and its metadata is the first submitter's when cached", async () => {
    const graph = textToImage();
    const first = { extra_pnginfo: { workflow: { owner: "A" } } };
    const file = onlyFile(await run(target, graph, { extra_data: first }));
    const second = { extra_pnginfo: { workflow: { owner: "B" } } };
    const again = onlyFile(await run(target, graph, { extra_data: second }));
    expect(again).toEqual(file);
    const { texts } = decodePng((await ask(target, "GET", viewPath(file))).bytes) ?? {};
    expect(JSON.parse(texts?.["workflow"] ?? "")).toEqual({ owner: "A" });
    expect(JSON.parse(texts?.["prompt"] ?? "")).toEqual(graph);
  });

  it("image to image, inpainting, LoRA, ControlNet and upscaling use what is given", async () => {
    const files = filesOf(await run(target, textToImage({ size: 128 })));
    const sources = [];
    for (const color of [0x202020, 0xd0d0d0]) {
      const made = await run(target, {
        "1": {
          class_type: "EmptyImage",
          inputs: { width: 128, height: 128, batch_size: 1, color },
        },
        "9": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "source" } },
      });
      const [file] = filesOf(made);
      if (file !== undefined)
        sources.push(await upload((await ask(target, "GET", viewPath(file))).bytes));
    }
    expect(files).toHaveLength(1);
    const outcomes = [];
    for (const image of sources) {
      const graph: Record<string, PostedJson[string]> = {
        ...textToImage(),
        "1": { class_type: "LoadImage", inputs: { image } },
        "2": {
          class_type: "LoraLoader",
          inputs: {
            model: ["4", 0],
            clip: ["4", 1],
            lora_name: "add_detail.safetensors",
            strength_model: 0.8,
            strength_clip: 1,
          },
        },
        "10": {
          class_type: "ControlNetLoader",
          inputs: { control_net_name: "control_v11p_sd15_canny.safetensors" },
        },
        "11": {
          class_type: "ControlNetApplyAdvanced",
          inputs: {
            positive: ["6", 0],
            negative: ["7", 0],
            control_net: ["10", 0],
            image: ["1", 0],
            strength: 0.7,
            start_percent: 0,
            end_percent: 1,
          },
        },
        "12": {
          class_type: "VAEEncodeForInpaint",
          inputs: { pixels: ["1", 0], vae: ["4", 2], mask: ["13", 0], grow_mask_by: 6 },
        },
        "13": { class_type: "LoadImageMask", inputs: { image, channel: "red" } },
        "14": { class_type: "UpscaleModelLoader", inputs: { model_name: "RealESRGAN_x4plus.pth" } },
        "15": {
          class_type: "ImageUpscaleWithModel",
          inputs: { upscale_model: ["14", 0], image: ["8", 0] },
        },
        "16": {
          class_type: "ImageScale",
          inputs: {
            image: ["15", 0],
            upscale_method: "lanczos",
            width: 96,
            height: 0,
            crop: "disabled",
          },
        },
      };
      graph["3"] = {
        class_type: "KSampler",
        inputs: {
          ...graph["3"]?.inputs,
          model: ["2", 0],
          positive: ["11", 0],
          negative: ["11", 1],
          latent_image: ["12", 0],
          denoise: 0.6,
        },
      };
      graph["9"] = {
        class_type: "SaveImage",
        inputs: { images: ["16", 0], filename_prefix: randomUUID() },
      };
      outcomes.push((await render(graph))[0]);
    }
    expect(Buffer.from(outcomes[0] ?? "", "base64")).toHaveLength(96 * 96 * 3);
    expect(outcomes[0]).not.toBe(outcomes[1]);
  });

  it("Flux through custom sampling, split in two, is within 1 of 255 of one go (F21)", async () => {
    const graph = (parts: 1 | 2): PostedJson => ({
      "1": {
        class_type: "UNETLoader",
        inputs: { unet_name: "flux1-dev-fp8.safetensors", weight_dtype: "default" },
      },
      "2": {
        class_type: "DualCLIPLoader",
        inputs: {
          clip_name1: "clip_l.safetensors",
          clip_name2: "t5xxl_fp16.safetensors",
          type: "flux",
        },
      },
      "3": { class_type: "VAELoader", inputs: { vae_name: "ae.safetensors" } },
      "4": { class_type: "CLIPTextEncode", inputs: { text: "a fox", clip: ["2", 0] } },
      "5": { class_type: "FluxGuidance", inputs: { conditioning: ["4", 0], guidance: 3.5 } },
      "6": { class_type: "BasicGuider", inputs: { model: ["1", 0], conditioning: ["5", 0] } },
      "7": { class_type: "KSamplerSelect", inputs: { sampler_name: "euler" } },
      "8": {
        class_type: "BasicScheduler",
        inputs: { model: ["1", 0], scheduler: "simple", steps: 6, denoise: 1 },
      },
      "10": { class_type: "RandomNoise", inputs: { noise_seed: 5 } },
      "11": { class_type: "EmptySD3LatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
      "12": { class_type: "SplitSigmas", inputs: { sigmas: ["8", 0], step: 3 } },
      "13": { class_type: "DisableNoise", inputs: {} },
      "14": {
        class_type: "SamplerCustomAdvanced",
        inputs: {
          noise: ["10", 0],
          guider: ["6", 0],
          sampler: ["7", 0],
          sigmas: parts === 1 ? ["8", 0] : ["12", 0],
          latent_image: ["11", 0],
        },
      },
      "15": {
        class_type: "SamplerCustomAdvanced",
        inputs: {
          noise: ["13", 0],
          guider: ["6", 0],
          sampler: ["7", 0],
          sigmas: ["12", 1],
          latent_image: ["14", 0],
        },
      },
      "16": {
        class_type: "VAEDecode",
        inputs: { samples: [parts === 1 ? "14" : "15", 0], vae: ["3", 0] },
      },
      "9": { class_type: "SaveImage", inputs: { images: ["16", 0], filename_prefix: "flux" } },
    });
    const [whole, cut] = [await render(graph(1)), await render(graph(2))].map(([picture = ""]) =>
      Buffer.from(picture, "base64"),
    );
    expect(cut).toHaveLength(whole?.length ?? 0);
    const differences = cut?.map((value, at) => Math.abs(value - (whole?.[at] ?? 0)));
    expect(Math.max(...(differences ?? [Infinity]))).toBe(1);
  });

  it("video: frames come out, as animated WebP and as a video file", async () => {
    const entry = await run(target, {
      "1": { class_type: "ImageOnlyCheckpointLoader", inputs: { ckpt_name: "svd_xt.safetensors" } },
      "2": {
        class_type: "EmptyImage",
        inputs: { width: 64, height: 64, batch_size: 1, color: 99 },
      },
      "3": {
        class_type: "SVD_img2vid_Conditioning",
        inputs: {
          clip_vision: ["1", 1],
          init_image: ["2", 0],
          vae: ["1", 2],
          width: 64,
          height: 64,
          video_frames: 5,
          motion_bucket_id: 127,
          fps: 6,
          augmentation_level: 0,
        },
      },
      "4": {
        class_type: "KSampler",
        inputs: {
          seed: 1,
          steps: 2,
          cfg: 2.5,
          sampler_name: "euler",
          scheduler: "karras",
          denoise: 1,
          model: ["1", 0],
          positive: ["3", 0],
          negative: ["3", 1],
          latent_image: ["3", 2],
        },
      },
      "5": { class_type: "VAEDecode", inputs: { samples: ["4", 0], vae: ["1", 2] } },
      "6": {
        class_type: "SaveAnimatedWEBP",
        inputs: {
          images: ["5", 0],
          filename_prefix: "v",
          fps: 6,
          lossless: true,
          quality: 80,
          method: "default",
        },
      },
      "7": { class_type: "CreateVideo", inputs: { images: ["5", 0], fps: 6 } },
      "8": {
        class_type: "SaveVideo",
        inputs: { video: ["7", 0], filename_prefix: "video/v", format: "auto", codec: "auto" },
      },
    });
    expect(entry.outputs["6"]).toEqual({
      images: [{ filename: "v_00001_.webp", subfolder: "", type: "output" }],
      animated: [true],
    });
    expect(filesOf(entry, "8")[0]).toMatchObject({ filename: "v_00001_.mp4", subfolder: "video" });
    for (const node of ["6", "8"]) {
      const file = onlyFile(entry, node);
      expect((await ask(target, "GET", viewPath(file))).status).toBe(200);
    }
  });

  it("a batch too large for the card is out of memory; a smaller one, and a larger card, pass", async () => {
    await simulator.stop();
    await begin({ vram: "8gb" });
    const large = textToImage({ ckpt: SDXL, size: 2048, batch: 16, steps: 1 });
    const failed = await run(target, large);
    expect(failed.status.messages.at(-1)?.[1]).toMatchObject({
      node_type: "KSampler",
      exception_type: "torch.OutOfMemoryError",
    });
    const fewer = {
      ...large,
      "5": { class_type: "EmptyLatentImage", inputs: { width: 2048, height: 2048, batch_size: 2 } },
    };
    const passed = await run(target, {
      ...fewer,
      "9": { class_type: "PreviewAny", inputs: { source: ["4", 1] } },
    });
    expect(passed.status.completed).toBe(true);
    await simulator.stop();
    await begin({ vram: "80gb" });
    const enough = {
      ...large,
      "9": { class_type: "SaveLatent", inputs: { samples: ["3", 0], filename_prefix: "l" } },
    };
    delete (enough as Record<string, unknown>)["8"];
    expect((await run(target, enough)).status.completed).toBe(true);
  });

  it("progress comes step by step with previews, and time passes as scaled", async () => {
    await simulator.stop();
    await begin({ timeScale: 0.02 });
    const socket = await socketOf(target, "watcher");
    const start = performance.now();
    await run(target, textToImage({ steps: 5 }), { client_id: "watcher" });
    expect(performance.now() - start).toBeGreaterThan(25);
    await socket.until(() => socket.types.includes("execution_success"));
    expect(socket.types.filter((type) => type === "progress")).toHaveLength(5);
    const previews = socket.frames.filter((frame) => frame.kind === "binary");
    expect(previews).toHaveLength(5);
    await socket.close();
  });
});
