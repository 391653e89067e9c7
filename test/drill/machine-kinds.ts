/** What is wrong with a machine, with a process on it, or with the files it has. */
import { json } from "../../packages/simulator/src/http/reply.ts";
import { fleetOf, LARGE, type DrillInstance, type FaultKind, type Scene } from "./fault-kind.ts";

const SD15 = "v1-5-pruned-emaonly.safetensors";
const SDXL = "sd_xl_base_1.0.safetensors";
const DREAMSHAPER = "dreamshaper_8.safetensors";
const JUGGERNAUT = "juggernautXL_v9Rundiffusion.safetensors";

const kind = { isTransient: false, isRecoverable: true, group: "other", fleet: LARGE } as const;
const model = { ...kind, class: "model_missing", group: "model" } as const;

/** The file is gone there: not listed any more, and not found. */
function lose({ checkpoints }: DrillInstance, name: string): void {
  const at = checkpoints.indexOf(name);
  if (at >= 0) checkpoints.splice(at, 1);
}

const loseEverywhere = ({ all, checkpoint }: Scene): void => {
  for (const one of all) lose(one, checkpoint);
};

/** A node of the job raises: on the instance that got the job first, or on all of them. */
function raises(
  nodeClass: string,
  exceptionType: string,
  message: string,
  where: "struck" | "all" = "struck",
): (scene: Scene) => void {
  return ({ struck, all }) => {
    for (const { comfy } of where === "struck" ? [struck] : all) {
      const match = { nodeClass, count: 0 };
      comfy.simulator.faults.add({ kind: "raise", exceptionType, message, match });
    }
  };
}

function untilRestart(exceptionType: string, message: string): (scene: Scene) => void {
  return (scene) =>
    scene.untilRestart(scene.struck, {
      kind: "raise",
      exceptionType,
      message,
      match: { nodeClass: "KSampler", count: 0 },
    });
}

/** As ComfyUI refuses a class that it does not have (F5). */
function lacksClass(where: "struck" | "all"): (scene: Scene) => void {
  const refusal = json(
    {
      error: {
        type: "invalid_prompt",
        message: "Cannot execute because node LatentUpscaleBy does not exist.",
        details: "Node ID '#10'",
        extra_info: {},
      },
      node_errors: {},
    },
    400,
  );
  return (scene) => {
    for (const one of where === "struck" ? [scene.struck] : scene.all) {
      scene.answer(one, ({ method, path, body }) =>
        method === "POST" && path === "/prompt" && body.includes("LatentUpscaleBy")
          ? refusal
          : undefined,
      );
    }
  };
}

const DOWN_MS = 30_000;

/** The VAE works for some seconds, and the process dies of it: each time, on that instance. */
function diesInVae({ struck, after }: Scene): void {
  const { simulator } = struck.comfy;
  const match = { nodeClass: "VAEDecode", count: 0 };
  const rule = simulator.faults.add({ kind: "hang", polls: false, match });
  let deaths = 0;
  const look = (): void => {
    const found = simulator.faults.list().find(({ id }) => id === rule)?.struck ?? 0;
    if (found > deaths) {
      deaths = found;
      after(3_000, () => simulator.crash(DOWN_MS));
    }
    after(100, look);
  };
  look();
}

const CORRUPT =
  "Error while deserializing header: incomplete metadata, file not fully covered\n\nFile path: models/checkpoints/model.safetensors\n\nThe safetensors file is corrupt or invalid. Make sure this is actually a safetensors file and not a ckpt or pt or other filetype.";
const ILLEGAL_ACCESS =
  "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n";
const ECC = "CUDA error: uncorrectable ECC error encountered";
const SHAPES = "mat1 and mat2 shapes cannot be multiplied (154x2048 and 768x320)";

const MODEL_KINDS: readonly FaultKind[] = [
  {
    ...model,
    name: "the model is gone from one instance",
    weight: 40,
    strike: ({ struck, checkpoint }) => lose(struck, checkpoint),
  },
  {
    ...model,
    name: "the model is gone, one of its family is there",
    weight: 35,
    fleet: fleetOf([24, 24, 24], [SDXL, SD15, DREAMSHAPER]),
    picture: () => ({ checkpoint: SD15 }),
    rightModel: DREAMSHAPER,
    strike: loseEverywhere,
  },
  {
    ...model,
    name: "the model is gone, only a fallback is there",
    weight: 25,
    fleet: fleetOf(
      [24, 24, 24],
      [JUGGERNAUT, "anything-v4.5-pruned.ckpt", "v1-5-pruned-emaonly.ckpt"],
    ),
    picture: () => ({ checkpoint: JUGGERNAUT }),
    rightModel: "v1-5-pruned-emaonly.ckpt",
    strike: loseEverywhere,
  },
  {
    ...model,
    name: "a model that nobody has ever had, others are there",
    weight: 15,
    picture: () => ({ checkpoint: "epicrealism_sd15_naturalSin.safetensors" }),
    rightModel: SD15,
  },
  {
    ...model,
    name: "every model is gone",
    isRecoverable: false,
    weight: 10,
    fleet: fleetOf([24, 24, 24], [SD15]),
    strike: loseEverywhere,
  },
];

