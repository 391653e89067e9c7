import { releaseDigest } from "../manifest/manifest-digest.ts";
import { composeSteps, damageOf } from "./compose-steps.ts";
import { estimateNote } from "./disk-estimate.ts";
import { createGitCache } from "./git/git-cache.ts";
import { findOnPath } from "./install-files.ts";
import type { InstallerOptions } from "./installer-options.ts";
import type { MachineLock, Step } from "./model.ts";
import { planDisk, planSteps, type InstallPlan } from "./plan-install.ts";
import {
  createCondition,
  DEFAULT_INSTALL_LIMITS,
  releasePlaces,
  type ReleaseBuild,
} from "./release/release-build.ts";
import { heldDamage } from "./release/held-damage.ts";
import { holdInForce, holdWords, readHold, type ReleaseHold } from "./release/release-hold.ts";
import { findUsedByProcesses } from "./release/clean-releases.ts";
import { releaseId, type ReleaseInputs } from "./release/release-inputs.ts";
import { chooseTarget, hasSameInputs, type ReleaseTarget } from "./release/release-target.ts";
import type { Releases } from "./release/releases.ts";
import { linkProblem, nestedLinks, repositoryLinks } from "./release/repository-links.ts";
import {
  resolveManifest,
  resolveServing,
  type PlanProblem,
  type ResolvedManifest,
} from "./resolve-manifest.ts";
import type { RunProgram } from "./run-program.ts";
import { decideTorch, type TorchDecision } from "./torch-decision.ts";
import { createUvTool, hostPlatform, type UvTool } from "./uv-tool.ts";

/** How a run is meant. */
export interface RunMode {
  /** Every ref is asked for anew. */
  readonly isUpdate: boolean;
  /** Looks thoroughly, and validates again. */
  readonly isThorough: boolean;
  /** Goes by the manifest though it is held back; an update does so unless the machine itself holds. */
  readonly isHoldEnded: boolean;
  readonly signal: AbortSignal;
  /** Aborted when the run is over. */
  readonly lifetime: AbortSignal;
}

/** What a run is going to do. */
export interface Prepared {
  readonly plan: InstallPlan;
  readonly steps: readonly Step[];
}

/** Resolves the manifest and looks at everything, without changing anything but the cache of git. */
export async function prepareInstall(
  options: InstallerOptions,
  releases: Releases,
  run: RunProgram,
  mode: RunMode,
): Promise<Prepared> {
  const { manifest, places, ports } = options;
  const lock = await servingLock(releases);
  const git = await findGit(options, run);
  const { hold, served, torch, resolved } = await decideWish(options, releases, mode, {
    lock,
    git,
  });
  const damage = served === undefined ? null : await heldDamage(releases, served);
  const { inputs, repositories } = resolved;
  const uv = uvTool(options, run);
  const beside = {
    manifest,
    manifestDigest: options.digest,
    places,
    releases,
    git,
    uv,
    repositories,
    modelSteps: ports.modelSteps?.(mode.lifetime) ?? [],
    extraSteps: ports.extraSteps?.() ?? [],
    isThorough: mode.isThorough,
  };
  const stepsFor = (target: ReleaseTarget | null): Step[] => {
    if (inputs === null || target === null) return composeSteps({ ...beside, build: null });
    const of = { target, inputs, releases, run, git, mode };
    const build = releaseBuild(options, of, async (context) => {
      return (await uv.ensure(context.signal, (line) => context.log(line))).program;
    });
    return composeSteps({ ...beside, build });
  };
  const target = inputs === null ? null : await targetOf(options, releases, inputs, stepsFor, mode);
  const id = target?.id ?? served?.release ?? null;
  const steps = stepsFor(target);
  const isNewRelease = id !== null && (await releases.lockOf(id)) === undefined;
  const disk = await planDisk(places.root, manifest, isNewRelease ? inputs : null);
  const diskNote =
    isNewRelease && inputs?.comfyui.kind === "clone"
      ? estimateNote(torch.backend, !manifest.python.noIndex)
      : null;
  const models = await ports.planModels?.(mode.signal);
  const links = repositoryLinks(places, repositories);
  const problems = [
    ...resolved.problems,
    ...(torch.problem === null ? [] : [torch.problem]),
    ...(disk.problem === undefined ? [] : [disk.problem]),
    ...(models?.problems ?? []).map((problem) => ({ subject: "models", ...problem })),
    ...(await linkProblems(options, links)),
  ];
  const warnings = [
    ...(hold === null ? [] : [holdWords(hold), ...(mode.isUpdate ? [UPDATE_HELD] : [])]),
    ...(damage === null ? [] : [damage]),
    ...(target === null ? [] : replacementWords(target)),
    ...resolved.warnings,
    ...(torch.warning === null ? [] : [torch.warning]),
    ...(models?.models ?? []).flatMap(({ id, problem }) =>
      problem === null ? [] : [`${id}: ${problem.message}`],
    ),
    ...((models?.unknownSizes ?? 0) > 0
      ? [`${models?.unknownSizes} models are to be fetched whose size nobody knows`]
      : []),
  ];
  const plan: InstallPlan = {
    releaseId: id,
    isNewRelease,
    hold,
    torchBackend: torch.backend,
    refs: resolved.refs,
    steps: problems.length > 0 ? [] : await planSteps(steps, mode.signal),
    needBytes: disk.needBytes + (models?.fetchBytes ?? 0),
    freeBytes: disk.freeBytes,
    diskNote,
    warnings,
    problems,
  };
  return { plan, steps };
}

