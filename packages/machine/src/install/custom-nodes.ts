import { rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { checkOut, isCheckedOut, missingFiles, restoreMissingFiles } from "./git/checkout.ts";
import { isThere, readIfThere, writeWhole } from "./install-files.ts";
import { StepFailure, type Step } from "./model.ts";
import { programEnvironment } from "./program-environment.ts";
import { scriptSources } from "./python/package-sources.ts";
import { brokenPins, describePinBreak, parsePins } from "./python/pins.ts";
import { readPythonFacts } from "./python/python-facts.ts";
import { describeProgramEnd } from "./run-program.ts";
import { noteWhenMissing, setAsideFolder, type ReleaseBuild } from "./release/release-build.ts";
import type { ResolvedPack } from "./release/release-inputs.ts";

const DEFAULT_REQUIREMENTS = "requirements.txt";

/** A pack whose commit is known. */
export type BuildablePack = ResolvedPack & { readonly commit: string };

/** Id of a step of a pack. */
export const packStepId = (name: string, part: "checkout" | "requirements" | "script"): string =>
  `node:${name}.${part}`;

/** Folder of a pack in its release. */
export const packFolder = (build: ReleaseBuild, name: string): string =>
  join(build.places.customNodes, name);

/** The requirement files of a checked-out pack. Throws when one that the manifest names is not there. */
export async function packRequirements(
  build: ReleaseBuild,
  { pack }: BuildablePack,
): Promise<string[]> {
  const folder = packFolder(build, pack.name);
  if (pack.requirements === undefined) {
    const file = join(folder, DEFAULT_REQUIREMENTS);
    return (await isThere(file)) ? [file] : [];
  }
  const files = pack.requirements.map((path) => join(folder, path));
  for (const file of files) {
    if (await isThere(file)) continue;
    throw new StepFailure(
      `the pack "${pack.name}" has no file ${file.slice(folder.length + 1)} at ${pack.ref}`,
      "Check `requirements` of that pack in the manifest.",
    );
  }
  return files;
}

const scriptMarker = (build: ReleaseBuild, name: string): string =>
  join(build.places.build, "scripts", name);

/** Checks a pack out into its release. */
export function packCheckoutStep(
  build: ReleaseBuild,
  resolved: BuildablePack,
  isThorough: boolean,
): Step {
  const { pack, commit } = resolved;
  const folder = packFolder(build, pack.name);
  const checkout = {
    url: pack.repo,
    ref: pack.ref,
    commit,
    folder,
    buildFolder: join(build.places.build, `node-${pack.name}`),
  };
  return noteWhenMissing(build, pack.name, {
    id: packStepId(pack.name, "checkout"),
    title: `Custom nodes ${pack.name} at ${pack.ref} (${commit.slice(0, 8)})`,
    isOptional: pack.optional,
    after: ["comfyui.checkout"],
    lane: "release",
    async check({ signal }) {
      const left = await leftOut(build, pack.name);
      if (left !== undefined) return { kind: "done", detail: left };
      if (!(await isCheckedOut(checkout))) return { kind: "needed", detail: "not checked out" };
      const gone = isThorough ? await missingFiles(build.git, folder, signal) : [];
      return gone.length > 0
        ? { kind: "needed", detail: `${gone.length} of its files are gone` }
        : { kind: "done", detail: `checked out at ${commit}` };
    },
    async apply({ signal, log }) {
      if (await isCheckedOut(checkout)) {
        await restoreMissingFiles(build.git, folder, signal);
        return;
      }
      // What a script made in the folder goes with it.
      await rm(scriptMarker(build, pack.name), { force: true });
      await checkOut(build.git, build.cache, checkout, signal, log);
      await rm(setAsideFolder(build, pack.name), { recursive: true, force: true });
    },
    verify: async () => void (await packRequirements(build, resolved)),
  });
}

/** Why a complete release has gone without that optional pack; noted again for its lock. */
export async function leftOut(build: ReleaseBuild, name: string): Promise<string | undefined> {
  const node = (await build.condition())?.lock.nodes.find((entry) => entry.name === name);
  if (node === undefined || node.missing === null) return undefined;
  build.missing.set(name, node.missing);
  return `left out of this release: ${node.missing}`;
}

/** Runs a pack's `install.py`, held to the packages as they were resolved. */
export function packScriptStep(
  build: ReleaseBuild,
  resolved: BuildablePack,
  pins: () => Promise<string>,
): Step {
  const { pack, commit } = resolved;
  const folder = packFolder(build, pack.name);
  const marker = scriptMarker(build, pack.name);
  return noteWhenMissing(build, pack.name, {
    id: packStepId(pack.name, "script"),
    title: `Custom nodes ${pack.name}: install.py`,
    isOptional: pack.optional,
    after: [
      "python.packages",
      packStepId(pack.name, "checkout"),
      ...(pack.optional ? [packStepId(pack.name, "requirements")] : []),
    ],
    lane: "release",
    async check() {
      const left = await leftOut(build, pack.name);
      if (left !== undefined) return { kind: "done", detail: left };
      if (!pack.installScript) return { kind: "done", detail: "the manifest says not to run it" };
      if (!(await isThere(join(folder, "install.py")))) {
        return { kind: "done", detail: "it has none" };
      }
      return (await readIfThere(marker)) === commit
        ? { kind: "done", detail: "has been run" }
        : { kind: "needed", detail: "not run yet" };
    },
    async apply({ signal, log }) {
      const pinsFile = join(build.places.build, "pins.txt");
      await writeWhole(pinsFile, await pins());
      const result = await build.run({
        command: build.places.python,
        args: ["-u", "install.py"],
        cwd: folder,
        env: scriptEnvironment(build, pinsFile),
        timeoutMs: build.limits.installScriptMs,
        signal,
        onLine: log,
      });
      if (result.kind === "succeeded") return;
      throw new StepFailure(
        `install.py of the pack "${pack.name}" did not succeed: ${describeProgramEnd(result)}`,
        "Look at its lines above, choose another ref, or set `installScript: false` for that pack if it does without.",
      );
    },
    async verify({ signal }) {
      const env = programEnvironment(build.hostEnvironment, build.machineRoot);
      const facts = await readPythonFacts(build.places.python, { run: build.run, env, signal });
      const broken = brokenPins(parsePins(await pins()), facts.packages);
      if (broken.length > 0) {
        throw new StepFailure(
          `install.py of the pack "${pack.name}" changed packages of others: ${broken.map(describePinBreak).join("; ")}`,
          "Run the installation again to put them back; set `installScript: false` for that pack, or choose another ref.",
        );
      }
      await writeWhole(marker, commit);
    },
  });
}

function scriptEnvironment(build: ReleaseBuild, pinsFile: string): Record<string, string> {
  const { venv } = build.places;
  const path = build.hostEnvironment["PATH"] ?? "/usr/bin:/bin";
  return programEnvironment(build.hostEnvironment, build.machineRoot, {
    ...scriptSources(build.settings, pinsFile),
    VIRTUAL_ENV: venv,
    PATH: `${join(venv, "bin")}${delimiter}${path}`,
    PYTHONUNBUFFERED: "1",
    GIT_TERMINAL_PROMPT: "0",
  });
}
