/** Reads versions, and the memory of MIG devices, out of nvidia-smi's reports. */

/** What a report says, of whichever form it is. */
export interface SmiReport {
  readonly driverVersion: string | null;
  /** Newest CUDA that the driver takes. */
  readonly cudaVersion: string | null;
  readonly gpus: readonly ReportedGpu[];
}

/** A card in a report in XML. */
export interface ReportedGpu {
  readonly busId: string;
  readonly uuid: string | null;
  readonly name: string | null;
  readonly memoryTotalBytes: number | null;
  readonly recoveryAction: string | null;
  readonly migDevices: readonly {
    readonly index: number;
    readonly memoryTotalBytes: number | null;
  }[];
}

const MIB = 1024 ** 2;

/**
 * Takes `-q -x` (XML; DTDs v10 to v13 were seen), `-q`, `--version` and the plain table. Cards are
 * told from XML alone. It is no XML parser: nvidia-smi writes one element a line, without attributes
 * but the card's id, and what does not look so is not known.
 */
export function parseReport(text: string): SmiReport {
  return {
    driverVersion: firstOf(text, [
      /<driver_version>\s*([\d.]+)\s*</,
      /Driver Version\s*:\s*([\d.]+)/i,
    ]),
    cudaVersion: firstOf(text, [
      /<cuda_version>\s*(\d+\.\d+)\s*</,
      /CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)/i,
    ]),
    gpus: [...text.matchAll(/<gpu id="([^"]+)">([\s\S]*?)<\/gpu>/g)].map(([, id, body]) =>
      toGpu(id!, body!),
    ),
  };
}

function toGpu(busId: string, body: string): ReportedGpu {
  const slices = element(body, "mig_devices") ?? "";
  const card = body.replace(/<mig_devices>[\s\S]*?<\/mig_devices>/, "");
  return {
    busId,
    uuid: known(element(card, "uuid")),
    name: known(element(card, "product_name")),
    memoryTotalBytes: totalMemory(card),
    recoveryAction: known(element(card, "gpu_recovery_action")),
    migDevices: [...slices.matchAll(/<mig_device>([\s\S]*?)<\/mig_device>/g)].flatMap(
      ([, slice]) => {
        const index = element(slice!, "index");
        return index === null || !/^\d+$/.test(index)
          ? []
          : [{ index: Number(index), memoryTotalBytes: totalMemory(slice!) }];
      },
    ),
  };
}

function totalMemory(body: string): number | null {
  const total = element(element(body, "fb_memory_usage") ?? "", "total");
  const match = /^(\d+) MiB$/.exec(total ?? "");
  return match === null ? null : Number(match[1]) * MIB;
}

function element(body: string, name: string): string | null {
  return new RegExp(`<${name}>([\\s\\S]*?)</${name}>`).exec(body)?.[1]?.trim() ?? null;
}

function known(text: string | null): string | null {
  return text === null || /^(?:|N\/A|\[.*\]|ERR!|REDACTED|Unknown Error)$/i.test(text)
    ? null
    : text;
}

function firstOf(text: string, patterns: readonly RegExp[]): string | null {
  for (const pattern of patterns) {
    const found = pattern.exec(text)?.[1];
    if (found !== undefined) return found;
  }
  return null;
}
