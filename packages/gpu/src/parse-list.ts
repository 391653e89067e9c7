/** A slice of a card. */
export interface ListedMigDevice {
  readonly index: number;
  /** `3g.40gb`. */
  readonly profile: string;
  readonly uuid: string;
}

/** A card as `nvidia-smi -L` lists it. */
export interface ListedGpu {
  readonly index: number;
  readonly name: string;
  readonly uuid: string;
  readonly migDevices: readonly ListedMigDevice[];
}

/**
 * Reads `nvidia-smi -L`, which alone tells the UUIDs of MIG devices. Lines that are no device are
 * left out: what they say of failures is `smi-failure.ts`'s to read.
 */
export function parseList(text: string): readonly ListedGpu[] {
  const gpus: (ListedGpu & { migDevices: ListedMigDevice[] })[] = [];
  for (const line of text.split(/\r?\n/)) {
    const gpu = /^GPU (\d+): (.+) \(UUID: (GPU-[^)\s]+)\)\s*$/.exec(line);
    if (gpu !== null) {
      gpus.push({ index: Number(gpu[1]), name: gpu[2]!.trim(), uuid: gpu[3]!, migDevices: [] });
      continue;
    }
    const mig = /^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)\s]+)\)\s*$/.exec(line);
    if (mig !== null) {
      const device = { index: Number(mig[2]), profile: mig[1]!, uuid: mig[3]! };
      gpus.at(-1)?.migDevices.push(device);
    }
  }
  return gpus;
}
