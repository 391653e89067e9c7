import { splitPrefix } from "../files/paths.ts";
import { encodeLatentFile } from "../pixels/latent-file.ts";
import { encodeAnimatedWebp } from "../pixels/webp.ts";
import { encodePng } from "../pixels/png.ts";
import type { Picture } from "../pixels/picture.ts";
import { choice, link, primitive, V3_INFO, type NodeCall, type NodeClass } from "./node-class.ts";
import { RaisedError } from "./raised.ts";
import { isNodeValue } from "./values.ts";

const HIDDEN = { prompt: "PROMPT", extra_pnginfo: "EXTRA_PNGINFO" };
const SAVES = "Saves the input images to your ComfyUI output directory.";

interface SavedFile {
  readonly filename: string;
  readonly subfolder: string;
  readonly type: "output" | "temp";
}

interface Target {
  readonly subfolder: string;
  readonly name: string;
  readonly number: number;
}

/** Where a save node's next file goes; a prefix that leaves the folder is refused as ComfyUI does. */
function nextTarget(
  call: NodeCall,
  area: "output" | "temp",
  prefix: string,
  size: { readonly width: number; readonly height: number },
): Target {
  const target = splitPrefix(prefix, { ...size, nowMs: call.nowMs() });
  if (target === null) {
    throw new RaisedError(
      "Exception",
      "**** ERROR: Saving image outside the output folder is not allowed." +
        `\n full_output_folder: ${prefix}\n         output_dir: ${area}\n         commonpath: `,
    );
  }
  return { ...target, number: call.files.nextNumber(area, target.subfolder, target.name) };
}

function numbered(name: string, number: number, ending: string): string {
  return `${name}_${String(number).padStart(5, "0")}_.${ending}`;
}

function pngTexts(call: NodeCall): Record<string, string> {
  const texts: Record<string, string> = { prompt: JSON.stringify(call.graph) };
  for (const [key, value] of Object.entries(call.pngInfo)) texts[key] = JSON.stringify(value);
  return texts;
}

function savePictures(
  call: NodeCall,
  area: "output" | "temp",
  prefix: string,
  pictures: readonly Picture[],
): readonly SavedFile[] {
  const size = pictures[0] ?? { width: 0, height: 0 };
  const target = nextTarget(call, area, prefix, size);
  const texts = pngTexts(call);
  return pictures.map((picture, index): SavedFile => {
    const name = target.name.replaceAll("%batch_num%", String(index));
    const filename = numbered(name, target.number + index, "png");
    const bytes = encodePng(picture.width, picture.height, picture.paint(), texts);
    call.save(area, target.subfolder, filename, bytes);
    return { filename, subfolder: target.subfolder, type: area };
  });
}

