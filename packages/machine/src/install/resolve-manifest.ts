import { join } from "node:path";
import type { Manifest } from "../manifest/model.ts";
import { adoptionProblem } from "./comfyui-steps.ts";
import type { GitCache, Resolved } from "./git/git-cache.ts";
import { isThere } from "./install-files.ts";
import type { MachineLock } from "./model.ts";
import { withoutUserinfo } from "./redact.ts";
import { headCommit } from "./release/release-condition.ts";
import type {
  ReleaseInputs,
  ResolvedComfyui,
  ResolvedPack,
  ResolvedRepository,
} from "./release/release-inputs.ts";

/** Repositories that are asked at once. */
const PARALLEL = 4;

/** Something that keeps an installation from being begun. */
export interface PlanProblem {
  /** What it is about: `comfyui`, `node x`, `disk`. */
  readonly subject: string;
  readonly message: string;
  readonly advice: string;
}

/** A ref of the manifest, and what it came to. */
export interface PlannedRef {
  readonly subject: string;
  readonly repo: string;
  readonly ref: string;
  readonly commit: string | null;
  /** `lock`: what is installed; nobody was asked. */
  readonly from: "lock" | "remote";
}

/** A manifest with every ref resolved. */
export interface ResolvedManifest {
  /** Null: no ComfyUI in the manifest, or it could not be resolved. */
  readonly inputs: ReleaseInputs | null;
  readonly repositories: readonly ResolvedRepository[];
  readonly refs: readonly PlannedRef[];
  readonly problems: readonly PlanProblem[];
  readonly warnings: readonly string[];
}

/** What resolving works with. */
export interface ResolveOptions {
  readonly manifest: Manifest;
  readonly torchBackend: string;
  /** Of the release that serves. */
  readonly lock: MachineLock | undefined;
  /** Asks for every ref anew; else what is locked for the same repository and ref is kept. */
  readonly isUpdate: boolean;
  /** Undefined without git. */
  readonly cache: GitCache | undefined;
  readonly signal: AbortSignal;
}

interface Wanted {
  readonly subject: string;
  readonly repo: string;
  readonly ref: string;
  readonly locked: string | undefined;
}

/** Resolves all refs of a manifest; what cannot be resolved is a problem, or a warning if optional. */
export async function resolveManifest(options: ResolveOptions): Promise<ResolvedManifest> {
  const { manifest, torchBackend } = options;
  const asked = await resolveAll(wantedRefs(options), options);
  const problems: PlanProblem[] = [];
  const warnings: string[] = [];
  const commitOf = (subject: string): string | null => asked.get(subject)?.commit ?? null;
  const failureOf = (subject: string): PlanProblem | undefined => asked.get(subject)?.problem;

  const comfyui = await resolveComfyui(options, commitOf, problems);
  if (manifest.comfyui !== undefined && !("adopt" in manifest.comfyui)) {
    problems.push(...listOf(failureOf("comfyui")));
  }
  const nodes: ResolvedPack[] = [];
  for (const pack of manifest.nodes) {
    const subject = nodeSubject(pack.name);
    const folder =
      comfyui?.kind === "adopted" ? join(comfyui.folder, "custom_nodes", pack.name) : undefined;
    const failure =
      folder === undefined ? failureOf(subject) : await adoptedPackProblem(subject, folder);
    const commit = folder === undefined ? commitOf(subject) : await headCommit(folder);
    if (failure !== undefined) {
      if (pack.optional) warnings.push(`${subject} is left out: ${failure.message}`);
      else problems.push(failure);
    }
    nodes.push({ pack, commit, missing: failure?.message ?? null });
  }
  const repositories: ResolvedRepository[] = [];
  for (const { name, repo, ref, linkTo } of manifest.repositories) {
    const subject = repositorySubject(name);
    const commit = commitOf(subject);
    if (commit === null) problems.push(...listOf(failureOf(subject)));
    else repositories.push({ name, repo, ref, commit, linkTo: linkTo ?? null });
  }
  for (const { note } of asked.values()) warnings.push(...listOf(note));
  const { python, torch } = manifest;
  return {
    inputs: comfyui === null ? null : { comfyui, nodes, python, torch, torchBackend },
    repositories,
    refs: [...asked.values()].map(({ planned }) => planned),
    problems,
    warnings,
  };
}

/**
 * What stands for the manifest while it is held back: the release that serves, which nothing is to be
 * made of, with the shared repositories that belong to it. Nobody is asked.
 */
export function resolveServing(manifest: Manifest, lock: MachineLock): ResolvedManifest {
  const repositories = lock.repositories.map((locked) => {
    const entry = manifest.repositories.find(({ name }) => name === locked.name);
    // The lock keeps no password; the manifest's address of the same repository may have one.
    const repo = same(locked, { repo: entry?.repo ?? "", ref: locked.ref })
      ? (entry?.repo ?? locked.repo)
      : locked.repo;
    return { ...locked, repo, linkTo: entry?.linkTo ?? null };
  });
  return { inputs: null, repositories, refs: [], problems: [], warnings: [] };
}

