import type { GpuReading } from "./model.ts";
import { bytesOf, faultOf, isErrorsAlone, numberOf, textOf, type QueryRow } from "./parse-query.ts";

/** What the card itself has to be asked for. */
const MEASURED_FIELDS: readonly string[] = [
  "memory.total",
  "memory.used",
  "memory.free",
  "utilization.gpu",
  "temperature.gpu",
  "power.draw",
  "power.limit",
];
/** Fields that every driver of the last ten years knows. */
export const NEEDED_FIELDS: readonly string[] = [
  "index",
  "uuid",
  "name",
  "pci.bus_id",
  "driver_version",
  ...MEASURED_FIELDS,
];
/** Asked for when the driver has them: one unknown field fails the whole query. */
export const OPTIONAL_FIELDS: readonly string[] = [
  "mig.mode.current",
  "compute_cap",
  "gpu_recovery_action",
];

/** The fields that `nvidia-smi --help-query-gpu` lists, their older names too. */
export function parseQueryHelp(text: string): ReadonlySet<string> {
  const lines = text.split(/\r?\n/).filter((line) => line.startsWith('"'));
  return new Set(lines.flatMap((line) => [...line.matchAll(/"([\w.]+)"/g)].map((one) => one[1]!)));
}

/** Rows as readings, by index. A row without an index says of no card what it says: it is left out. */
export function toReadings(rows: readonly QueryRow[]): readonly GpuReading[] {
  return rows
    .flatMap((row): GpuReading[] => {
      const index = numberOf(row, "index");
      return index === null || !Number.isInteger(index) || index < 0 ? [] : [toReading(row, index)];
    })
    .sort((a, b) => a.index - b.index);
}

/** Rows of errors alone that do not even tell of which card they are. */
export function namelessErrors(rows: readonly QueryRow[]): number {
  return rows.filter((row) => numberOf(row, "index") === null && isUnreadable(row)).length;
}

function isUnreadable(row: QueryRow): boolean {
  return isErrorsAlone(row, MEASURED_FIELDS);
}

function toReading(row: QueryRow, index: number): GpuReading {
  const mig = textOf(row, "mig.mode.current");
  return {
    index,
    uuid: textOf(row, "uuid"),
    name: textOf(row, "name"),
    busId: textOf(row, "pci.bus_id"),
    driverVersion: textOf(row, "driver_version"),
    computeCapability: textOf(row, "compute_cap"),
    isMig: mig === null ? null : mig === "Enabled",
    memoryTotalBytes: bytesOf(row, "memory.total"),
    memoryUsedBytes: bytesOf(row, "memory.used"),
    memoryFreeBytes: bytesOf(row, "memory.free"),
    utilizationPercent: numberOf(row, "utilization.gpu"),
    temperatureC: numberOf(row, "temperature.gpu"),
    powerDrawW: numberOf(row, "power.draw"),
    powerLimitW: numberOf(row, "power.limit"),
    recoveryAction: textOf(row, "gpu_recovery_action"),
    fault: faultOf(row) ?? (isUnreadable(row) ? "unreadable" : null),
  };
}
