import type { Clock } from "@holdfast/runtime";
import { NameCounters, type Area, type FileStore, type StoredFile } from "./file-store.ts";

/** How many names are remembered for numbering. */
const MAX_COUNTERS = 200_000;

/** Files in memory, the oldest thrown out when they pass `capBytes`: nothing is left on disk. */
export function createMemoryFiles(clock: Pick<Clock, "now">, capBytes: number): FileStore {
  const files = new Map<string, StoredFile>();
  const folders = new Map<string, Set<string>>();
  const counters = new NameCounters(MAX_COUNTERS);
  let totalBytes = 0;

  const drop = (key: string): boolean => {
    const file = files.get(key);
    if (file === undefined) return false;
    files.delete(key);
    totalBytes -= file.bytes.length;
    const split = key.indexOf("\0");
    const folder = folders.get(key.slice(0, split));
    folder?.delete(key.slice(split + 1));
    if (folder?.size === 0) folders.delete(key.slice(0, split));
    return true;
  };

  return {
    write(area, subfolder, name, bytes) {
      const key = fileKey(area, subfolder, name);
      drop(key);
      files.set(key, { bytes, mtimeMs: clock.now() });
      totalBytes += bytes.length;
      const folder = folderKey(area, subfolder);
      const names = folders.get(folder) ?? new Set();
      names.add(name);
      folders.set(folder, names);
      counters.add(folder, name);
      for (const oldest of files.keys()) {
        if (totalBytes <= capBytes || oldest === key) break;
        drop(oldest);
      }
    },
    read: (area, subfolder, name) => files.get(fileKey(area, subfolder, name)) ?? null,
    remove(area, subfolder, name) {
      const wasThere = drop(fileKey(area, subfolder, name));
      const folder = folderKey(area, subfolder);
      if (wasThere) counters.recount(folder, [...(folders.get(folder) ?? [])]);
      return wasThere;
    },
    list: (area, subfolder) => [...(folders.get(folderKey(area, subfolder)) ?? [])],
    nextNumber: (area, subfolder, prefix) => counters.next(folderKey(area, subfolder), prefix),
    clear(area) {
      for (const key of files.keys()) if (key.startsWith(`${area}/`)) drop(key);
      for (const key of folders.keys()) {
        if (!key.startsWith(`${area}/`)) continue;
        folders.delete(key);
        counters.recount(key, []);
      }
    },
  };
}

function folderKey(area: Area, subfolder: string): string {
  return `${area}/${subfolder}`;
}

function fileKey(area: Area, subfolder: string, name: string): string {
  return `${folderKey(area, subfolder)}\0${name}`;
}
