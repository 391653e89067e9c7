import { rm } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { isProgram, isThere, writeWhole } from "../install-files.ts";
import { StepFailure, type Step, type StepContext } from "../model.ts";
import type { ReleaseBuild } from "../release/release-build.ts";
import { callUv, uvStepFailure } from "./uv-pip.ts";

const FIND_TIMEOUT_MS = 60_000;
const VENV_TIMEOUT_MS = 900_000;

/** Makes the environment of a release, from an interpreter that is there or that uv brings. */
export function venvStep(build: ReleaseBuild): Step {
  const { places, settings } = build;
  const marker = join(places.build, "venv-ready");
  const isReady = async (): Promise<boolean> =>
    (await isProgram(places.python)) &&
    (await isThere(join(places.venv, "pyvenv.cfg"))) &&
    (await isThere(marker));
  return {
    id: "python.environment",
    title: `Python ${settings.python.version} of its own`,
    isOptional: false,
    after: ["comfyui.checkout", "tools.uv"],
    lane: "release",
    async check() {
      if (await isReady()) return { kind: "done", detail: places.venv };
      return { kind: "needed", detail: "there is no environment yet" };
    },
    async apply(context) {
      const interpreter = await findInterpreter(build, context);
      // What was installed into the one before went with it.
      await rm(marker, { force: true });
      await rm(join(places.build, "installed"), { force: true });
      await rm(join(places.build, "scripts"), { recursive: true, force: true });
      const result = await callUv(
        build.uv,
        {
          args: ["venv", "--clear", "--no-project", "--python", interpreter, "--", places.venv],
          timeoutMs: VENV_TIMEOUT_MS,
        },
        context,
      );
      if (result.kind !== "succeeded") {
        throw uvStepFailure(`The environment of Python ${interpreter} cannot be made`, result);
      }
      await writeWhole(marker, interpreter);
    },
    async verify() {
      if (await isReady()) return;
      throw new StepFailure(
        `uv made no working environment in ${places.venv}`,
        "Run the installation again.",
      );
    },
  };
}

async function findInterpreter(build: ReleaseBuild, context: StepContext): Promise<string> {
  const { version } = build.settings.python;
  if (isAbsolute(version)) {
    if (await isProgram(version)) return version;
    throw new StepFailure(
      `python.version names ${version}, and there is no such program`,
      "Name an interpreter that is there, or a version like 3.11.",
    );
  }
  const found = await callUv(
    build.uv,
    {
      args: ["python", "find", "--no-python-downloads", "--no-project", "--system", "--", version],
      timeoutMs: FIND_TIMEOUT_MS,
      isQuiet: true,
    },
    context,
  );
  if (found.kind === "succeeded" && found.stdout.trim() !== "") return found.stdout.trim();
  if (build.allowPythonDownloads) {
    context.log(`no Python ${version} on this machine: uv downloads one`);
    return version;
  }
  throw new StepFailure(
    `there is no Python ${version} on this machine, and it may not be downloaded`,
    `Install Python ${version}, name another in python.version, or allow the download.`,
  );
}
