import { access, readFile } from "node:fs/promises";
import { join } from "node:path";

/** What tells of an AMD GPU that can compute. */
export interface RocmFacts {
  /** `/dev/kfd`: the kernel's driver is loaded, and open to this process or not. */
  readonly hasKfd: boolean;
  /** ROCm's own files (`/opt/rocm`). */
  readonly hasRocm: boolean;
  /** Its version; null when there is none or it does not say. */
  readonly version: string | null;
}

/** Looks below `root` (tests use another than `/`). */
export async function readRocmFacts(root = "/"): Promise<RocmFacts> {
  const isThere = async (path: string): Promise<boolean> => {
    try {
      await access(join(root, path));
      return true;
    } catch {
      return false;
    }
  };
  const [hasKfd, hasFolder, hasProgram] = await Promise.all(
    ["dev/kfd", "opt/rocm", "usr/bin/rocminfo"].map((path) => isThere(path)),
  );
  // `6.4.1-83`
  const text = await readFile(join(root, "opt/rocm/.info/version"), "utf8").catch(() => "");
  const version = /^\s*(\d+\.\d+(?:\.\d+)?)/.exec(text)?.[1] ?? null;
  return { hasKfd: hasKfd === true, hasRocm: hasFolder === true || hasProgram === true, version };
}
