import path from "node:path";
import type { ProcessState } from "../engine/process-state.ts";
import { NODE_CLASSES, toObjectInfo } from "../nodes/catalogue.ts";
import { MODEL_FILE_BYTES, type ModelFile } from "../options.ts";
import { empty, json, type Reply } from "./reply.ts";
import type { SimRequest } from "./request.ts";

/** Where the model files are. */
interface ModelFiles {
  readonly state: ProcessState;
  readonly modelFile: (folder: string, name: string) => ModelFile;
}

/** What the simulator calls itself wherever ComfyUI gives its version. */
const SIMULATED_VERSION = "0.3.64-simulated";

/** ComfyUI's model folders, in its order. */
export const MODEL_FOLDERS: readonly string[] = [
  "checkpoints",
  "configs",
  "loras",
  "vae",
  "text_encoders",
  "diffusion_models",
  "clip_vision",
  "style_models",
  "embeddings",
  "diffusers",
  "vae_approx",
  "controlnet",
  "gligen",
  "upscale_models",
  "custom_nodes",
  "hypernetworks",
  "photomaker",
  "classifiers",
  "model_patches",
  "audio_encoders",
];

/** Folders that got other names (`map_legacy` in folder_paths.py, 0.3.64). */
const LEGACY_FOLDERS: ReadonlyMap<string, string> = new Map([
  ["unet", "diffusion_models"],
  ["clip", "text_encoders"],
]);

/** When the model files were made, in seconds since 1970. */
const MODELS_MADE_AT = 1_700_000_000.5;

const RAM_BYTES = 64 * 1024 ** 3;

/** `GET /object_info`, or of one class. */
export function getObjectInfo(state: ProcessState, className?: string): Reply {
  if (className !== undefined) {
    const nodeClass = NODE_CLASSES.get(className);
    return exactBounds(
      nodeClass === undefined ? {} : { [className]: toObjectInfo(nodeClass, state.surroundings) },
    );
  }
  const all: Record<string, unknown> = {};
  for (const [name, nodeClass] of NODE_CLASSES) {
    all[name] = toObjectInfo(nodeClass, state.surroundings);
  }
  return exactBounds(all);
}

/** The two bounds that JavaScript rounds up by one, as ComfyUI writes them. */
function exactBounds(info: Readonly<Record<string, unknown>>): Reply {
  const reply = json(info);
  const body = String(reply.body)
    .replaceAll("18446744073709552000", "18446744073709551615")
    .replaceAll("9223372036854776000", "9223372036854775807");
  return { ...reply, body };
}

/** `GET /system_stats`: it says simulated, and shows the card's memory (F25). */
export function getSystemStats(state: ProcessState, deviceName: string): Reply {
  const vram = state.parts.vram.stats();
  return json({
    system: {
      os: "posix",
      ram_total: RAM_BYTES,
      ram_free: Math.round(RAM_BYTES * 0.6),
      comfyui_version: SIMULATED_VERSION,
      required_frontend_version: "1.27.10",
      installed_templates_version: "0.1.95",
      required_templates_version: "0.1.95",
      python_version: "3.11.7 (simulated)",
      pytorch_version: "2.8.0+cu128 (simulated)",
      embedded_python: false,
      argv: ["main.py", "--simulated"],
    },
    devices: [
      {
        name: `cuda:0 ${deviceName} : cudaMallocAsync`,
        type: "cuda",
        index: 0,
        vram_total: vram.totalBytes,
        vram_free: vram.freeBytes,
        torch_vram_total: vram.torchTotalBytes,
        torch_vram_free: vram.torchFreeBytes,
      },
    ],
  });
}

/** `GET /models/{folder}`. */
export function getModels(state: ProcessState, folder: string): Reply {
  return MODEL_FOLDERS.includes(folder) ? json(state.surroundings.modelNames(folder)) : empty(404);
}

/** `GET /view_metadata/{folder}`: what a safetensors file says of itself (server.py:520, 0.3.64). */
export function getMetadata(files: ModelFiles, folder: string, request: SimRequest): Reply {
  const name = request.query.get("filename");
  if (name === null || !name.endsWith(".safetensors")) return empty(404);
  const relative = plainName(name);
  const isThere = files.state.surroundings.modelNames(currentName(folder)).includes(relative);
  const metadata = files.modelFile(currentName(folder), relative).metadata ?? null;
  return !isThere || metadata === null ? empty(404) : json(metadata);
}

/** `GET /experiment/models/{folder}`: names and sizes (app/model_manager.py:44, 0.3.64). */
export function getModelFiles(files: ModelFiles, folder: string): Reply {
  // Other than elsewhere, folders by their old names are not there.
  if (!MODEL_FOLDERS.includes(folder)) return empty(404);
  const names = files.state.surroundings.modelNames(folder);
  return json(
    names.map((name) => ({
      name,
      pathIndex: 0,
      modified: MODELS_MADE_AT,
      created: MODELS_MADE_AT,
      size: files.modelFile(folder, name).sizeBytes ?? MODEL_FILE_BYTES,
    })),
  );
}

function currentName(folder: string): string {
  return LEGACY_FOLDERS.get(folder) ?? folder;
}

/** As ComfyUI makes of it what lies below the folder: it never leads out of that. */
function plainName(name: string): string {
  return path.posix.relative("/", path.posix.join("/", name));
}

/** `GET /embeddings`: names without their endings. */
export function getEmbeddings(state: ProcessState): Reply {
  const names = state.surroundings.modelNames("embeddings");
  return json(names.map((name) => name.replace(/\.[^.]+$/, "")));
}
