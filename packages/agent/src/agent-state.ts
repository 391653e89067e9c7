import { join } from "node:path";
import type { AgentLog } from "./agent-log.ts";
import type { Disk } from "./disk.ts";

/**
 * What an agent keeps over restarts, in `agent.json` of its folder; beside it, in `boot`, which
 * process was the last to open the folder.
 */
export interface AgentState {
  machineId(): string | null;
  setMachineId(machineId: string): Promise<void>;
  /** The check prompt that is in an instance's history as long as its process lives. */
  marker(key: string): string | undefined;
  setMarker(key: string, promptId: string): void;
  /** No process has opened the folder since this one. What cannot be read counts as no. */
  isNewest(): Promise<boolean>;
  /** Resolves when everything is on disk. */
  flush(): Promise<void>;
}

interface Stored {
  readonly machineId: string | null;
  readonly markers: Readonly<Record<string, string>>;
}

/** Opens the folder, making it if need be. A file that cannot be read counts as none. */
export async function openAgentState(
  folder: string,
  bootId: string,
  log: AgentLog,
  disk: Disk,
): Promise<AgentState> {
  await disk.mkdir(folder);
  const path = join(folder, "agent.json");
  const bootPath = join(folder, "boot");
  await disk.writeFile(`${bootPath}.tmp`, bootId);
  await disk.rename(`${bootPath}.tmp`, bootPath);
  let stored = await readStored(disk, path);
  let writing: Promise<void> = Promise.resolve();
  const write = (): Promise<void> => {
    writing = writing.then(async () => {
      // Whole or not at all: a kill in between must not cost the machine its id.
      await disk.writeFile(`${path}.tmp`, `${JSON.stringify(stored, null, 2)}\n`);
      await disk.rename(`${path}.tmp`, path);
    });
    return writing;
  };
  return {
    machineId: () => stored.machineId,
    setMachineId: async (machineId) => {
      if (stored.machineId === machineId) return;
      stored = { ...stored, machineId };
      await write();
    },
    marker: (key) => (Object.hasOwn(stored.markers, key) ? stored.markers[key] : undefined),
    setMarker: (key, promptId) => {
      stored = { ...stored, markers: { ...stored.markers, [key]: promptId } };
      write().catch((err: unknown) => log.warn({ err }, "agent's state could not be written"));
    },
    isNewest: async () => {
      const newest = await disk.readFile(bootPath).catch(() => undefined);
      return newest === bootId;
    },
    flush: () => writing.catch(() => undefined), // Told where it was written.
  };
}

async function readStored(disk: Disk, path: string): Promise<Stored> {
  const empty: Stored = { machineId: null, markers: {} };
  let value: unknown;
  try {
    value = JSON.parse(await disk.readFile(path));
  } catch {
    return empty;
  }
  if (typeof value !== "object" || value === null) return empty;
  const machineId = "machineId" in value ? value.machineId : null;
  const markers = "markers" in value ? value.markers : {};
  return {
    machineId: typeof machineId === "string" ? machineId : null,
    markers: Object.fromEntries(
      Object.entries(typeof markers === "object" && markers !== null ? markers : {}).filter(
        (pair): pair is [string, string] => typeof pair[1] === "string",
      ),
    ),
  };
}