const FILE_KINDS: readonly FaultKind[] = [
  {
    ...kind,
    name: "the disk of one machine is full",
    class: "disk_full",
    weight: 40,
    strike: ({ struck, all }) => {
      for (const { comfy } of all.filter(({ machine }) => machine === struck.machine)) {
        comfy.simulator.faults.add({ kind: "disk_full", match: { count: 0 } });
      }
    },
  },
  {
    ...kind,
    name: "every disk is full",
    class: "disk_full",
    isRecoverable: false,
    weight: 10,
    strike: ({ all }) => {
      for (const { comfy } of all) {
        const match = { nodeClass: "SaveImage", count: 0 };
        comfy.simulator.faults.add({ kind: "disk_full", match });
      }
    },
  },
  {
    ...kind,
    name: "a damaged model file on one instance",
    class: "corrupt_model",
    weight: 25,
    strike: raises("CheckpointLoaderSimple", "safetensors_rust.SafetensorError", CORRUPT),
  },
  {
    ...kind,
    name: "the same damaged model file everywhere, another one is whole",
    class: "corrupt_model",
    weight: 10,
    rightModel: SDXL,
    strike: (scene) => {
      for (const one of scene.all) {
        scene.answer(one, ({ method, path, body }) => {
          if (method !== "POST" || path !== "/prompt") return undefined;
          const posted = JSON.parse(body.toString()) as { readonly prompt_id: string };
          if (!body.includes(scene.checkpoint)) return undefined;
          one.comfy.simulator.faults.add({
            kind: "raise",
            exceptionType: "safetensors_rust.SafetensorError",
            message: CORRUPT,
            match: { nodeClass: "CheckpointLoaderSimple", promptId: posted.prompt_id },
          });
          return undefined;
        });
      }
    },
  },
  {
    ...kind,
    name: "a folder that may not be written, on one instance",
    class: "permission_error",
    weight: 15,
    strike: raises("SaveImage", "PermissionError", "[Errno 13] Permission denied: 'output/drill'"),
  },
];

const PROCESS_KINDS: readonly FaultKind[] = [
  {
    ...kind,
    name: "the process dies in mid-run",
    class: "instance_crash",
    weight: 45,
    strike: diesInVae,
  },
  {
    ...kind,
    name: "a CUDA context that does not heal",
    class: "gpu_fault",
    weight: 30,
    strike: untilRestart("RuntimeError", ILLEGAL_ACCESS),
  },
  {
    ...kind,
    name: "a card with broken memory",
    class: "gpu_fault",
    weight: 15,
    strike: raises("KSampler", "RuntimeError", ECC),
  },
  {
    ...kind,
    name: "a library is missing on one instance",
    class: "dependency_error",
    weight: 15,
    strike: raises("KSampler", "ModuleNotFoundError", "No module named 'sageattention'"),
  },
  {
    ...kind,
    name: "a node pack is missing on one instance",
    class: "node_missing",
    weight: 30,
    strike: lacksClass("struck"),
  },
  {
    ...kind,
    name: "a node pack is missing everywhere",
    class: "node_missing",
    isRecoverable: false,
    weight: 10,
    strike: lacksClass("all"),
  },
  {
    ...kind,
    name: "somebody else interrupts",
    class: "interrupted",
    isTransient: true,
    weight: 20,
    strike: ({ struck, promptId, after }) => {
      const { simulator } = struck.comfy;
      // The model takes its time, so that the run can be met.
      const match = { nodeClass: "CheckpointLoaderSimple", promptId };
      simulator.faults.add({ kind: "slow_load", ms: 4_000, match });
      const body = Buffer.from("{}");
      const asked = { method: "POST", url: "/interrupt", headers: {} };
      after(
        2_000,
        () => void simulator.request({ ...asked, readBody: () => Promise.resolve(body) }),
      );
    },
  },
];

const GRAPH_KINDS: readonly FaultKind[] = [
  {
    ...kind,
    name: "models that do not fit each other",
    class: "workflow_error",
    isRecoverable: false,
    weight: 20,
    strike: raises("KSampler", "RuntimeError", SHAPES, "all"),
  },
  {
    ...kind,
    name: "a value that no sampler has",
    class: "workflow_error",
    isRecoverable: false,
    weight: 20,
    picture: () => ({ sampler: "euler_of_the_seas" }),
  },
  {
    ...kind,
    name: "a credential is refused",
    class: "auth_error",
    isRecoverable: false,
    weight: 10,
    strike: raises(
      "KSampler",
      "Exception",
      "Unauthorized: Please login first to use this node.",
      "all",
    ),
  },
];

/** Words that no rule knows: made up of what no programmer has written yet. */
const UNHEARD_OF = "the quorum of gnomes at slot 7 has gone home";

const UNKNOWN_KINDS: readonly FaultKind[] = [
  {
    ...kind,
    name: "an error that nobody knows, once",
    class: "unknown",
    isTransient: true,
    weight: 15,
    strike: ({ struck }) => {
      struck.comfy.simulator.faults.add({
        kind: "raise",
        exceptionType: "RuntimeError",
        message: UNHEARD_OF,
        match: { nodeClass: "VAEDecode", count: 1 },
      });
    },
  },
  {
    ...kind,
    name: "an error that nobody knows, on one instance",
    class: "unknown",
    weight: 10,
    strike: raises("VAEDecode", "RuntimeError", UNHEARD_OF),
  },
  {
    ...kind,
    name: "an error that nobody knows, everywhere",
    class: "unknown",
    isRecoverable: false,
    weight: 5,
    strike: raises("VAEDecode", "RuntimeError", UNHEARD_OF, "all"),
  },
];

/** Kinds of them. */
export const MACHINE_KINDS: readonly FaultKind[] = [
  ...MODEL_KINDS,
  ...FILE_KINDS,
  ...PROCESS_KINDS,
  ...GRAPH_KINDS,
  ...UNKNOWN_KINDS,
];
