import { dirname } from "node:path";
import type { Disk } from "@holdfast/agent";
import type { SimProcess } from "./process.ts";

/** A machine's disk: outlives its processes, and is as full as a fault makes it. */
export interface SimDisk {
  isFull: boolean;
  /** The disk as one process sees it: every call takes a moment, and a dead process makes none. */
  mount(process: SimProcess): Disk;
  /** Paths of all files. */
  files(): readonly string[];
}

const CALL_MS = 0.05;

/** An empty disk. */
export function createDisk(): SimDisk {
  const files = new Map<string, Buffer>();
  const folders = new Set<string>();
  const disk: SimDisk = {
    isFull: false,
    files: () => [...files.keys()],
    mount: (process) => mount(process, disk, files, folders),
  };
  return disk;
}

function mount(
  process: SimProcess,
  disk: SimDisk,
  files: Map<string, Buffer>,
  folders: Set<string>,
): Disk {
  const call = <T>(run: () => T): Promise<T> =>
    new Promise((resolve, reject) => {
      process.after(CALL_MS, () => {
        try {
          resolve(run());
        } catch (error) {
          reject(error as Error);
        }
      });
    });
  const write = (path: string, bytes: Buffer): void => {
    if (disk.isFull) throw fault("ENOSPC", path);
    if (!folders.has(dirname(path))) throw fault("ENOENT", path);
    files.set(path, bytes);
  };
  const read = (path: string): Buffer => {
    const bytes = files.get(path);
    if (bytes === undefined) throw fault("ENOENT", path);
    return bytes;
  };
  return {
    mkdir: (folder) => call(() => void folders.add(folder)),
    readdir: (folder) =>
      call(() => {
        const inside = [...files.keys()].filter((path) => dirname(path) === folder);
        return inside.map((path) => path.slice(folder.length + 1)).sort();
      }),
    readFile: (path) => call(() => read(path).toString("utf8")),
    writeFile: (path, content) => call(() => write(path, Buffer.from(content))),
    open: (path) =>
      call(() => {
        write(path, Buffer.alloc(0));
        return {
          writeFile: (bytes) => call(() => write(path, Buffer.concat([read(path), bytes]))),
          close: () => call(() => undefined),
        };
      }),
    rename: (from, to) =>
      call(() => {
        files.set(to, read(from));
        files.delete(from);
      }),
    rm: (path) => call(() => void files.delete(path)),
    size: (path) => call(() => read(path).length),
    read: async function* pieces(path) {
      yield await call(() => read(path));
    },
  };
}

function fault(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path} (simulated)`), { code });
}
