import { splitAnnotation, normaliseSubfolder } from "../files/paths.ts";
import type { FileStore, StoredFile } from "../files/file-store.ts";
import { digestBytes } from "../pixels/digest.ts";
import {
  cropPicture,
  flatMask,
  flatPicture,
  invertPicture,
  knownMask,
  knownPicture,
  scalePicture,
  type Picture,
} from "../pixels/picture.ts";
import { decodePng } from "../pixels/png.ts";
import { describeForeignImage } from "../pixels/foreign-image.ts";
import { choice, link, primitive, type NodeClass, type NodeResult } from "./node-class.ts";
import { RaisedError } from "./raised.ts";

const MAX_RESOLUTION = 16384;
const SCALE_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"];

/** Pictures as one IMAGE output. */
export function images(pictures: readonly Picture[]): NodeResult {
  return { outputs: [{ kind: "images", pictures }] };
}

/** Finds the file behind a LoadImage-like value (`sub/name.png [output]`). */
export function findInput(files: FileStore, value: unknown): StoredFile | null {
  if (typeof value !== "string") return null;
  const { name, area } = splitAnnotation(value);
  const slash = name.lastIndexOf("/");
  const subfolder = normaliseSubfolder(slash < 0 ? "" : name.slice(0, slash));
  return subfolder === null ? null : files.read(area ?? "input", subfolder, name.slice(slash + 1));
}

interface LoadedImage {
  readonly picture: Picture;
  readonly rgb: Uint8Array;
  readonly alpha: Uint8Array | null;
}

function loadImage(file: StoredFile | null, name: string): LoadedImage {
  if (file === null) {
    throw new RaisedError(
      "FileNotFoundError",
      `[Errno 2] No such file or directory: 'input/${name}'`,
    );
  }
  const png = decodePng(file.bytes);
  if (png !== null) {
    return {
      picture: knownPicture(png.width, png.height, png.rgb),
      rgb: png.rgb,
      alpha: png.alpha,
    };
  }
  const foreign = describeForeignImage(file.bytes);
  if (foreign === null) {
    throw new RaisedError(
      "PIL.UnidentifiedImageError",
      `cannot identify image file 'input/${name}'`,
    );
  }
  return { picture: foreign, rgb: foreign.paint(), alpha: null };
}

const fileFingerprint: NonNullable<NodeClass["fingerprint"]> = (inputs, { files }) => {
  const file = findInput(files, inputs["image"]);
  return file === null ? "missing" : digestBytes(file.bytes);
};

const imageExists: NonNullable<NodeClass["validate"]> = {
  input: "image",
  check: (value, { files }) =>
    findInput(files, value) === null ? `Invalid image file: ${String(value)}` : true,
};

