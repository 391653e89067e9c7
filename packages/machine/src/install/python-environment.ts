import { createHash } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { leftOut, packStepId, type BuildablePack } from "./custom-nodes.ts";
import { isThere, readIfThere, writeWhole } from "./install-files.ts";
import { StepFailure, type Step, type StepContext } from "./model.ts";
import { programEnvironment } from "./program-environment.ts";
import { createInstallProgress } from "./python/install-progress.ts";
import { packageSources } from "./python/package-sources.ts";
import { brokenPins, describePinBreak, parsePins, pinLines } from "./python/pins.ts";
import { readPythonFacts, type PythonFacts } from "./python/python-facts.ts";
import {
  acceptedGroups,
  makeConstraints,
  openResolution,
  type OpenResolution,
} from "./python/release-resolution.ts";
import { explainConflict, resolveTogether } from "./python/resolve-packages.ts";
import { callUv, uvStepFailure } from "./python/uv-pip.ts";
import { venvStep } from "./python/venv-step.ts";
import { noteWhenMissing, type ReleaseBuild } from "./release/release-build.ts";

const INSTALL_TIMEOUT_MS = 3 * 3_600_000;

/** Steps that make a release's environment, and the pins that it holds. */
export interface EnvironmentSteps {
  readonly environment: Step;
  readonly resolve: Step;
  /** Of each optional pack: whether its requirements fit as well. */
  readonly optional: readonly Step[];
  readonly packages: Step;
  /** The resolved packages as `name==version` lines; empty before they are resolved. */
  readonly pins: () => Promise<string>;
  /** What the environment holds now. */
  readonly facts: (context: StepContext) => Promise<PythonFacts>;
}

/**
 * The environment of a release: all requirements (ComfyUI's, the manifest's packages, all packs') are
 * resolved as one set under one file of constraints (the manifest's, and torch pinned to its exact
 * build), so no pack can change what another needs. Each optional pack is added when it fits.
 */
export function environmentSteps(
  build: ReleaseBuild,
  packs: readonly BuildablePack[],
  isThorough: boolean,
): EnvironmentSteps {
  const resolution = openResolution(build, packs);
  const facts = (context: StepContext): Promise<PythonFacts> =>
    readPythonFacts(build.places.python, {
      run: build.run,
      env: programEnvironment(build.hostEnvironment, build.machineRoot),
      signal: context.signal,
    });
  const pins = async (): Promise<string> =>
    pinLines(parsePins((await resolution.saved())?.requirements ?? ""));
  return {
    environment: venvStep(build),
    resolve: resolveStep(build, packs, resolution),
    optional: packs
      .filter(({ pack }) => pack.optional)
      .map((pack) => optionalStep(build, pack, resolution)),
    packages: packagesStep(build, resolution, facts, isThorough),
    pins,
    facts,
  };
}

const isUnchanged = async (build: ReleaseBuild): Promise<boolean> =>
  (await build.condition())?.parts.environment === true;

function resolveStep(
  build: ReleaseBuild,
  packs: readonly BuildablePack[],
  resolution: OpenResolution,
): Step {
  return {
    id: "python.resolve",
    title: "Packages that all fit together",
    isOptional: false,
    after: [
      "python.environment",
      ...packs
        .filter(({ pack }) => !pack.optional)
        .map(({ pack }) => packStepId(pack.name, "checkout")),
    ],
    lane: "release",
    async check() {
      if (await isUnchanged(build)) return { kind: "done", detail: "the environment is as made" };
      const saved = await resolution.saved();
      if (saved === undefined || !(await isThere(build.places.comfyui))) {
        return { kind: "needed", detail: "not resolved yet" };
      }
      return saved.digest === (await resolution.digest(await resolution.required()))
        ? { kind: "done", detail: "resolved before from the same requirements" }
        : { kind: "needed", detail: "the requirements are others than before" };
    },
    async apply(context) {
      const groups = await resolution.required();
      const constraints = await makeConstraints(build, resolution.resolver, context);
      const resolved = await resolveTogether(resolution.resolver, groups, constraints, context);
      if (resolved.kind === "conflict") {
        throw await explainConflict(resolution.resolver, groups, constraints, context);
      }
      context.log(`${parsePins(resolved.pins).size} packages`);
      await resolution.save({
        digest: await resolution.digest(groups),
        accepted: {},
        constraints,
        requirements: resolved.pins,
      });
    },
    verify: async () => undefined,
  };
}

