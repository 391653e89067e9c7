/** Faults that a real ComfyUI can be made to have: by the pack of fault nodes, from outside, or both. */
import type { Graph } from "@holdfast/comfyui/protocol";
import type { TcpProxy } from "../real/tcp-proxy.ts";
import { COMFYUI_URL, restartComfyUi } from "../real/target.ts";
import type { FaultKind } from "./fault-kind.ts";

/** A kind of fault, as far as one attached instance and real time go. */
export interface RealFault {
  readonly kind: FaultKind;
  readonly graph: Graph;
  /** Happens before the job is submitted. */
  readonly before?: (proxy: TcpProxy) => Promise<unknown>;
  /** Waits to be met by the job; resolves when it was. */
  readonly trap?: (proxy: TcpProxy) => Promise<void>;
  /** Happens while the job runs; tells whether it struck anything. */
  readonly during?: (proxy: TcpProxy) => Promise<boolean>;
  /** Ends the process or its worker: needs somebody who starts it again. */
  readonly needsRestart?: boolean;
}

interface Made {
  readonly width: number;
  readonly batch: number;
}

/** A flat picture of a colour that nobody has cached, through one fault node. */
function through(classType: string, inputs: object, made: Partial<Made> = {}): Graph {
  const { width = 64, batch = 1 } = made;
  const color = Math.floor(Math.random() * 0xffffff);
  return {
    "1": { class_type: "EmptyImage", inputs: { width, height: width, batch_size: batch, color } },
    "2": { class_type: classType, inputs: { image: ["1", 0], ...inputs } },
    "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "drill" } },
  };
}

const kind = (
  name: string,
  of: Pick<FaultKind, "class" | "group"> & Partial<FaultKind>,
): FaultKind => ({
  name,
  isTransient: false,
  isRecoverable: true,
  weight: 1,
  fleet: { instances: [] },
  ...of,
});

const SLEEP = { seconds: 4, poll: true };
const post = (path: string, body: object): Promise<Response> =>
  fetch(`${COMFYUI_URL}${path}`, { method: "POST", body: JSON.stringify(body) });

function memoryFaults(): RealFault[] {
  const oom = { class: "cuda_out_of_memory", group: "oom" } as const;
  const large = through("HoldfastOOM", { gib: 1000, above_pixels: 700 * 700 }, { width: 1024 });
  const many = through(
    "HoldfastOOM",
    { gib: 1000, above_pixels: 512 * 512 },
    { width: 512, batch: 4 },
  );
  return [
    {
      kind: kind("more pixels than fit", oom),
      graph: large,
    },
    {
      kind: kind("more pictures than fit", oom),
      graph: many,
    },
  ];
}

function connectionFaults(): RealFault[] {
  const network = { class: "network_error", group: "network", isTransient: true } as const;
  const sleeping = (): Graph => through("HoldfastSleep", SLEEP);
  return [
    {
      kind: kind("an answer to a POST is cut", network),
      graph: sleeping(),
      trap: (proxy) => proxy.cutAtNextPrompt("at_answer"),
    },
    {
      kind: kind("a POST is cut in its middle", network),
      graph: sleeping(),
      trap: (proxy) => proxy.cutAtNextPrompt("mid_request"),
    },
    {
      kind: kind("every connection is cut in mid-run", network),
      graph: sleeping(),
      during: (proxy) => Promise.resolve(proxy.cutAll() > 0),
    },
    {
      kind: kind("somebody else interrupts", { class: "interrupted", group: "other" }),
      graph: sleeping(),
      during: async () => (await post("/interrupt", {})).ok,
    },
  ];
}

function deaths(): RealFault[] {
  return [
    {
      kind: kind("the process is killed in mid-run", { class: "instance_crash", group: "other" }),
      graph: through("HoldfastSleep", SLEEP),
      during: async () => {
        await restartComfyUi();
        return true;
      },
      needsRestart: true,
    },
    {
      kind: kind("the worker dies of another one's prompt", {
        class: "timeout",
        // Started again before its stall was long enough it is a process that went away.
        orClass: "instance_crash",
        group: "timeout",
      }),
      graph: through("HoldfastSleep", { ...SLEEP, seconds: 0.1 }),
      before: async () => {
        await post("/prompt", { prompt: through("HoldfastExit", {}) });
        // Somebody notices after a while, and starts it again.
        setTimeout(() => void restartComfyUi(), 8_000);
      },
      needsRestart: true,
    },
  ];
}

/** Errors that no other graph, and no second try on the only instance, would be without. */
function hopeless(): RealFault[] {
  const raising = (type: string, message: string): Graph =>
    through("HoldfastRaise", { kind: "other", message, exception_type: type });
  const told = (name: string, of: FaultKind["class"], graph: Graph): RealFault => ({
    kind: kind(name, { class: of, group: "other", isRecoverable: false }),
    graph,
  });
  return [
    told(
      "no space left on device",
      "disk_full",
      through("HoldfastFillDisk", { how: "fill", mib: 4 }),
    ),
    told(
      "shapes that do not fit",
      "workflow_error",
      raising("RuntimeError", "mat1 and mat2 shapes cannot be multiplied (154x2048 and 768x320)"),
    ),
    told(
      "a credential is refused",
      "auth_error",
      raising("Exception", "Unauthorized: Please login first to use this node."),
    ),
    told(
      "a folder that may not be written",
      "permission_error",
      raising("PermissionError", "[Errno 13] Permission denied: 'output/drill'"),
    ),
    told(
      "a library is missing",
      "dependency_error",
      raising("ModuleNotFoundError", "No module named 'sageattention'"),
    ),
    told(
      "a CUDA context that is broken",
      "gpu_fault",
      raising("RuntimeError", "CUDA error: an illegal memory access was encountered"),
    ),
    told(
      "no memory left on the host",
      "host_out_of_memory",
      raising(
        "RuntimeError",
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4294967296 bytes. Error code 12 (Cannot allocate memory)",
      ),
    ),
    told(
      "a damaged model file",
      "corrupt_model",
      raising(
        "safetensors_rust.SafetensorError",
        "Error while deserializing header: incomplete metadata, file not fully covered",
      ),
    ),
    told(
      "an error that nobody knows",
      "unknown",
      raising("RuntimeError", "the quorum of gnomes at slot 7 has gone home"),
    ),
  ];
}

/** All of them, with pictures of their own. */
export function realFaults(): readonly RealFault[] {
  return [...memoryFaults(), ...connectionFaults(), ...deaths(), ...hopeless()];
}
