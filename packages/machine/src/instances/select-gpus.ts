/** Which of the cards that were found a manifest asks for. Pure. */
import type { GpuDevice, GpuDiscovery, GpuFault } from "@holdfast/gpu";
import type { Finding, YamlPath } from "@holdfast/yaml-file";
import type { Manifest } from "../manifest/model.ts";

/** Devices to bind instances to, by index and slice, each once. */
export interface GpuSelection {
  readonly devices: readonly GpuDevice[];
  /** Why nothing is started on a card that is asked for, one a card; those without an index are problems. */
  readonly ill: readonly IllCard[];
  readonly problems: readonly Finding[];
  readonly warnings: readonly Finding[];
}

/** A fault of a card that can be told by its index. */
export type IllCard = GpuFault & { readonly index: number };

const PATH: YamlPath = ["instances", "gpus"];

/** Picks `all`, none, or those that are named by index or UUID. */
export function selectGpus(
  wanted: Manifest["instances"]["gpus"],
  found: GpuDiscovery,
): GpuSelection {
  if (wanted === "none") return { devices: [], ill: [], problems: [], warnings: [] };
  if (wanted === "all") {
    const devices = found.gpus.flatMap((gpu) => gpu.devices);
    const cutOff = found.gpus.length > 0 && found.failure !== null ? [found.failure.reason] : [];
    // Where no card is told of at all, that is told as a whole.
    const nameless = found.faults.filter(
      ({ index, isUsable }) => index === null && !isUsable && found.gpus.length > 0,
    );
    const warnings = [
      ...found.faults
        .filter((fault) => !nameless.includes(fault))
        .map((fault) => faultFinding(fault, PATH)),
      ...cutOff.map((reason) => ({ path: PATH, message: `there may be more GPUs: ${reason}` })),
    ];
    const problems = nameless.map(namelessFinding);
    return { devices: inOrder(devices), ill: illCards(found.faults), problems, warnings };
  }
  return selectNamed(wanted, found);
}

function selectNamed(wanted: readonly (string | number)[], found: GpuDiscovery): GpuSelection {
  const chosen = new Map<string, GpuDevice>();
  const faults: GpuFault[] = [];
  const problems: Finding[] = [];
  const warnings: Finding[] = [];
  for (const [at, name] of wanted.entries()) {
    const path = [...PATH, at];
    const match = find(name, found);
    if (match.kind === "devices") {
      if (match.devices.every(({ gpu }) => chosen.has(gpu.uuid))) {
        warnings.push({ path, message: `GPU ${name} is chosen by another entry as well` });
      }
      for (const device of match.devices) chosen.set(device.gpu.uuid, device);
      // A card that works, and has something to be told of all the same.
      for (const fault of match.faults) warnings.push(faultFinding(fault, path));
    } else if (match.kind === "ill") {
      faults.push(...match.faults);
      warnings.push(...match.faults.map((fault) => faultFinding(fault, path)));
    } else {
      problems.push({ path, message: `there is no GPU ${name} here: ${whatIsThere(found)}` });
    }
  }
  return { devices: inOrder([...chosen.values()]), ill: illCards(faults), problems, warnings };
}

function illCards(faults: readonly GpuFault[]): readonly IllCard[] {
  const byIndex = new Map<number, IllCard>();
  for (const fault of faults) {
    const { index, isUsable } = fault;
    if (index !== null && !isUsable && !byIndex.has(index)) byIndex.set(index, { ...fault, index });
  }
  return [...byIndex.values()].toSorted((a, b) => a.index - b.index);
}

type Match =
  | {
      readonly kind: "devices";
      readonly devices: readonly GpuDevice[];
      readonly faults: readonly GpuFault[];
    }
  | { readonly kind: "ill"; readonly faults: readonly GpuFault[] }
  | { readonly kind: "absent" };

function find(name: string | number, { gpus, faults }: GpuDiscovery): Match {
  const isNamed = (index: number | null, uuid: string | null): boolean =>
    typeof name === "number" ? index === name : uuid?.toLowerCase() === name.toLowerCase();
  const card = gpus.find(({ index, uuid }) => isNamed(index, uuid));
  const slice = gpus
    .flatMap(({ devices }) => devices)
    .find(
      ({ gpu, migIndex }) =>
        migIndex !== null && typeof name === "string" && isNamed(null, gpu.uuid),
    );
  const devices = card?.devices ?? (slice === undefined ? [] : [slice]);
  const index = card?.index ?? slice?.gpu.index;
  const own = faults.filter((fault) => fault.index === index || isNamed(fault.index, fault.uuid));
  if (devices.length > 0) return { kind: "devices", devices, faults: own };
  return own.length > 0 ? { kind: "ill", faults: own } : { kind: "absent" };
}

function whatIsThere({ gpus, failure, faults }: GpuDiscovery): string {
  const cards = gpus.map(({ index, name, uuid, devices }) => {
    const slices = devices.filter(({ migIndex }) => migIndex !== null);
    const inside = slices.map(({ gpu }) => gpu.uuid).join(", ");
    return `GPU ${index} (${name}, ${uuid}${inside === "" ? "" : `; slices ${inside}`})`;
  });
  const ill = faults.map(({ reason }) => reason);
  const told = [...cards, ...ill].join("; ");
  if (told !== "") return `there is ${told}`;
  return failure === null ? "there is none" : `${failure.reason}. ${failure.advice}`;
}

function faultFinding({ reason, advice, isUsable }: GpuFault, path: YamlPath): Finding {
  const effect = isUsable ? "it is used all the same" : "no instance is started on it";
  return { path, message: `${reason}; ${effect}. ${advice}` };
}

function namelessFinding({ reason, advice }: GpuFault): Finding {
  const effect = "no instance stands for it, for its index is not told";
  return { path: PATH, message: `${reason}; ${effect}. ${advice}` };
}

function inOrder(devices: readonly GpuDevice[]): readonly GpuDevice[] {
  return [...devices].sort(
    (a, b) => a.gpu.index - b.gpu.index || (a.migIndex ?? 0) - (b.migIndex ?? 0),
  );
}