/** What a run goes by: the manifest, or, while that is held back, the release that serves. */
interface Wish {
  /** Null: the manifest counts. */
  readonly hold: ReleaseHold | null;
  readonly served: MachineLock | undefined;
  readonly torch: TorchDecision;
  readonly resolved: ResolvedManifest;
}

const UPDATE_HELD =
  "every ref was asked for anew and comes to the same release as the one that did not work: nothing is made; `holdfast machine install --end-hold` goes by it all the same";

/**
 * An update is somebody's word against an operator's rollback. What the machine itself has left it
 * would only make serve, and leave, once more: that is for an update that comes to something else.
 */
async function decideWish(
  options: InstallerOptions,
  releases: Releases,
  mode: RunMode,
  of: { readonly lock: MachineLock | undefined; readonly git: FoundGit | null },
): Promise<Wish> {
  const { manifest } = options;
  const { isUpdate, signal } = mode;
  const { lock, git } = of;
  const wishUnder = async (hold: ReleaseHold | null): Promise<Wish> => {
    const served = hold === null ? undefined : lock;
    const torch = await torchBackend(options, lock, served !== undefined, signal);
    const asked = { torchBackend: torch.backend, lock, isUpdate, cache: git?.cache, signal };
    const resolved =
      served === undefined
        ? await resolveManifest({ manifest, ...asked })
        : resolveServing(manifest, served);
    return { hold, served, torch, resolved };
  };
  const found = mode.isHoldEnded ? null : await findHold(options, releases);
  if (found === null || !isUpdate) return await wishUnder(found);
  const wish = await wishUnder(null);
  const { inputs } = wish.resolved;
  const isLeft =
    found.by === "machine" &&
    found.from !== null &&
    inputs !== null &&
    hasSameInputs(releaseId(inputs), found.from);
  return isLeft ? await wishUnder(found) : wish;
}

/** Where the release of these inputs is to be. Of an adopted ComfyUI nothing is made that could be damaged. */
async function targetOf(
  { ports }: InstallerOptions,
  releases: Releases,
  inputs: ReleaseInputs,
  stepsFor: (target: ReleaseTarget) => Step[],
  { signal }: RunMode,
): Promise<ReleaseTarget> {
  const base = releaseId(inputs);
  if (inputs.comfyui.kind === "adopted") return { id: base, isInUse: false, replaces: null };
  return await chooseTarget(base, {
    releases,
    findUsed: ports.findUsed ?? findUsedByProcesses,
    damageOf: (id) => damageOf(stepsFor({ id, isInUse: true, replaces: null }), signal),
  });
}

function replacementWords({ id, replaces }: ReleaseTarget): string[] {
  if (replaces === null) return [];
  return [
    `release ${replaces.id} serves and is not as it was made: ${replaces.damage}; release ${id} is made beside it, and takes its place`,
  ];
}

/** The lock of the release that serves; undefined when none does. */
export async function servingLock(releases: Releases): Promise<MachineLock | undefined> {
  const id = await releases.currentId();
  return id === undefined ? undefined : await releases.lockOf(id);
}

