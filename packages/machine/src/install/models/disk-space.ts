/** Whether files fit on their disks, before anything is fetched. */
import { stat, statfs } from "node:fs/promises";
import { downloadFailure, type DownloadFailure } from "./download-failure.ts";

/** A disk as it is now. */
export interface DiskSpace {
  /** Tells disks apart. */
  readonly device: string;
  /** Free for us, without what is reserved for the system. */
  readonly freeBytes: number;
}

/** Looks at the disk of a folder that is there. */
export type LookAtDisk = (folder: string) => Promise<DiskSpace>;

/** The machine's disks. */
export const lookAtDisk: LookAtDisk = async (folder) => {
  const [{ dev }, space] = await Promise.all([stat(folder), statfs(folder)]);
  return { device: String(dev), freeBytes: space.bavail * space.bsize };
};

/** What a file still needs of a disk: all of it, without what is kept of it. */
export interface DiskNeed {
  readonly device: string;
  readonly bytes: number;
}

/** Whether everything fits on a disk, with what has to stay free. */
export interface DiskVerdict {
  readonly device: string;
  readonly neededBytes: number;
  readonly freeBytes: number;
  readonly keepFreeBytes: number;
  readonly fits: boolean;
}

/** Judges every disk that something is needed of. Nothing needed fits on the fullest disk. */
export function judgeDisks(
  needs: readonly DiskNeed[],
  disks: readonly DiskSpace[],
  keepFreeBytes: number,
): readonly DiskVerdict[] {
  const free = new Map(disks.map(({ device, freeBytes }) => [device, freeBytes]));
  const needed = new Map<string, number>();
  for (const { device, bytes } of needs) needed.set(device, (needed.get(device) ?? 0) + bytes);
  return [...needed].map(([device, neededBytes]) => {
    const freeBytes = free.get(device) ?? 0;
    const fits = neededBytes === 0 || neededBytes + keepFreeBytes <= freeBytes;
    return { device, neededBytes, freeBytes, keepFreeBytes, fits };
  });
}

/** A verdict that does not fit, in words. */
export function diskShortage(verdict: DiskVerdict, folder: string): DownloadFailure {
  const { neededBytes, keepFreeBytes, freeBytes } = verdict;
  const missing = neededBytes + keepFreeBytes - freeBytes;
  return downloadFailure(
    "disk_full",
    `${sizeText(neededBytes)} are to be fetched to ${folder} and ${sizeText(keepFreeBytes)} have to stay free, ` +
      `but ${sizeText(freeBytes)} are free`,
    `Free ${sizeText(missing)} on that disk, name fewer models, or lower downloads.keepFreeBytes in machine.yaml.`,
  );
}

/** A number of bytes for a person: `12.3 GB`. */
export function sizeText(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
