/** Which ComfyUI instances a machine has. Pure: from the manifest and the cards that were found. */
import type { Finding, YamlPath } from "@holdfast/yaml-file";
import { cpuInstanceName, gpuInstanceName, parseInstanceName } from "../manifest/instance-names.ts";
import type { Manifest } from "../manifest/model.ts";
import type { GpuDiscovery } from "@holdfast/gpu";
import { assignPorts } from "./assign-ports.ts";
import { toInstancePlan, type Slot } from "./instance-plan.ts";
import type { InstancePlan } from "./model.ts";
import { selectGpus, type IllCard } from "./select-gpus.ts";

/** What instances there are, and what is wrong with the wish. */
export interface InstancesPlan {
  /** GPU instances by index, then those without a GPU. Complete but for what `problems` name. */
  readonly instances: readonly InstancePlan[];
  /** Of cards that are asked for and ill: they stand for what does not serve, and cannot be started. */
  readonly ill: readonly InstancePlan[];
  /** The manifest asks for what this machine does not have. */
  readonly problems: readonly Finding[];
  /** The machine is not as it should be; the rest goes on. */
  readonly warnings: readonly Finding[];
}

/** What a plan is made from. */
export interface InstancesFacts {
  readonly wanted: Manifest["instances"];
  readonly found: GpuDiscovery;
  /** Ports of this machine that are something else's: the health server's. */
  readonly reservedPorts: readonly number[];
  /** `/dev/kfd` is there: cards of AMD's are seen, but not told apart, and nothing is bound to them. */
  readonly hasAmdGpu: boolean;
}

const CPU_PATH: YamlPath = ["instances", "cpu"];

/**
 * Plans instances. Invariants: I1 names and ports are each there once; I2 the instance of a whole GPU
 * n listens on basePort + n, whichever other cards there are; I3 nothing is started on a card with a
 * fault, and no other one changes for it.
 */
export function planInstances(facts: InstancesFacts): InstancesPlan {
  const { wanted, found, reservedPorts } = facts;
  const selection = selectGpus(wanted.gpus, found);
  const cpu = cpuCount(facts, selection.devices.length);
  const ill = selection.ill.map((fault) => illSlot(fault, found));
  const slots: Slot[] = [
    ...selection.devices.map(({ gpu, migIndex }) => ({
      name: gpuInstanceName(gpu.index, migIndex),
      gpu,
      migIndex,
    })),
    ...Array.from({ length: cpu.count }, (_, index) => ({
      name: cpuInstanceName(index),
      gpu: null,
      migIndex: null,
    })),
  ];
  const ports = assignPorts([...slots, ...ill], {
    basePort: wanted.basePort,
    // Also of cards that are lost: what follows keeps its place when one is gone.
    highestIndex: highestIndex(wanted.gpus, found),
    reserved: reservedPorts,
  });
  const toPlans = (some: readonly Slot[]): readonly InstancePlan[] =>
    some.flatMap((slot) => {
      const port = ports.byName.get(slot.name);
      return port === undefined ? [] : [toInstancePlan(slot, port, wanted)];
    });
  return {
    instances: toPlans(slots),
    ill: toPlans(ill),
    problems: [...selection.problems, ...cpu.problems, ...ports.problems],
    warnings: [
      ...selection.warnings,
      ...cpu.warnings,
      ...ports.warnings,
      ...unusedOverrides(wanted, slots, found),
    ],
  };
}

/** The whole card, also of one that had slices: which, it may not tell. */
function illSlot({ index, uuid, reason, advice }: IllCard, { gpus }: GpuDiscovery): Slot {
  const card = gpus.find((one) => one.index === index);
  return {
    name: gpuInstanceName(index, null),
    gpu: {
      index,
      uuid: card?.uuid ?? uuid,
      name: card?.name ?? "NVIDIA GPU",
      memoryTotalBytes: null,
    },
    migIndex: null,
    cardFault: `${reason}. ${advice}`,
  };
}

function highestIndex(gpus: Manifest["instances"]["gpus"], found: GpuDiscovery): number {
  if (gpus === "none") return -1;
  const indices = [
    ...found.gpus.map(({ index }) => index),
    ...found.faults.flatMap(({ index }) => (index === null ? [] : [index])),
    ...(Array.isArray(gpus) ? gpus.filter((one) => typeof one === "number") : []),
  ];
  return Math.max(-1, ...indices);
}

interface CpuCount {
  readonly count: number;
  readonly problems: readonly Finding[];
  readonly warnings: readonly Finding[];
}

/**
 * `auto` takes the CPU only where there is no GPU. A machine whose GPUs are ill does not go on without
 * them, a hundred times slower, as if nothing were the matter.
 */
function cpuCount({ wanted, found, hasAmdGpu }: InstancesFacts, gpuInstances: number): CpuCount {
  const { gpus, cpu } = wanted;
  if (cpu !== "auto") return { count: cpu, problems: [], warnings: [] };
  if (gpus === "none") return { count: 1, problems: [], warnings: [] };
  // A list names GPUs that have to be there: what is wrong with it is told already.
  if (gpuInstances > 0 || Array.isArray(gpus)) return { count: 0, problems: [], warnings: [] };
  const { failure } = found;
  const isWithoutGpu =
    found.gpus.length === 0 && found.faults.length === 0 && (failure === null || failure.isNoGpu);
  const reason = failure?.reason ?? "none can be used";
  if (isWithoutGpu) {
    const message = hasAmdGpu
      ? "instances are bound to NVIDIA GPUs alone, and this machine has one of AMD's: one instance " +
        "works on the CPU. Start a ComfyUI for the AMD GPU yourself and name it in COMFYUI_URL"
      : `no GPU (${reason}): one instance works on the CPU; write \`gpus: none\` if that is meant. ${failure?.advice ?? ""}`;
    return { count: 1, problems: [], warnings: [{ path: CPU_PATH, message: message.trim() }] };
  }
  const message =
    `no GPU can be used (${reason}), and the CPU does not take their place by itself: ` +
    `mend them, or write \`gpus: none\` and \`cpu: 1\`. ${failure?.advice ?? ""}`;
  return { count: 0, problems: [{ path: CPU_PATH, message: message.trim() }], warnings: [] };
}

function unusedOverrides(
  { overrides, gpus }: Manifest["instances"],
  slots: readonly Slot[],
  found: GpuDiscovery,
): readonly Finding[] {
  const names = slots.map(({ name }) => name);
  const ill = gpus === "none" ? [] : found.faults.map(({ index }) => index);
  return Object.keys(overrides)
    .filter((name) => !names.includes(name))
    .filter((name) => {
      const parsed = parseInstanceName(name);
      // Of a card that is ill: its fault is told, and its settings wait for it.
      return parsed?.kind !== "gpu" || !ill.includes(parsed.index);
    })
    .map((name) => {
      const there = names.length === 0 ? "there are none" : `there are ${names.join(", ")}`;
      const message = `there is no instance ${name} on this machine, and its settings are not used: ${there}`;
      return { path: ["instances", "overrides", name], message };
    });
}
