import type { ProcessState } from "../engine/process-state.ts";
import { NODE_CLASSES, toObjectInfo } from "../nodes/catalogue.ts";
import { empty, json, type Reply } from "./reply.ts";

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

/** `GET /embeddings`: names without their endings. */
export function getEmbeddings(state: ProcessState): Reply {
  const names = state.surroundings.modelNames("embeddings");
  return json(names.map((name) => name.replace(/\.[^.]+$/, "")));
}
