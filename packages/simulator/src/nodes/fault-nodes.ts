import { choice, link, primitive, type NodeClass } from "./node-class.ts";
import { outOfMemory, RaisedError, SystemExitError } from "./raised.ts";

const CATEGORY = "holdfast/faults (simulated)";
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

const RAISED_TYPES: Readonly<Record<string, string>> = {
  runtime: "RuntimeError",
  value: "ValueError",
  filenotfound: "FileNotFoundError",
};

function frame(line: number, text: string): string {
  return `  File "base/custom_nodes/faults/__init__.py", line ${String(line)}, in run\n    ${text}\n`;
}

function raise(kind: string, message: string, exceptionType: string): never {
  switch (kind) {
    case "oom":
      throw outOfMemory(
        message === "" ? "CUDA out of memory. Tried to allocate 2.00 GiB." : message,
      );
    case "enospc":
      throw new RaisedError("OSError", "[Errno 28] No space left on device", [
        frame(18, 'if kind=="enospc": raise OSError(28,"No space left on device")'),
      ]);
    default:
      throw new RaisedError(exceptionType || (RAISED_TYPES[kind] ?? "Exception"), message, [
        frame(19, "raise ERRORS[kind](message)"),
      ]);
  }
}

function sleepNode(name: string): NodeClass {
  return {
    name,
    displayName: name,
    category: CATEGORY,
    description: "Simulator only: takes its time. `poll`: an interrupt ends it early.",
    required: {
      image: link("IMAGE"),
      seconds: primitive("FLOAT", { default: 1.0, min: 0.0, max: 36000.0 }),
      poll: primitive("BOOLEAN", { default: true }),
    },
    outputs: ["IMAGE"],
    async run(call) {
      await call.spendReal(call.inputs.number("seconds") * 1000, call.inputs.flag("poll", true));
      return { outputs: [call.inputs.value("image", "images")] };
    },
  };
}

function raiseNode(name: string): NodeClass {
  return {
    name,
    displayName: name,
    category: CATEGORY,
    description: "Simulator only: raises.",
    required: {
      image: link("IMAGE"),
      kind: choice(["oom", "enospc", "runtime", "value", "filenotfound", "other"]),
      message: primitive("STRING", { default: "" }),
    },
    optional: { exception_type: primitive("STRING", { default: "" }) },
    outputs: ["IMAGE"],
    run: ({ inputs }) =>
      raise(inputs.text("kind"), inputs.text("message", ""), inputs.text("exception_type", "")),
  };
}

function blockNode(name: string): NodeClass {
  return {
    name,
    displayName: name,
    category: CATEGORY,
    description: "Simulator only: blocks what comes after it, without failing the prompt.",
    required: { image: link("IMAGE") },
    optional: { message: primitive("STRING", { default: "nothing to save" }) },
    outputs: ["IMAGE"],
    run: ({ inputs }) => ({
      outputs: [{ kind: "blocked", message: inputs.text("message", "nothing to save") }],
    }),
  };
}

function progressTextNode(name: string): NodeClass {
  return {
    name,
    displayName: name,
    category: CATEGORY,
    description: "Simulator only: sends text to the client.",
    required: { image: link("IMAGE"), text: primitive("STRING", { default: "" }) },
    outputs: ["IMAGE"],
    run(call) {
      call.progressText(call.inputs.text("text"));
      return { outputs: [call.inputs.value("image", "images")] };
    },
  };
}

/**
 * Nodes that fail on purpose. `Fault…` and `HF…` are the names under which the recorded exchanges
 * of a real ComfyUI know the same nodes.
 */
export const FAULT_NODES: readonly NodeClass[] = [
  ...["HoldfastSleep", "FaultSleep"].map(sleepNode),
  ...["HoldfastRaise", "FaultRaise"].map(raiseNode),
  ...["HoldfastBlock", "HFBlock"].map(blockNode),
  ...["HoldfastProgressText", "HFProgressText"].map(progressTextNode),
  {
    name: "HoldfastExit",
    displayName: "HoldfastExit",
    category: CATEGORY,
    description: "Simulator only: raises SystemExit, which ends the prompt thread alone (F26).",
    required: { image: link("IMAGE") },
    outputs: ["IMAGE"],
    run: () => {
      throw new SystemExitError("1");
    },
  },
  {
    name: "HoldfastCrash",
    displayName: "HoldfastCrash",
    category: CATEGORY,
    description: "Simulator only: the process dies, one way as the other.",
    required: { image: link("IMAGE") },
    optional: {
      how: choice(["kill", "segfault", "exit"], { default: "kill" }),
      exit_code: primitive("INT", { default: 1, min: 0, max: 255 }),
    },
    outputs: ["IMAGE"],
    run: (call) => call.crashProcess(),
  },
  {
    name: "HoldfastHang",
    displayName: "HoldfastHang",
    category: CATEGORY,
    description: "Simulator only: never ends. `poll`: an interrupt does end it.",
    required: { image: link("IMAGE"), poll: primitive("BOOLEAN", { default: false }) },
    outputs: ["IMAGE"],
    run: (call) => call.hang(call.inputs.flag("poll")),
  },
  {
    name: "HoldfastOOM",
    displayName: "HoldfastOOM",
    category: CATEGORY,
    description:
      "Simulator only: takes so much memory of the simulated card, for a batch of more pixels.",
    required: {
      image: link("IMAGE"),
      gib: primitive("FLOAT", { default: 1000.0, min: 0.0, max: 100000.0 }),
    },
    optional: { above_pixels: primitive("INT", { default: 0, min: 0, max: 2 ** 31 - 1 }) },
    outputs: ["IMAGE"],
    run(call) {
      const picture = call.inputs.value("image", "images");
      const pixels = picture.pictures.reduce((sum, one) => sum + one.width * one.height, 0);
      if (pixels > call.inputs.number("above_pixels", 0)) {
        call.useCard({ models: [], workBytes: call.inputs.number("gib") * GIB });
      }
      return { outputs: [picture] };
    },
  },
  {
    name: "HoldfastLeak",
    displayName: "HoldfastLeak",
    category: CATEGORY,
    description:
      "Simulator only: keeps memory of the card until /free drops the node cache, or until the process ends. There is no host memory to leak.",
    required: {
      image: link("IMAGE"),
      mib: primitive("INT", { default: 256, min: 1, max: 1048576 }),
      where: choice(["vram", "host"]),
      held_by: choice(["process", "cache"]),
    },
    outputs: ["IMAGE"],
    run(call) {
      const { inputs } = call;
      const heldBy = inputs.text("held_by") === "cache" ? "cache" : "process";
      if (inputs.text("where") === "vram") call.leak(inputs.number("mib") * MIB, heldBy);
      return { outputs: [inputs.value("image", "images")] };
    },
  },
  {
    name: "HoldfastFillDisk",
    displayName: "HoldfastFillDisk",
    category: CATEGORY,
    description: "Simulator only: no space left on device. Nothing is written.",
    required: {
      image: link("IMAGE"),
      how: choice(["raise", "fill"]),
      mib: primitive("INT", { default: 64, min: 1, max: 4096 }),
    },
    outputs: ["IMAGE"],
    run: () => raise("enospc", "", ""),
  },
];
