import { createHash } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { z } from "zod";
import { leftOut, packRequirements, packStepId, type BuildablePack } from "./custom-nodes.ts";
import { isProgram, isThere, readIfThere, writeWhole } from "./install-files.ts";
import { StepFailure, type Step, type StepContext } from "./model.ts";
import { programEnvironment } from "./program-environment.ts";
import { hasTorchSource, packageSources } from "./python/package-sources.ts";
import { brokenPins, describePinBreak, normalName, parsePins, pinLines } from "./python/pins.ts";
import { readPythonFacts, type PythonFacts } from "./python/python-facts.ts";
import {
  explainConflict,
  readGroups,
  resolveTogether,
  type RequirementGroup,
  type Resolver,
} from "./python/resolve-packages.ts";
import { callUv, uvStepFailure } from "./python/uv-pip.ts";
import { noteWhenMissing, type ReleaseBuild } from "./release/release-build.ts";

const FIND_TIMEOUT_MS = 60_000;
const VENV_TIMEOUT_MS = 900_000;
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

const resolutionSchema = z.object({
  /** Of everything that went into it. */
  digest: z.string(),
  /** Optional packs that are part of it, by name, with the digest of their requirements. */
  accepted: z.record(z.string(), z.string()),
  constraints: z.string(),
  requirements: z.string(),
});
type SavedResolution = z.infer<typeof resolutionSchema>;

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

function venvStep(build: ReleaseBuild): Step {
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

interface OpenResolution {
  readonly resolver: Resolver;
  saved(): Promise<SavedResolution | undefined>;
  save(resolution: SavedResolution): Promise<void>;
  /** Groups of everything that is required. */
  required(): Promise<RequirementGroup[]>;
  groupOf(pack: BuildablePack): Promise<RequirementGroup>;
  digest(groups: readonly RequirementGroup[]): Promise<string>;
}

function openResolution(build: ReleaseBuild, packs: readonly BuildablePack[]): OpenResolution {
  const { places, settings } = build;
  const file = join(places.build, "resolution.json");
  const groupOf = async (pack: BuildablePack): Promise<RequirementGroup> => ({
    title: `the pack "${pack.pack.name}"`,
    files: await packRequirements(build, pack),
  });
  return {
    resolver: { uv: build.uv, settings, python: places.python, buildFolder: places.build },
    async saved() {
      const text = await readIfThere(file);
      if (text === undefined) return undefined;
      const parsed = resolutionSchema.safeParse(JSON.parse(text));
      return parsed.success ? parsed.data : undefined;
    },
    save: (resolution) => writeWhole(file, JSON.stringify(resolution)),
    groupOf,
    async required() {
      const groups: RequirementGroup[] = [];
      const comfyui = join(places.comfyui, "requirements.txt");
      if (await isThere(comfyui)) groups.push({ title: "ComfyUI", files: [comfyui] });
      groups.push(await ownPackages(build));
      if (hasTorchSource(settings)) groups.push(await torchPackages(build));
      for (const pack of packs) if (!pack.pack.optional) groups.push(await groupOf(pack));
      return groups.filter(({ files }) => files.length > 0);
    },
    digest: async (groups) =>
      createHash("sha256")
        .update(JSON.stringify([settings, await readGroups(groups)]))
        .digest("hex"),
  };
}

/**
 * The manifest's packages, and pip, which many a pack's install.py calls; an installation without an
 * index has only what the folders hold, so pip is not asked for there.
 */
async function ownPackages(build: ReleaseBuild): Promise<RequirementGroup> {
  const { python } = build.settings;
  const lines = [...(python.noIndex ? [] : ["pip"]), ...python.packages];
  if (lines.length === 0) return { title: "the manifest", files: [] };
  const file = join(build.places.build, "packages.in");
  await writeWhole(file, `${lines.join("\n")}\n`);
  return { title: "python.packages of the manifest", files: [file] };
}

async function torchPackages(build: ReleaseBuild): Promise<RequirementGroup> {
  const file = join(build.places.build, "torch.in");
  await writeWhole(file, `${build.settings.torch.packages.join("\n")}\n`);
  return { title: "torch.packages of the manifest", files: [file] };
}

/** The constraints of everything: the manifest's, and torch's packages pinned to their exact builds. */
async function makeConstraints(
  build: ReleaseBuild,
  resolver: Resolver,
  context: StepContext,
): Promise<string> {
  const { python, torch } = build.settings;
  const own = python.constraints.map((line) => `${line}\n`).join("");
  if (!hasTorchSource(build.settings)) return own;
  const group = await torchPackages(build);
  const resolved = await resolveTogether(resolver, [group], own, context, "torch");
  if (resolved.kind === "conflict") {
    throw new StepFailure(
      `torch for the backend ${build.settings.torchBackend} cannot be had:\n${resolved.explanation}`,
      "Check torch.backend, torch.indexUrl and torch.packages, and python.constraints against them.",
    );
  }
  const names = new Set(
    torch.packages.map((spec) => normalName(/^[A-Za-z0-9._-]+/.exec(spec)?.[0] ?? spec)),
  );
  const pins = [...parsePins(resolved.pins)].filter(([name]) => names.has(name));
  context.log(`torch: ${pins.map(([name, version]) => `${name} ${version}`).join(", ")}`);
  return own + pinLines(new Map(pins));
}

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

async function acceptedGroups(
  build: ReleaseBuild,
  saved: SavedResolution,
  resolution: OpenResolution,
): Promise<RequirementGroup[]> {
  const groups: RequirementGroup[] = [];
  for (const { pack, commit, missing } of build.inputs.nodes) {
    if (commit === null || saved.accepted[pack.name] === undefined) continue;
    groups.push(await resolution.groupOf({ pack, commit, missing }));
  }
  return groups;
}

function packagesStep(
  build: ReleaseBuild,
  resolution: OpenResolution,
  facts: EnvironmentSteps["facts"],
  isThorough: boolean,
): Step {
  const { places } = build;
  const marker = join(places.build, "installed");
  const digestOf = (text: string): string => createHash("sha256").update(text).digest("hex");
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
              ...["pip", "install", "--python", places.python, "--no-deps", "--compile-bytecode"],
              ...(isThorough ? ["--reinstall"] : []),
              ...args,
              "-r",
              file,
            ],
            env,
            timeoutMs: INSTALL_TIMEOUT_MS,
          },
          context,
        );
        if (result.kind !== "succeeded") {
          throw uvStepFailure("The packages cannot be installed", result);
        }
      }
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
