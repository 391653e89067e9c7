import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Manifest } from "../manifest/model.ts";
import type { MachinePlaces } from "../machine-places.ts";
import { adoptedPython, adoptStep, comfyuiStep } from "./comfyui-steps.ts";
import {
  packCheckoutStep,
  packScriptStep,
  packStepId,
  type BuildablePack,
} from "./custom-nodes.ts";
import { StepFailure, type MachineLock, type Step } from "./model.ts";
import { planSteps } from "./plan-install.ts";
import { programEnvironment } from "./program-environment.ts";
import { environmentSteps } from "./python-environment.ts";
import { readPythonFacts } from "./python/python-facts.ts";
import {
  isWhole,
  lockStep,
  saveClasses,
  switchStep,
  type LockFacts,
} from "./release/finish-steps.ts";
import { setPackAside, type ReleaseBuild } from "./release/release-build.ts";
import type { ResolvedRepository } from "./release/release-inputs.ts";
import type { Releases } from "./release/releases.ts";
import { isLinkRight, makeLink, repositoryLinks } from "./release/repository-links.ts";
import {
  repositoryStep,
  repositoryStepId,
  sharedFoldersStep,
  repositoryLinksStep,
} from "./shared-steps.ts";
import { uvStep, type UvTool } from "./uv-tool.ts";
import { validateStep, type Validation } from "./validate-release.ts";
import type { Trial } from "./validation/trial-run.ts";

/** What the steps of a run are made of. */
export interface Composition {
  readonly manifest: Manifest;
  readonly manifestDigest: string;
  readonly places: MachinePlaces;
  readonly releases: Releases;
  /** Null on a machine without ComfyUI. */
  readonly build: ReleaseBuild | null;
  readonly git: Pick<ReleaseBuild, "git" | "cache"> | null;
  readonly uv: UvTool;
  readonly repositories: readonly ResolvedRepository[];
  /** Of other rooms: models, tools, further files. */
  readonly modelSteps: readonly Step[];
  readonly extraSteps: readonly Step[];
  /** Every step looks for itself, and the release is validated again. */
  readonly isThorough: boolean;
}

/** The steps of a run, in the order in which they are told. */
export function composeSteps(composition: Composition): Step[] {
  const { places, manifest, build, git, repositories, modelSteps, extraSteps } = composition;
  const links = repositoryLinks(places, repositories);
  const shared = [
    sharedFoldersStep(places, manifest.modelFolders.root ?? places.models),
    ...(git === null
      ? []
      : repositories.map((repository) => repositoryStep(places, git.git, git.cache, repository))),
  ];
  if (build === null) {
    return [...shared, repositoryLinksStep(places, links), ...extraSteps, ...modelSteps];
  }
  const release = releaseSteps(composition, build);
  const after = [
    "release.validate",
    "shared.folders",
    ...repositories.map(({ name }) => repositoryStepId(name)),
    ...modelSteps.map(({ id }) => id),
  ];
  return [
    ...shared,
    ...extraSteps,
    ...release.steps,
    ...modelSteps,
    lockStep(build, composition.releases, release.facts, after),
    switchStep(build, composition.releases, {
      async isRight() {
        for (const link of links) if (!(await isLinkRight(places, link))) return false;
        return true;
      },
      async make() {
        for (const link of links) await makeLink(places, link);
      },
    }),
  ];
}

/**
 * Steps of a release that write nothing but what is known of it, and to it: what they find to do is
 * no damage.
 */
const BESIDE_RELEASE: ReadonlySet<string> = new Set([
  "release.validate",
  "release.lock",
  "release.switch",
]);

/** What of a complete release is not as its steps left it, in words; null when all is. */
export async function damageOf(
  steps: readonly Step[],
  signal: AbortSignal,
): Promise<string | null> {
  const own = steps.filter(({ id, lane }) => lane === "release" && !BESIDE_RELEASE.has(id));
  const planned = await planSteps(own, signal);
  const found = planned.find(({ state }) => state !== "done");
  return found === undefined ? null : `${found.title}: ${found.detail}`;
}

interface ReleaseSteps {
  readonly steps: readonly Step[];
  readonly facts: LockFacts;
}

function releaseSteps(composition: Composition, build: ReleaseBuild): ReleaseSteps {
  const { comfyui } = build.inputs;
  return comfyui.kind === "adopted"
    ? adoptedSteps(composition, build, comfyui)
    : clonedSteps(composition, build, comfyui);
}

