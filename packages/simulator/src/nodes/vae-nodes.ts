import {
  decodeBytes,
  DURATIONS,
  encodeBytes,
  megapixels,
  tiledDecodeBytes,
  UPSCALE_TILE_BYTES,
} from "../card/work.ts";
import { digest } from "../pixels/digest.ts";
import { decodeLatent, encodePictures, type Latent } from "../pixels/latent.ts";
import { scalePicture } from "../pixels/picture.ts";
import { images } from "./image-nodes.ts";
import { latentOf, sizeOf } from "./latent-nodes.ts";
import {
  link,
  primitive,
  V3_INFO,
  type NodeCall,
  type NodeClass,
  type NodeResult,
} from "./node-class.ts";

async function decode(
  call: NodeCall,
  tiles: string | null,
  tilePixels: number,
): Promise<NodeResult> {
  const latent = call.inputs.latent("samples");
  const vae = call.inputs.value("vae", "vae");
  const size = sizeOf(latent);
  const models = [{ key: vae.key, bytes: vae.bytes }];
  const wholeBytes = tiles === null ? decodeBytes(size) : tiledDecodeBytes(size, tilePixels);
  // A VAE that runs out of memory tries again in tiles, with a line in the log only (comfy/sd.py:693).
  const isRetried = tiles === null && !call.fitsCard(wholeBytes);
  if (isRetried) {
    call.log(
      "Warning: Ran out of memory when regular VAE decoding, retrying with tiled VAE decoding.",
    );
  }
  const workBytes = isRetried ? tiledDecodeBytes(size) : wholeBytes;
  const { loadMs } = call.useCard({ models, workBytes });
  const slower = isRetried || tiles !== null ? DURATIONS.tiledFactor : 1;
  await call.spend(loadMs + call.cardMs(DURATIONS.decodePerMegapixel * megapixels(size) * slower));
  return images(decodeLatent(latent, vae.key, isRetried ? "retried tiles" : tiles));
}

async function encode(call: NodeCall): Promise<Latent> {
  const pictures = call.inputs.pictures("pixels");
  const vae = call.inputs.value("vae", "vae");
  const first = pictures[0];
  const area = (first?.width ?? 0) * (first?.height ?? 0);
  const wanted = encodeBytes(first?.width ?? 0, first?.height ?? 0);
  const workBytes = call.fitsCard(wanted) ? wanted : encodeBytes(512, 512);
  const { loadMs } = call.useCard({ models: [{ key: vae.key, bytes: vae.bytes }], workBytes });
  await call.spend(
    loadMs + call.cardMs((DURATIONS.encodePerMegapixel * area * pictures.length) / 1e6),
  );
  return encodePictures(pictures, vae.key);
}

/** Nodes between pictures and latents, and the upscaling model. */
export const VAE_NODES: readonly NodeClass[] = [
  {
    name: "VAEDecode",
    displayName: "VAE Decode",
    category: "latent",
    description: "Decodes latent images back into pixel space images.",
    required: {
      samples: link("LATENT", "The latent to be decoded."),
      vae: link("VAE", "The VAE model used for decoding the latent."),
    },
    outputs: ["IMAGE"],
    outputTooltips: ["The decoded image."],
    run: (call) => decode(call, null, 0),
  },
  {
    name: "VAEDecodeTiled",
    displayName: "VAE Decode (Tiled)",
    category: "_for_testing",
    required: {
      samples: link("LATENT"),
      vae: link("VAE"),
      tile_size: primitive("INT", { default: 512, min: 64, max: 4096, step: 32 }),
      overlap: primitive("INT", { default: 64, min: 0, max: 4096, step: 32 }),
      temporal_size: primitive("INT", {
        default: 64,
        min: 8,
        max: 4096,
        step: 4,
        tooltip: "Only used for video VAEs: Amount of frames to decode at a time.",
      }),
      temporal_overlap: primitive("INT", {
        default: 8,
        min: 4,
        max: 4096,
        step: 4,
        tooltip: "Only used for video VAEs: Amount of frames to overlap.",
      }),
    },
    outputs: ["IMAGE"],
    run(call) {
      const tile = call.inputs.number("tile_size");
      return decode(call, digest("tiles", tile, call.inputs.number("overlap")), tile);
    },
  },
  {
    name: "VAEEncode",
    displayName: "VAE Encode",
    category: "latent",
    required: { pixels: link("IMAGE"), vae: link("VAE") },
    outputs: ["LATENT"],
    run: async (call) => latentOf(await encode(call)),
  },
  {
    name: "VAEEncodeForInpaint",
    displayName: "VAE Encode (for Inpainting)",
    category: "latent/inpaint",
    required: {
      pixels: link("IMAGE"),
      vae: link("VAE"),
      mask: link("MASK"),
      grow_mask_by: primitive("INT", { default: 6, min: 0, max: 64, step: 1 }),
    },
    outputs: ["LATENT"],
    async run(call) {
      const latent = await encode(call);
      const mask = call.inputs.mask("mask");
      const grow = call.inputs.number("grow_mask_by");
      return latentOf({ ...latent, mask: { ...mask, key: digest("grow", mask.key, grow) } });
    },
  },
  {
    name: "ImageUpscaleWithModel",
    displayName: "Upscale Image (using Model)",
    category: "image/upscaling",
    module: "comfy_extras.nodes_upscale_model",
    required: { upscale_model: link("UPSCALE_MODEL"), image: link("IMAGE") },
    outputs: ["IMAGE"],
    extraInfo: V3_INFO,
    async run(call) {
      const model = call.inputs.value("upscale_model", "weights");
      const pictures = call.inputs.pictures("image");
      const { loadMs } = call.useCard({
        models: [{ key: model.key, bytes: model.bytes }],
        workBytes: UPSCALE_TILE_BYTES,
      });
      const area = pictures.reduce((sum, picture) => sum + picture.width * picture.height, 0);
      await call.spend(loadMs + call.cardMs((DURATIONS.upscalePerMegapixel * area) / 1e6), true);
      return images(
        pictures.map((picture) =>
          scalePicture(
            picture,
            picture.width * model.scale,
            picture.height * model.scale,
            model.key,
          ),
        ),
      );
    },
  },
];
