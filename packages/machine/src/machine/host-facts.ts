import { statfs } from "node:fs/promises";
import { availableParallelism, freemem, totalmem } from "node:os";
import { dirname } from "node:path";
import type { HostFacts } from "./machine-report.ts";

/** What the host has, and what is free on the disk of a folder (or of the nearest one above it). */
export async function readHostFacts(folder: string): Promise<HostFacts> {
  const disk = await diskOf(folder);
  return {
    cpuCount: availableParallelism(),
    memoryTotalBytes: totalmem(),
    memoryFreeBytes: freemem(),
    diskTotalBytes: disk?.total ?? null,
    diskFreeBytes: disk?.free ?? null,
  };
}

async function diskOf(
  folder: string,
): Promise<{ readonly total: number; readonly free: number } | undefined> {
  const facts = await statfs(folder).catch(() => undefined);
  if (facts !== undefined) {
    return { total: facts.blocks * facts.bsize, free: facts.bavail * facts.bsize };
  }
  return dirname(folder) === folder ? undefined : await diskOf(dirname(folder));
}
