import type { Manifest } from "../manifest/model.ts";
import type { InstancePlan, PlannedGpu } from "./model.ts";

/** An instance before its settings. */
export interface Slot {
  readonly name: string;
  /** Null: without a GPU. */
  readonly gpu: PlannedGpu | null;
  readonly migIndex: number | null;
  /** See {@link InstancePlan.cardFault}. */
  readonly cardFault?: string;
}

type Instances = Manifest["instances"];

const MIB = 1024 ** 2;
/**
 * Where numeric libraries take their number of threads from. PyTorch itself goes by OpenMP's and
 * MKL's; the last one is read by packs that call `torch.set_num_threads`.
 */
const THREAD_VARIABLES: readonly string[] = [
  "OMP_NUM_THREADS",
  "MKL_NUM_THREADS",
  "OPENBLAS_NUM_THREADS",
  "NUMEXPR_NUM_THREADS",
  "TORCH_NUM_THREADS",
];

/** One instance with the general settings and its own. */
export function toInstancePlan(slot: Slot, port: number, wanted: Instances): InstancePlan {
  const own = wanted.overrides[slot.name] ?? {};
  const threads = own.threads ?? wanted.threads;
  const reserveGb = own.vramReserveGb ?? wanted.vramReserveGb;
  const reserve =
    reserveGb === undefined || slot.gpu === null ? [] : ["--reserve-vram", String(reserveGb)];
  return {
    name: slot.name,
    host: wanted.host,
    port,
    url: `http://${reachableHost(wanted.host)}:${port}`,
    gpu: slot.gpu,
    ...(slot.cardFault === undefined ? {} : { cardFault: slot.cardFault }),
    flags: [...(own.flags ?? wanted.flags ?? []), ...reserve],
    env: {
      ...threadEnvironment(threads),
      ...wanted.env,
      ...own.env,
      // Last: the binding is not for settings to change.
      ...deviceEnvironment(slot.gpu),
    },
    recycleAboveBytes: toBytes(own.recycleAboveMb ?? wanted.recycleAboveMb),
    memoryLimitBytes: toBytes(own.memoryLimitMb ?? wanted.memoryLimitMb),
    startTimeoutMs: wanted.startTimeoutSec * 1_000,
    drainMs: wanted.drainSec * 1_000,
    stopTimeoutMs: wanted.stopTimeoutSec * 1_000,
  };
}

function threadEnvironment(threads: number | undefined): Record<string, string> {
  if (threads === undefined) return {};
  return Object.fromEntries(THREAD_VARIABLES.map((name) => [name, String(threads)]));
}

/** By UUID: an index changes with the order of the cards, and with one that is lost. */
function deviceEnvironment(gpu: PlannedGpu | null): Record<string, string> {
  return gpu === null
    ? { CUDA_VISIBLE_DEVICES: "" }
    : { CUDA_DEVICE_ORDER: "PCI_BUS_ID", CUDA_VISIBLE_DEVICES: gpu.uuid ?? "" };
}

/** An address that a client on this machine can use: listening on all of them is none. */
function reachableHost(host: string): string {
  const plain = host.replace(/^\[|\]$/g, "");
  if (plain === "0.0.0.0") return "127.0.0.1";
  if (plain === "::") return "[::1]";
  return plain.includes(":") ? `[${plain}]` : plain;
}

function toBytes(mebibytes: number | undefined): number | null {
  return mebibytes === undefined ? null : mebibytes * MIB;
}