/** Nothing is written into an adopted folder, so a pack that is not there cannot be brought. */
async function adoptedPackProblem(
  subject: string,
  folder: string,
): Promise<PlanProblem | undefined> {
  if (await isThere(folder)) return undefined;
  return {
    subject,
    message: `${folder} is not there, and Holdfast writes nothing into an adopted ComfyUI`,
    advice: "Install the pack there yourself, or give comfyui.repo and comfyui.ref instead.",
  };
}

const listOf = <T>(item: T | undefined): T[] => (item === undefined ? [] : [item]);
const nodeSubject = (name: string): string => `node ${name}`;
const repositorySubject = (name: string): string => `repository ${name}`;

async function resolveComfyui(
  { manifest }: ResolveOptions,
  commitOf: (subject: string) => string | null,
  problems: PlanProblem[],
): Promise<ResolvedComfyui | null> {
  const { comfyui } = manifest;
  if (comfyui === undefined) return null;
  if ("adopt" in comfyui) {
    const { folder, python } = comfyui.adopt;
    const adopted = { kind: "adopted" as const, folder, python: python ?? null };
    const problem = await adoptionProblem(adopted);
    if (problem === undefined) return adopted;
    const { message, advice } = problem;
    problems.push({ subject: "comfyui", message, advice });
    return null;
  }
  const commit = commitOf("comfyui");
  if (commit === null) return null;
  return { kind: "clone", repo: comfyui.repo, ref: comfyui.ref, commit };
}

const same = (
  entry: { readonly repo: string | null; readonly ref: string | null } | undefined,
  wanted: { readonly repo: string; readonly ref: string },
): boolean => entry?.repo === withoutUserinfo(wanted.repo) && entry.ref === wanted.ref;

function wantedRefs({ manifest, lock }: ResolveOptions): Wanted[] {
  const { comfyui } = manifest;
  const isClone = comfyui !== undefined && !("adopt" in comfyui);
  return [
    ...(isClone
      ? [
          {
            subject: "comfyui",
            ...comfyui,
            locked: same(lock?.comfyui, comfyui) ? (lock?.comfyui.commit ?? undefined) : undefined,
          },
        ]
      : []),
    ...(isClone ? manifest.nodes : []).map(({ name, repo, ref }) => ({
      subject: nodeSubject(name),
      repo,
      ref,
      locked: lock?.nodes.find((node) => node.name === name && same(node, { repo, ref }))?.commit,
    })),
    ...manifest.repositories.map(({ name, repo, ref }) => ({
      subject: repositorySubject(name),
      repo,
      ref,
      locked: lock?.repositories.find((entry) => entry.name === name && same(entry, { repo, ref }))
        ?.commit,
    })),
  ];
}

interface Answer {
  readonly planned: PlannedRef;
  readonly commit: string | null;
  readonly problem: PlanProblem | undefined;
  /** Worth a warning, though it was resolved. */
  readonly note: string | undefined;
}

async function resolveAll(
  wanted: readonly Wanted[],
  options: ResolveOptions,
): Promise<ReadonlyMap<string, Answer>> {
  const answers = new Map<string, Answer>();
  const queue = [...wanted];
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      answers.set(next.subject, await resolveOne(next, options));
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  // In the order of the manifest, whoever answered first.
  return new Map(
    wanted.flatMap(({ subject }) => {
      const answer = answers.get(subject);
      return answer === undefined ? [] : [[subject, answer] as const];
    }),
  );
}

async function resolveOne(wanted: Wanted, options: ResolveOptions): Promise<Answer> {
  const { subject, ref, locked } = wanted;
  const repo = withoutUserinfo(wanted.repo);
  const answer = (
    commit: string | null,
    from: PlannedRef["from"],
    problem?: PlanProblem,
    note?: string,
  ): Answer => ({ planned: { subject, repo, ref, commit, from }, commit, problem, note });
  if (locked !== undefined && !options.isUpdate) return answer(locked, "lock");
  const resolved: Resolved =
    options.cache === undefined
      ? { kind: "failed", failure: NO_GIT }
      : await options.cache.resolve({ url: wanted.repo, ref }, options.signal);
  if (resolved.kind === "commit") return answer(resolved.commit, "remote");
  const { message, advice } = resolved.failure;
  const optional = options.manifest.nodes.some(
    (pack) => pack.optional && nodeSubject(pack.name) === subject,
  );
  if (locked !== undefined && optional) {
    return answer(locked, "lock", undefined, `${subject} stays as it is: ${message}`);
  }
  return answer(null, "remote", { subject, message, advice });
}

const NO_GIT = {
  kind: "other",
  message: "git is not installed",
  advice: "Install git (for Debian and Ubuntu: apt-get install git).",
} as const;
