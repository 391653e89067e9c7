/** Everything that an installation fetches, on loopback: git, models, packages. */
import { join } from "node:path";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { assertNever } from "@holdfast/runtime";
import { startFileServer, type FileServer } from "./file-server.ts";
import { startGitServer, type GitServer, type ServedRepository } from "./git-server.ts";
import { startPackageIndex, type PackageIndex } from "./package-index.ts";
import { standInPathsWheel, standInTensorWheels } from "./wheel.ts";

/** Sources of the stand-in ComfyUI. */
export const STAND_IN_FOLDER = fileURLToPath(new URL("../stand-in-comfyui", import.meta.url));

/** Ways in which a version of the stand-in is broken. */
export type BreakKind =
  /** `main.py` raises at once. */
  | "does_not_start"
  /** A requirement that no index has. */
  | "bad_requirement"
  /** The quick test is well; the server never answers. */
  | "never_answers"
  /** It starts and answers, and has lost a node class that it had. */
  | "loses_class"
  /** Every trial is well; as an instance of a machine it ends at once. */
  | "fails_in_earnest";

/** A small internet. */
export interface LocalInternet {
  readonly git: GitServer;
  readonly files: FileServer;
  readonly packages: PackageIndex;
  /** The stand-in as a repository, its first commit tagged `v1`. */
  readonly comfyui: ServedRepository;
  /** Commits a broken version of it, tagged if told; returns the commit. */
  breakCommit(kind: BreakKind, tag?: string): string;
  /** Commits a good version on top, with a version of its own that shows in `/system_stats`. */
  goodCommit(version: string, tag?: string): string;
  close(): Promise<void>;
}

/** Starts it; what it keeps on the disk goes below `folder`, which exists. */
export async function startLocalInternet(folder: string): Promise<LocalInternet> {
  const root = join(folder, "internet");
  mkdirSync(root);
  const git = await startGitServer(root);
  const files = await startFileServer();
  const packages = await startPackageIndex([standInPathsWheel(), ...standInTensorWheels()]);
  const comfyui = git.makeRepository("comfyui", { folder: STAND_IN_FOLDER, tag: "v1" });
  const whole = Object.fromEntries(
    ["main.py", "nodes.py", "requirements.txt"].map((file) => [file, comfyui.read(file)]),
  ) as Record<"main.py" | "nodes.py" | "requirements.txt", string>;
  const commit = (message: string, changed: Record<string, string>, tag?: string): string =>
    comfyui.commit({
      message,
      files: { ...whole, ...changed },
      ...(tag !== undefined && { tag }),
    });
  return {
    git,
    files,
    packages,
    comfyui,
    breakCommit: (kind, tag) => commit(`Break: ${kind}`, broken(kind, whole), tag),
    goodCommit: (version, tag) =>
      commit(`Version ${version}`, { "comfyui_version.py": `__version__ = "${version}"\n` }, tag),
    async close() {
      await git.close();
      await files.close();
      await packages.close();
    },
  };
}

function broken(
  kind: BreakKind,
  whole: Readonly<Record<"main.py" | "nodes.py" | "requirements.txt", string>>,
): Record<string, string> {
  const replaced = (
    file: "main.py" | "nodes.py",
    from: string,
    to: string,
  ): Record<string, string> => {
    if (!whole[file].includes(from)) throw new Error(`${file} has no ${JSON.stringify(from)}`);
    return { [file]: whole[file].replace(from, to) };
  };
  switch (kind) {
    case "does_not_start":
      return { "main.py": 'raise RuntimeError("this version was made not to start")\n' };
    case "bad_requirement":
      return { "requirements.txt": `${whole["requirements.txt"]}standin-nowhere==9.9\n` };
    case "never_answers": {
      const entry = "async def serve():\n";
      return replaced("main.py", entry, `${entry}    await asyncio.sleep(36000)\n`);
    }
    case "fails_in_earnest": {
      const entry = "async def serve():\n";
      const end = '    if os.environ.get("HOLDFAST_INSTANCE"):\n        os._exit(5)\n';
      return replaced("main.py", entry, `${entry}${end}`);
    }
    case "loses_class":
      return replaced("nodes.py", "EmptyImage, EmptyLatentImage,", "EmptyLatentImage,");
    default:
      return assertNever(kind);
  }
}
