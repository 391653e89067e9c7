/** What a machine's GPUs are, from what nvidia-smi printed. Pure. */
import type {
  FoundGpu,
  GpuDevice,
  GpuDiscovery,
  GpuFailure,
  GpuFault,
  GpuReading,
  SmiFailure,
  SmiRun,
} from "./model.ts";
import { cardFaults, missingFaults, unreadableFault } from "./gpu-faults.ts";
import { parseList, type ListedGpu } from "./parse-list.ts";
import { parseQuery } from "./parse-query.ts";
import { parseReport, type ReportedGpu, type SmiReport } from "./parse-report.ts";
import { namelessErrors, toReadings } from "./read-gpus.ts";
import { meansNoGpu, readSmiFailures, smiFailureWords } from "./smi-failure.ts";

/** The runs that are looked at. */
export interface DiscoveryRuns {
  /** `--query-gpu=… --format=csv`, with its header. */
  readonly query: SmiRun;
  /** `-L`. */
  readonly list: SmiRun;
  /** `-q -x`; without it the memory of MIG devices and the CUDA version are not known. */
  readonly report: SmiRun | null;
}

/**
 * All cards that any of the runs tells of. `expected` are indices that were there before: one that is
 * told of no more is a fault.
 */
export function discoverGpus(runs: DiscoveryRuns, expected: readonly number[] = []): GpuDiscovery {
  const { rows } = parseQuery(runs.query.stdout);
  const readings = toReadings(rows);
  const nameless = namelessErrors(rows);
  const listed = parseList(runs.list.stdout);
  const report = parseReport(runs.report?.stdout ?? "");
  const failures = readSmiFailures(runs.query, readings.length + nameless).concat(
    readSmiFailures(runs.list, listed.length),
  );
  const whole = failures.find(({ kind }) => !isOfCard(kind));
  const indices = [...new Set([...readings, ...listed].map(({ index }) => index))].sort(
    (a, b) => a - b,
  );
  const known = { readings, listed, report };
  // Those that the list alone tells of, if they are as many as the rows without an index.
  const unread = listed.filter(({ index }) => readings.every((one) => one.index !== index));
  const unreadable = unread.length === nameless ? unread : [];
  const faults = [
    ...missingFaults(
      indices,
      failures.filter(({ kind }) => isOfCard(kind)),
      expected,
      nameless,
    ),
    ...unreadable.map(({ index, uuid }) => unreadableFault(index, uuid)),
    ...indices.flatMap((index) => cardFaults(factsOf(index, known))),
  ];
  const gpus = indices.flatMap((index) => toFound(factsOf(index, known), faults));
  return {
    gpus,
    faults,
    failure: toFailure(whole, indices, faults),
    driverVersion:
      readings.find((one) => one.driverVersion !== null)?.driverVersion ?? report.driverVersion,
    cudaVersion: report.cudaVersion,
  };
}

function isOfCard(kind: SmiFailure["kind"]): boolean {
  return kind === "gpu_lost" || kind === "device_handle";
}

function toFailure(
  whole: SmiFailure | undefined,
  indices: readonly number[],
  faults: readonly GpuFault[],
): GpuFailure | null {
  // Cards may be known all the same: the query was cut off in the middle, or the list failed.
  if (whole !== undefined) return inWords(whole);
  if (indices.length > 0) return null;
  const first = faults[0];
  // It ran, and told of nothing.
  if (first === undefined) return inWords({ kind: "no_devices" });
  const kind = first.kind === "lost" ? "gpu_lost" : "device_handle";
  return { kind, isNoGpu: false, reason: first.reason, advice: first.advice };
}

function inWords(failure: SmiFailure): GpuFailure {
  return { kind: failure.kind, isNoGpu: meansNoGpu(failure.kind), ...smiFailureWords(failure) };
}

/** What each run says of one card. */
interface CardFacts {
  readonly index: number;
  readonly reading: GpuReading | undefined;
  readonly listed: ListedGpu | undefined;
  readonly reported: ReportedGpu | undefined;
}

function factsOf(
  index: number,
  known: {
    readonly readings: readonly GpuReading[];
    readonly listed: readonly ListedGpu[];
    readonly report: SmiReport;
  },
): CardFacts {
  const reading = known.readings.find((one) => one.index === index);
  const listed = known.listed.find((one) => one.index === index);
  const { gpus } = known.report;
  // The report has no index: by UUID, or by the bus where that is masked or not told.
  const uuid = reading?.uuid ?? listed?.uuid;
  const sameUuid = gpus.filter((one) => one.uuid !== null && one.uuid === uuid);
  const reported =
    sameUuid.length === 1 ? sameUuid[0] : gpus.find((one) => one.busId === reading?.busId);
  return { index, reading, listed, reported };
}

function toFound(facts: CardFacts, faults: readonly GpuFault[]): readonly FoundGpu[] {
  const { index, reading, listed, reported } = facts;
  const uuid = reading?.uuid ?? listed?.uuid ?? reported?.uuid;
  if (uuid === undefined || uuid === null) return []; // A fault says so.
  const name = reading?.name ?? listed?.name ?? reported?.name ?? "NVIDIA GPU";
  const isUsable = !faults.some((fault) => fault.index === index && !fault.isUsable);
  return [
    {
      index,
      uuid,
      name,
      computeCapability: reading?.computeCapability ?? null,
      devices: isUsable ? devicesOf(facts, uuid, name) : [],
    },
  ];
}

function devicesOf(facts: CardFacts, uuid: string, name: string): readonly GpuDevice[] {
  const { index, reading, listed, reported } = facts;
  const slices = listed?.migDevices ?? [];
  if (slices.length > 0) {
    return slices.map((slice) => {
      const memory = reported?.migDevices.find((one) => one.index === slice.index);
      const gpu = {
        index,
        uuid: slice.uuid,
        name: `${name} MIG ${slice.profile}`,
        memoryTotalBytes: memory?.memoryTotalBytes ?? null,
      };
      return { gpu, migIndex: slice.index };
    });
  }
  const memoryTotalBytes = reading?.memoryTotalBytes ?? reported?.memoryTotalBytes ?? null;
  return [{ gpu: { index, uuid, name, memoryTotalBytes }, migIndex: null }];
}