/** Nodes at the end of a graph: they save, show or send. */
export const OUTPUT_NODES: readonly NodeClass[] = [
  {
    name: "SaveImage",
    displayName: "Save Image",
    category: "image",
    description: SAVES,
    required: {
      images: link("IMAGE", "The images to save."),
      filename_prefix: primitive("STRING", {
        default: "ComfyUI",
        tooltip:
          "The prefix for the file to save. This may include formatting information such as %date:yyyy-MM-dd% or %Empty Latent Image.width% to include values from nodes.",
      }),
    },
    hidden: HIDDEN,
    outputs: [],
    isOutput: true,
    run(call) {
      const prefix = call.inputs.text("filename_prefix", "ComfyUI");
      const saved = savePictures(call, "output", prefix, call.inputs.pictures("images"));
      return { outputs: [], ui: { images: saved } };
    },
  },
  {
    name: "PreviewImage",
    displayName: "Preview Image",
    category: "image",
    description: SAVES,
    required: { images: link("IMAGE") },
    hidden: HIDDEN,
    outputs: [],
    isOutput: true,
    run(call) {
      const prefix = `ComfyUI_temp_${call.objectSuffix}`;
      const saved = savePictures(call, "temp", prefix, call.inputs.pictures("images"));
      return { outputs: [], ui: { images: saved } };
    },
  },
  {
    name: "SaveLatent",
    displayName: "SaveLatent",
    category: "_for_testing",
    required: {
      samples: link("LATENT"),
      filename_prefix: primitive("STRING", { default: "latents/ComfyUI" }),
    },
    hidden: HIDDEN,
    outputs: [],
    isOutput: true,
    run(call) {
      const prefix = call.inputs.text("filename_prefix", "ComfyUI");
      const target = nextTarget(call, "output", prefix, { width: 0, height: 0 });
      const filename = numbered(target.name, target.number, "latent");
      const bytes = encodeLatentFile(call.inputs.latent("samples"), pngTexts(call));
      call.save("output", target.subfolder, filename, bytes);
      return {
        outputs: [],
        ui: { latents: [{ filename, subfolder: target.subfolder, type: "output" }] },
      };
    },
  },
  {
    name: "SaveAnimatedWEBP",
    displayName: "SaveAnimatedWEBP",
    category: "image/animation",
    module: "comfy_extras.nodes_images",
    required: {
      images: link("IMAGE"),
      filename_prefix: primitive("STRING", { default: "ComfyUI" }),
      fps: primitive("FLOAT", { default: 6.0, min: 0.01, max: 1000.0, step: 0.01 }),
      lossless: primitive("BOOLEAN", { default: true }),
      quality: primitive("INT", { default: 80, min: 0, max: 100 }),
      method: choice(["default", "fastest", "slowest"]),
    },
    hidden: HIDDEN,
    outputs: [],
    isOutput: true,
    run(call) {
      const pictures = call.inputs.pictures("images");
      const size = pictures[0] ?? { width: 0, height: 0 };
      const target = nextTarget(call, "output", call.inputs.text("filename_prefix"), size);
      const filename = numbered(target.name, target.number, "webp");
      const frameMs = Math.max(1, Math.round(1000 / call.inputs.number("fps")));
      call.save("output", target.subfolder, filename, encodeAnimatedWebp(pictures, frameMs));
      return {
        outputs: [],
        ui: {
          images: [{ filename, subfolder: target.subfolder, type: "output" }],
          animated: [true],
        },
      };
    },
  },
  {
    name: "SaveImageWebsocket",
    displayName: "SaveImageWebsocket",
    category: "api/image",
    module: "custom_nodes.websocket_image_save",
    required: { images: link("IMAGE") },
    outputs: [],
    isOutput: true,
    // The real one answers the time: it always runs again.
    fingerprint: () => null,
    run(call) {
      const pictures = call.inputs.pictures("images");
      for (const [index, picture] of pictures.entries()) {
        call.progress(index, pictures.length, { picture, format: "PNG" });
      }
      return { outputs: [] };
    },
  },
  {
    name: "PreviewAny",
    displayName: "Preview Any",
    category: "utils",
    module: "comfy_extras.nodes_preview_any",
    required: { source: { type: "*", options: {} } },
    outputs: [],
    isOutput: true,
    run({ inputs }) {
      const source = inputs.values["source"];
      const plain = isNodeValue(source) && source.kind === "primitive" ? source.value : source;
      const text = typeof plain === "string" ? plain : JSON.stringify(plain, replaceFunctions);
      return { outputs: [], ui: { text: [text] } };
    },
  },
  {
    name: "CreateVideo",
    displayName: "Create Video",
    category: "image/video",
    description: "Create a video from images.",
    module: "comfy_extras.nodes_video",
    required: {
      images: link("IMAGE", "The images to create a video from."),
      fps: primitive("FLOAT", { default: 30.0, min: 1.0, max: 120.0, step: 1.0 }),
    },
    optional: { audio: link("AUDIO", "The audio to add to the video.") },
    outputs: ["VIDEO"],
    extraInfo: V3_INFO,
    run: ({ inputs }) => ({
      outputs: [{ kind: "video", pictures: inputs.pictures("images"), fps: inputs.number("fps") }],
    }),
  },
  {
    name: "SaveVideo",
    displayName: "Save Video",
    category: "image/video",
    description: "Saves the input images to your ComfyUI output directory.",
    module: "comfy_extras.nodes_video",
    required: {
      video: link("VIDEO", "The video to save."),
      filename_prefix: primitive("STRING", {
        tooltip:
          "The prefix for the file to save. This may include formatting information such as %date:yyyy-MM-dd% or %Empty Latent Image.width% to include values from nodes.",
        default: "video/ComfyUI",
        multiline: false,
      }),
      format: choice(["auto", "mp4"], {
        tooltip: "The format to save the video as.",
        default: "auto",
      }),
      codec: choice(["auto", "h264"], {
        tooltip: "The codec to use for the video.",
        default: "auto",
      }),
    },
    hidden: HIDDEN,
    outputs: [],
    isOutput: true,
    extraInfo: V3_INFO,
    run(call) {
      const video = call.inputs.value("video", "video");
      // Validation does not look at choices of this kind: the node does.
      const [format, codec] = [call.inputs.text("format"), call.inputs.text("codec")];
      if (!["auto", "mp4"].includes(format)) {
        throw new RaisedError("ValueError", `'${format}' is not a valid VideoContainer`);
      }
      if (!["auto", "h264"].includes(codec)) {
        throw new RaisedError("ValueError", "Only H264 codec is supported for now");
      }
      const size = video.pictures[0] ?? { width: 0, height: 0 };
      const target = nextTarget(call, "output", call.inputs.text("filename_prefix"), size);
      const filename = numbered(target.name, target.number, "mp4");
      call.save("output", target.subfolder, filename, simulatedVideo(video.pictures, video.fps));
      return {
        outputs: [],
        ui: {
          images: [{ filename, subfolder: target.subfolder, type: "output" }],
          animated: [true],
        },
      };
    },
  },
];

/**
 * An MP4 container around the frames as PNG files: a whole file that names itself simulated, and
 * that differs when the frames do. No player shows it.
 */
function simulatedVideo(pictures: readonly Picture[], fps: number): Buffer {
  const note = Buffer.from(
    `simulated video, ${String(pictures.length)} frames at ${String(fps)} fps`,
  );
  const frames = pictures.map((p) => encodePng(p.width, p.height, p.paint()));
  return Buffer.concat([
    box("ftyp", Buffer.from("isom\0\0\u0002\0isomiso2mp41", "latin1")),
    box("free", note),
    box("mdat", Buffer.concat(frames)),
  ]);
}

function box(type: string, data: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(data.length + 8);
  head.write(type, 4, "latin1");
  return Buffer.concat([head, data]);
}

function replaceFunctions(_key: string, value: unknown): unknown {
  return typeof value === "function" ? undefined : value;
}