/** The hold that counts for the manifest of these options; null when there is none. */
export async function findHold(
  { places, manifest }: Pick<InstallerOptions, "manifest" | "places">,
  releases: Releases,
): Promise<ReleaseHold | null> {
  const serving = (await servingLock(releases))?.release;
  const hold = await readHold(places.releaseHold);
  return holdInForce(hold, { manifest: releaseDigest(manifest), serving });
}

async function torchBackend(
  { manifest, ports }: InstallerOptions,
  lock: MachineLock | undefined,
  isHeld: boolean,
  signal: AbortSignal,
): Promise<TorchDecision> {
  const { backend } = manifest.torch;
  // What serves stays as it is: the cards are not asked.
  if (isHeld && lock !== undefined) {
    return { backend: lock.torch.backend, warning: null, problem: null };
  }
  const { comfyui } = manifest;
  const asWritten = { backend, warning: null, problem: null };
  if (backend === "none" || comfyui === undefined) return asWritten;
  const chosen = await ports.chooseTorchBackend?.(signal);
  if (chosen === undefined) return asWritten;
  // Into an adopted ComfyUI no PyTorch is installed: which one would fit is a word of advice.
  return decideTorch("adopt" in comfyui ? { ...chosen, uncertain: null } : chosen, lock);
}

type FoundGit = Pick<ReleaseBuild, "git" | "cache">;

async function findGit(
  { places, settings, clock }: InstallerOptions,
  run: RunProgram,
): Promise<FoundGit | null> {
  const program = await findOnPath("git", settings.hostEnvironment["PATH"]);
  if (program === undefined) return null;
  const { hostEnvironment } = settings;
  const git = { program, run, hostEnvironment, machineRoot: places.root };
  return { git, cache: createGitCache({ ...git, folder: places.gitCache, clock }) };
}

function releaseBuild(
  { manifest, places, settings, clock }: InstallerOptions,
  of: {
    readonly target: ReleaseTarget;
    readonly inputs: ReleaseInputs;
    readonly releases: Releases;
    readonly run: RunProgram;
    readonly git: FoundGit | null;
    readonly mode: RunMode;
  },
  uvProgram: ReleaseBuild["uv"]["program"],
): ReleaseBuild | null {
  const { target, inputs, releases, run, git, mode } = of;
  const { id } = target;
  if (git === null && inputs.comfyui.kind === "clone") return null;
  const folder = releases.folder(id);
  const { hostEnvironment } = settings;
  const none = { program: "git", run, hostEnvironment, machineRoot: places.root };
  return {
    id,
    inputs,
    settings: { python: manifest.python, torch: manifest.torch, torchBackend: inputs.torchBackend },
    places: releasePlaces(folder),
    git: git?.git ?? none,
    cache: git?.cache ?? createGitCache({ ...none, folder: places.gitCache, clock }),
    uv: { run, hostEnvironment, machineRoot: places.root, cwd: folder, program: uvProgram },
    run,
    clock,
    hostEnvironment,
    machineRoot: places.root,
    allowPythonDownloads: settings.allowPythonDownloads,
    limits: { ...DEFAULT_INSTALL_LIMITS, ...settings.limits },
    condition: createCondition(releases, id, mode.isThorough),
    isInUse: target.isInUse,
    isReplacement: target.replaces !== null,
    missing: new Map(),
  };
}

/** The uv that releases of these options are made with. */
export function uvTool({ manifest, places, settings }: InstallerOptions, run: RunProgram): UvTool {
  const { indexUrl, findLinks, noIndex } = manifest.python;
  return createUvTool({
    configured: settings.uvProgram,
    tools: places.tools,
    machineRoot: places.root,
    run,
    hostEnvironment: settings.hostEnvironment,
    platform: hostPlatform(),
    indexUrl,
    findLinks,
    noIndex,
  });
}

async function linkProblems(
  { places }: InstallerOptions,
  links: ReturnType<typeof repositoryLinks>,
): Promise<PlanProblem[]> {
  const problems: PlanProblem[] = nestedLinks(links).map(({ outer, inner }) => ({
    subject: `repository ${inner.name}`,
    message: `its linkTo ${inner.linkTo} is at or inside ${outer.linkTo} of the repository "${outer.name}"`,
    advice: "Give them links that are beside each other.",
  }));
  for (const link of links) {
    const problem = await linkProblem(places, link);
    if (problem === undefined) continue;
    const { message, advice } = problem;
    problems.push({ subject: `repository ${link.name}`, message, advice });
  }
  return problems;
}