/** Nodes that make, load and change pictures. */
export const IMAGE_NODES: readonly NodeClass[] = [
  {
    name: "EmptyImage",
    displayName: "EmptyImage",
    category: "image",
    required: {
      width: primitive("INT", { default: 512, min: 1, max: MAX_RESOLUTION, step: 1 }),
      height: primitive("INT", { default: 512, min: 1, max: MAX_RESOLUTION, step: 1 }),
      batch_size: primitive("INT", { default: 1, min: 1, max: 4096 }),
      color: primitive("INT", { default: 0, min: 0, max: 0xffffff, step: 1, display: "color" }),
    },
    outputs: ["IMAGE"],
    run({ inputs }) {
      const picture = flatPicture(
        inputs.number("width"),
        inputs.number("height"),
        inputs.number("color"),
      );
      return images(Array.from({ length: inputs.number("batch_size") }, () => picture));
    },
  },
  {
    name: "LoadImage",
    displayName: "Load Image",
    category: "image",
    required: { image: { type: { listOf: "input_images" }, options: { image_upload: true } } },
    outputs: ["IMAGE", "MASK"],
    validate: imageExists,
    fingerprint: fileFingerprint,
    run({ inputs, files }) {
      const name = inputs.text("image");
      const { picture, alpha } = loadImage(findInput(files, name), name);
      const mask =
        alpha === null
          ? flatMask(64, 64, 0)
          : knownMask(
              picture.width,
              picture.height,
              alpha.map((value) => 255 - value),
            );
      return {
        outputs: [
          { kind: "images", pictures: [picture] },
          { kind: "mask", mask },
        ],
      };
    },
  },
  {
    name: "LoadImageMask",
    displayName: "Load Image (as Mask)",
    category: "mask",
    required: {
      image: { type: { listOf: "input_files" }, options: { image_upload: true } },
      channel: choice(["alpha", "red", "green", "blue"]),
    },
    outputs: ["MASK"],
    validate: imageExists,
    fingerprint: fileFingerprint,
    run({ inputs, files }) {
      const name = inputs.text("image");
      const { picture, rgb, alpha } = loadImage(findInput(files, name), name);
      const channel = ["red", "green", "blue"].indexOf(inputs.text("channel"));
      const values = new Uint8Array(picture.width * picture.height);
      for (let i = 0; i < values.length; i += 1) {
        values[i] = channel < 0 ? 255 - (alpha?.[i] ?? 255) : (rgb[i * 3 + channel] ?? 0);
      }
      return {
        outputs: [{ kind: "mask", mask: knownMask(picture.width, picture.height, values) }],
      };
    },
  },
  {
    name: "ImageScale",
    displayName: "Upscale Image",
    category: "image/upscaling",
    required: {
      image: link("IMAGE"),
      upscale_method: choice(SCALE_METHODS),
      width: primitive("INT", { default: 512, min: 0, max: MAX_RESOLUTION, step: 1 }),
      height: primitive("INT", { default: 512, min: 0, max: MAX_RESOLUTION, step: 1 }),
      crop: choice(["disabled", "center"]),
    },
    outputs: ["IMAGE"],
    run({ inputs }) {
      const crop = inputs.text("crop") === "center" ? "center" : "disabled";
      return images(
        inputs.pictures("image").map((picture) => {
          const { width, height } = wantedSize(
            picture,
            inputs.number("width"),
            inputs.number("height"),
          );
          return scalePicture(picture, width, height, inputs.text("upscale_method"), crop);
        }),
      );
    },
  },
  {
    name: "ImageScaleBy",
    displayName: "Upscale Image By",
    category: "image/upscaling",
    required: {
      image: link("IMAGE"),
      upscale_method: choice(SCALE_METHODS),
      scale_by: primitive("FLOAT", { default: 1.0, min: 0.01, max: 8.0, step: 0.01 }),
    },
    outputs: ["IMAGE"],
    run({ inputs }) {
      const by = inputs.number("scale_by");
      return images(
        inputs
          .pictures("image")
          .map((picture) =>
            scalePicture(
              picture,
              Math.max(1, Math.round(picture.width * by)),
              Math.max(1, Math.round(picture.height * by)),
              inputs.text("upscale_method"),
            ),
          ),
      );
    },
  },
  {
    name: "ImageInvert",
    displayName: "Invert Image",
    category: "image",
    required: { image: link("IMAGE") },
    outputs: ["IMAGE"],
    run: ({ inputs }) => images(inputs.pictures("image").map(invertPicture)),
  },
  {
    name: "ImageBatch",
    displayName: "Batch Images",
    category: "image",
    required: { image1: link("IMAGE"), image2: link("IMAGE") },
    outputs: ["IMAGE"],
    run({ inputs }) {
      const one = inputs.pictures("image1");
      const first = one[0];
      const two = inputs
        .pictures("image2")
        .map((picture) =>
          first === undefined
            ? picture
            : scalePicture(picture, first.width, first.height, "bilinear", "center"),
        );
      return images([...one, ...two]);
    },
  },
  {
    name: "ImageFromBatch",
    displayName: "ImageFromBatch",
    category: "image/batch",
    module: "comfy_extras.nodes_images",
    required: {
      image: link("IMAGE"),
      batch_index: primitive("INT", { default: 0, min: 0, max: 4095 }),
      length: primitive("INT", { default: 1, min: 1, max: 4096 }),
    },
    outputs: ["IMAGE"],
    run({ inputs }) {
      const all = inputs.pictures("image");
      const start = Math.min(all.length - 1, inputs.number("batch_index"));
      return images(all.slice(start, start + inputs.number("length")));
    },
  },
  {
    name: "RepeatImageBatch",
    displayName: "RepeatImageBatch",
    category: "image/batch",
    module: "comfy_extras.nodes_images",
    required: { image: link("IMAGE"), amount: primitive("INT", { default: 1, min: 1, max: 4096 }) },
    outputs: ["IMAGE"],
    run({ inputs }) {
      const all = inputs.pictures("image");
      return images(Array.from({ length: inputs.number("amount") }, () => all).flat());
    },
  },
  {
    name: "ImageCrop",
    displayName: "Image Crop",
    category: "image/transform",
    module: "comfy_extras.nodes_images",
    required: {
      image: link("IMAGE"),
      width: primitive("INT", { default: 512, min: 1, max: MAX_RESOLUTION, step: 1 }),
      height: primitive("INT", { default: 512, min: 1, max: MAX_RESOLUTION, step: 1 }),
      x: primitive("INT", { default: 0, min: 0, max: MAX_RESOLUTION, step: 1 }),
      y: primitive("INT", { default: 0, min: 0, max: MAX_RESOLUTION, step: 1 }),
    },
    outputs: ["IMAGE"],
    run: ({ inputs }) =>
      images(
        inputs
          .pictures("image")
          .map((picture) =>
            cropPicture(
              picture,
              inputs.number("x"),
              inputs.number("y"),
              inputs.number("width"),
              inputs.number("height"),
            ),
          ),
      ),
  },
];

/** A side of 0 keeps the aspect, as `ImageScale` does. */
function wantedSize(
  picture: { readonly width: number; readonly height: number },
  width: number,
  height: number,
): { readonly width: number; readonly height: number } {
  if (width === 0 && height === 0) return picture;
  const byHeight = Math.max(1, Math.round((picture.width * height) / picture.height));
  const byWidth = Math.max(1, Math.round((picture.height * width) / picture.width));
  return { width: width === 0 ? byHeight : width, height: height === 0 ? byWidth : height };
}