function clonedSteps(
  composition: Composition,
  build: ReleaseBuild,
  comfyui: Extract<ReleaseBuild["inputs"]["comfyui"], { kind: "clone" }>,
): ReleaseSteps {
  const { isThorough, uv } = composition;
  const packs = build.inputs.nodes.flatMap(({ pack, commit, missing }): BuildablePack[] => {
    if (commit !== null) return [{ pack, commit, missing }];
    build.missing.set(pack.name, missing ?? "its ref could not be resolved");
    return [];
  });
  const environment = environmentSteps(build, packs, isThorough);
  const scripts = packs.map((pack) => packScriptStep(build, pack, environment.pins));
  const isUvNeeded = async (): Promise<boolean> =>
    (await build.condition())?.parts.environment !== true;
  const steps = [
    uvStep(uv, isUvNeeded),
    comfyuiStep(build, comfyui, isThorough),
    ...packs.map((pack) => packCheckoutStep(build, pack, isThorough)),
    environment.environment,
    environment.resolve,
    ...environment.optional,
    environment.packages,
    ...scripts,
    validateStep({
      ...validationOf(build, build.places.comfyui, () => Promise.resolve(build.places.python)),
      setAside: build.isInUse ? undefined : (name) => setPackAside(build, name),
      after: [
        "python.packages",
        ...packs.flatMap(({ pack }) => [
          packStepId(pack.name, "checkout"),
          packStepId(pack.name, "script"),
        ]),
      ],
    }),
  ];
  const facts: LockFacts = {
    ...besideFacts(composition),
    pythonFacts: environment.facts,
    pythonExecutable: () => Promise.resolve(build.places.python),
  };
  return { steps, facts };
}

function adoptedSteps(
  composition: Composition,
  build: ReleaseBuild,
  comfyui: Extract<ReleaseBuild["inputs"]["comfyui"], { kind: "adopted" }>,
): ReleaseSteps {
  const python = async (): Promise<string> => {
    const found = await adoptedPython(comfyui);
    if (found !== undefined) return found;
    throw new StepFailure(
      `${comfyui.folder} has no Python any more`,
      "Name the Python that this ComfyUI runs with as comfyui.adopt.python.",
    );
  };
  const facts: LockFacts = {
    ...besideFacts(composition),
    pythonFacts: async ({ signal }) => {
      const env = programEnvironment(build.hostEnvironment, build.machineRoot);
      return await readPythonFacts(await python(), { run: build.run, env, signal });
    },
    pythonExecutable: python,
  };
  const validation = validationOf(build, comfyui.folder, python);
  return {
    steps: [
      adoptStep(comfyui),
      validateStep({ ...validation, setAside: undefined, after: ["comfyui.adopt"] }),
    ],
    facts,
  };
}

function validationOf(
  build: ReleaseBuild,
  comfyui: string,
  python: () => Promise<string>,
): Omit<Validation, "setAside" | "after"> {
  const trial = async (): Promise<Trial> => ({
    python: await python(),
    comfyui,
    scratch: join(build.places.release, "trial"),
    run: build.run,
    clock: build.clock,
    hostEnvironment: build.hostEnvironment,
    machineRoot: build.machineRoot,
    quickTestMs: build.limits.quickTestMs,
    serverStartMs: build.limits.serverStartMs,
  });
  return {
    trial,
    packs: build.inputs.nodes.map(({ pack }) => ({
      name: pack.name,
      isOptional: pack.optional,
      classes: pack.classes,
    })),
    missing: build.missing,
    isValid: () => isWhole(build),
    onValid: (classes) => saveClasses(build, classes),
  };
}

function besideFacts({
  manifest,
  manifestDigest,
  repositories,
  places,
}: Composition): Pick<LockFacts, "manifestDigest" | "repositories" | "models"> {
  const root = manifest.modelFolders.root ?? places.models;
  return {
    manifestDigest,
    repositories,
    async models() {
      const there: MachineLock["models"] = [];
      for (const { folder, name, sha256, fetch } of manifest.models) {
        if (fetch !== "always") continue;
        const info = await stat(join(root, folder, name)).catch(() => undefined);
        if (info?.isFile() === true) there.push({ folder, name, sha256, sizeBytes: info.size });
      }
      return there;
    },
  };
}