function optionalStep(
  build: ReleaseBuild,
  resolved: BuildablePack,
  resolution: OpenResolution,
): Step {
  const { pack } = resolved;
  return noteWhenMissing(build, pack.name, {
    id: packStepId(pack.name, "requirements"),
    title: `Custom nodes ${pack.name}: packages that fit the others`,
    isOptional: true,
    after: ["python.resolve", packStepId(pack.name, "checkout")],
    lane: "release",
    async check() {
      const left = await leftOut(build, pack.name);
      if (left !== undefined) return { kind: "done", detail: left };
      if (await isUnchanged(build)) return { kind: "done", detail: "the environment is as made" };
      const saved = await resolution.saved();
      const digest = await resolution.digest([await resolution.groupOf(resolved)]);
      return saved?.accepted[pack.name] === digest
        ? { kind: "done", detail: "resolved before with the others" }
        : { kind: "needed", detail: "not resolved with the others yet" };
    },
    async apply(context) {
      const saved = await resolution.saved();
      if (saved === undefined) throw new StepFailure("nothing is resolved", "Run it again.");
      const group = await resolution.groupOf(resolved);
      const before = [
        ...(await resolution.required()),
        ...(await acceptedGroups(build, saved, resolution)),
      ];
      const { resolver } = resolution;
      const both = [...before, group];
      const result = await resolveTogether(resolver, both, saved.constraints, context);
      if (result.kind === "conflict") {
        throw await explainConflict(resolver, both, saved.constraints, context);
      }
      const digest = await resolution.digest([group]);
      await resolution.save({
        ...saved,
        accepted: { ...saved.accepted, [pack.name]: digest },
        requirements: result.pins,
      });
    },
    verify: async () => undefined,
  });
}

const digestOf = (text: string): string => createHash("sha256").update(text).digest("hex");

function packagesStep(
  build: ReleaseBuild,
  resolution: OpenResolution,
  facts: EnvironmentSteps["facts"],
  isThorough: boolean,
): Step {
  const { places } = build;
  const marker = join(places.build, "installed");
  const broken = async (context: StepContext): Promise<string[]> => {
    const pins = parsePins((await resolution.saved())?.requirements ?? "");
    return brokenPins(pins, (await facts(context)).packages).map(describePinBreak);
  };
  return {
    id: "python.packages",
    title: "Packages of ComfyUI and its custom nodes",
    isOptional: false,
    after: [
      "python.resolve",
      ...build.inputs.nodes
        .filter(({ pack, commit }) => pack.optional && commit !== null)
        .map(({ pack }) => packStepId(pack.name, "requirements")),
    ],
    lane: "release",
    async check(context) {
      if (await isUnchanged(build)) return { kind: "done", detail: "the environment is as made" };
      const saved = await resolution.saved();
      if (saved === undefined || (await readIfThere(marker)) !== digestOf(saved.requirements)) {
        return { kind: "needed", detail: "not all are installed" };
      }
      const changed = await broken(context);
      return changed.length === 0
        ? { kind: "done", detail: `${parsePins(saved.requirements).size} packages as resolved` }
        : { kind: "needed", detail: changed.slice(0, 5).join("; ") };
    },
    async apply(context) {
      const saved = await resolution.saved();
      const requirements = saved?.requirements ?? "";
      const file = join(places.build, "resolved.txt");
      await mkdir(places.build, { recursive: true });
      await rm(marker, { force: true });
      await writeWhole(file, requirements);
      if (requirements.trim() !== "") {
        const { args, env } = packageSources(build.settings, "all");
        const result = await callUv(
          build.uv,
          {
            args: [
              "pip",
              "install",
              "--python",
              places.python,
              "--no-deps",
              "--compile-bytecode",
              ...(isThorough ? ["--reinstall"] : []),
              ...args,
              "-r",
              file,
            ],
            env,
            timeoutMs: INSTALL_TIMEOUT_MS,
          },
          withInstallProgress(context),
        );
        if (result.kind !== "succeeded") {
          throw uvStepFailure("The packages cannot be installed", result);
        }
      }
      await offerPip(build, context);
      await writeWhole(marker, digestOf(requirements));
    },
    async verify(context) {
      const changed = await broken(context);
      if (changed.length === 0) return;
      throw new StepFailure(
        `the environment is not as resolved: ${changed.join("; ")}`,
        "Run the installation again; with a thorough look it installs them anew.",
      );
    },
  };
}

/** The same, with progress from the lines of uv. */
function withInstallProgress(context: StepContext): StepContext {
  const read = createInstallProgress();
  return {
    ...context,
    log: (line) => {
      context.log(line);
      const progress = read(line);
      if (progress !== undefined) context.progress(progress);
    },
  };
}

/**
 * Puts pip into the environment, which many a pack's install.py calls. An index without it is no reason
 * to fail: only a script that does call pip misses it, and says so.
 */
async function offerPip(build: ReleaseBuild, context: StepContext): Promise<void> {
  if (!build.inputs.nodes.some(({ pack, commit }) => pack.installScript && commit !== null)) return;
  const { args, env } = packageSources(build.settings, "all");
  const call = ["pip", "install", "--python", build.places.python, "--no-deps", ...args, "pip"];
  const result = await callUv(
    build.uv,
    { args: call, env, timeoutMs: INSTALL_TIMEOUT_MS },
    context,
  );
  if (result.kind === "succeeded") return;
  context.log("pip cannot be had here: an install.py that calls it will fail without it");
}
