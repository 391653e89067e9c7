import { asNumber, asText, asTexts, isRecord, member } from "./json-shape.ts";

/** One device of `GET /system_stats`; sizes in bytes. */
export interface DeviceStats {
  readonly name: string;
  /** `cuda`, `cpu`, `mps`, … */
  readonly type: string;
  readonly index: number | undefined;
  readonly vramTotalBytes: number | undefined;
  readonly vramFreeBytes: number | undefined;
}

/** `GET /system_stats` (server.py, 0.3.64); sizes in bytes. */
export interface SystemStats {
  readonly comfyuiVersion: string | undefined;
  readonly pythonVersion: string | undefined;
  readonly pytorchVersion: string | undefined;
  readonly os: string | undefined;
  readonly argv: readonly string[];
  readonly ramTotalBytes: number | undefined;
  readonly ramFreeBytes: number | undefined;
  readonly devices: readonly DeviceStats[];
}

/** Reads `GET /system_stats`; undefined when it is something else. */
export function parseSystemStats(value: unknown): SystemStats | undefined {
  const system = member(value, "system");
  const devices = member(value, "devices");
  if (!isRecord(system)) return undefined;
  return {
    comfyuiVersion: asText(system["comfyui_version"]),
    pythonVersion: asText(system["python_version"]),
    pytorchVersion: asText(system["pytorch_version"]),
    os: asText(system["os"]),
    argv: asTexts(system["argv"]),
    ramTotalBytes: asBytes(system["ram_total"]),
    ramFreeBytes: asBytes(system["ram_free"]),
    devices: Array.isArray(devices) ? devices.map(toDevice) : [],
  };
}

/** What stays the same while a process lives, as one text: for `versions` of `observeProcess`. */
export function versionsOf(stats: SystemStats): string {
  return JSON.stringify([
    stats.comfyuiVersion,
    stats.pythonVersion,
    stats.pytorchVersion,
    stats.argv,
    stats.ramTotalBytes,
    stats.devices.map(({ name, type, index }) => [name, type, index]),
  ]);
}

/** Whole bytes: some device types are measured in floating point. What cannot be a size is unknown. */
function asBytes(value: unknown): number | undefined {
  const bytes = Math.round(asNumber(value) ?? Number.NaN);
  return Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : undefined;
}

function toDevice(value: unknown): DeviceStats {
  return {
    name: asText(member(value, "name")) ?? "",
    type: asText(member(value, "type")) ?? "",
    index: asNumber(member(value, "index")),
    vramTotalBytes: asBytes(member(value, "vram_total")),
    vramFreeBytes: asBytes(member(value, "vram_free")),
  };
}
