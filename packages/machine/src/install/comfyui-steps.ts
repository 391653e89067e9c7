import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { checkOut, isCheckedOut, missingFiles, restoreMissingFiles } from "./git/checkout.ts";
import { isFolder, isProgram, isThere } from "./install-files.ts";
import { StepFailure, type Step } from "./model.ts";
import { withoutUserinfo } from "./redact.ts";
import type { ReleaseBuild } from "./release/release-build.ts";
import type { ResolvedComfyui } from "./release/release-inputs.ts";

/** Folders without which ComfyUI does not start (COMFYUI-FACTS F24: `os.listdir` of a missing one). */
const NEEDED_FOLDERS = ["custom_nodes", "models", "input", "output", "temp", "user"] as const;

/** Checks ComfyUI out into the release. With `isThorough` files that were deleted are put back. */
export function comfyuiStep(
  build: ReleaseBuild,
  comfyui: Extract<ResolvedComfyui, { kind: "clone" }>,
  isThorough: boolean,
): Step {
  const { places, git, cache } = build;
  const checkout = {
    url: comfyui.repo,
    ref: comfyui.ref,
    commit: comfyui.commit,
    folder: places.comfyui,
    buildFolder: join(places.build, "comfyui"),
  };
  return {
    id: "comfyui.checkout",
    title: `ComfyUI at ${comfyui.ref} (${comfyui.commit.slice(0, 8)})`,
    isOptional: false,
    after: [],
    lane: "release",
    async check({ signal }) {
      if (!(await isCheckedOut(checkout))) return { kind: "needed", detail: "not checked out" };
      if (!(await isThere(join(places.comfyui, "main.py")))) {
        return { kind: "needed", detail: "main.py is gone" };
      }
      const gone = isThorough ? await missingFiles(git, places.comfyui, signal) : [];
      return gone.length > 0
        ? { kind: "needed", detail: `${gone.length} of its files are gone` }
        : { kind: "done", detail: `checked out at ${comfyui.commit}` };
    },
    async apply({ signal, log }) {
      if (await isCheckedOut(checkout)) await restoreMissingFiles(git, places.comfyui, signal);
      else await checkOut(git, cache, checkout, signal, log);
      for (const name of NEEDED_FOLDERS) {
        await mkdir(join(places.comfyui, name), { recursive: true });
      }
    },
    async verify() {
      if (await isThere(join(places.comfyui, "main.py"))) return;
      await rm(places.comfyui, { recursive: true, force: true });
      throw new StepFailure(
        `${withoutUserinfo(checkout.url)} at ${checkout.ref} has no main.py: it is not ComfyUI`,
        "Check comfyui.repo and comfyui.ref of the manifest.",
      );
    },
  };
}

/** Where the Python of an adopted ComfyUI may be when the manifest names none. */
const ADOPTED_PYTHONS = ["venv/bin/python", ".venv/bin/python"] as const;

/** The Python of an adopted ComfyUI; undefined when there is none. */
export async function adoptedPython(
  comfyui: Extract<ResolvedComfyui, { kind: "adopted" }>,
): Promise<string | undefined> {
  const candidates =
    comfyui.python === null
      ? ADOPTED_PYTHONS.map((path) => join(comfyui.folder, path))
      : [comfyui.python];
  for (const python of candidates) if (await isProgram(python)) return python;
  return undefined;
}

/** Why a folder cannot be adopted, and what to do; undefined when it can. */
export async function adoptionProblem(
  comfyui: Extract<ResolvedComfyui, { kind: "adopted" }>,
): Promise<StepFailure | undefined> {
  const { folder } = comfyui;
  if (!(await isFolder(folder))) {
    return new StepFailure(`${folder} is not a folder`, "Check comfyui.adopt.folder.");
  }
  if (!(await isThere(join(folder, "main.py")))) {
    return new StepFailure(
      `${folder} has no main.py: it is not ComfyUI`,
      "Name the folder in which ComfyUI's main.py is.",
    );
  }
  if ((await adoptedPython(comfyui)) !== undefined) return undefined;
  return new StepFailure(
    comfyui.python === null
      ? `${folder} has none of ${ADOPTED_PYTHONS.join(", ")}`
      : `${comfyui.python} is not a program`,
    "Name the Python that this ComfyUI runs with as comfyui.adopt.python.",
  );
}

/** Looks at an adopted ComfyUI; nothing is ever written into its folder. */
export function adoptStep(comfyui: Extract<ResolvedComfyui, { kind: "adopted" }>): Step {
  const look = async (): Promise<void> => {
    const problem = await adoptionProblem(comfyui);
    if (problem !== undefined) throw problem;
  };
  return {
    id: "comfyui.adopt",
    title: `ComfyUI in ${comfyui.folder}, which is somebody else's`,
    isOptional: false,
    after: [],
    lane: "release",
    async check() {
      await look();
      return { kind: "done", detail: `${comfyui.folder} is used as it is` };
    },
    apply: look,
    verify: look,
  };
}
