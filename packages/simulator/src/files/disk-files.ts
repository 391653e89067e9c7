import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { NameCounters, type Area, type FileStore } from "./file-store.ts";

/** How many names are remembered for numbering. */
const MAX_COUNTERS = 200_000;

/** Files under a folder: `input/`, `output/`, `temp/`, as ComfyUI lays them out. */
export function createDiskFiles(root: string): FileStore {
  for (const area of ["input", "output", "temp"]) {
    mkdirSync(path.join(root, area), { recursive: true });
  }
  const counters = new NameCounters(MAX_COUNTERS);
  const counted = new Set<string>();

  const folderOf = (area: Area, subfolder: string): string => path.join(root, area, subfolder);
  const list = (area: Area, subfolder: string): readonly string[] => {
    try {
      return readdirSync(folderOf(area, subfolder), { withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => entry.name);
    } catch {
      // A folder that is not there has no files.
      return [];
    }
  };
  const count = (area: Area, subfolder: string): string => {
    const folder = folderOf(area, subfolder);
    if (!counted.has(folder)) {
      counted.add(folder);
      counters.recount(folder, list(area, subfolder));
    }
    return folder;
  };

  return {
    write(area, subfolder, name, bytes) {
      const folder = count(area, subfolder);
      mkdirSync(folder, { recursive: true });
      writeFileSync(path.join(folder, name), bytes);
      counters.add(folder, name);
    },
    read(area, subfolder, name) {
      const file = path.join(folderOf(area, subfolder), name);
      try {
        return { bytes: readFileSync(file), mtimeMs: statSync(file).mtimeMs };
      } catch {
        // Gone, or never there: the caller answers 404.
        return null;
      }
    },
    remove(area, subfolder, name) {
      const folder = count(area, subfolder);
      const wasThere = list(area, subfolder).includes(name);
      rmSync(path.join(folder, name), { force: true });
      counters.recount(folder, list(area, subfolder));
      return wasThere;
    },
    list,
    nextNumber: (area, subfolder, prefix) => counters.next(count(area, subfolder), prefix),
    clear(area) {
      rmSync(path.join(root, area), { recursive: true, force: true });
      mkdirSync(path.join(root, area), { recursive: true });
      counted.clear();
    },
  };
}
