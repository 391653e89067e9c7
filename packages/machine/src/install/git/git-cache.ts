import { createHash } from "node:crypto";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { assertNever, type Clock } from "@holdfast/runtime";
import { withFileLock } from "@holdfast/runtime/host";
import { isFolder, isThere } from "../install-files.ts";
import { withoutUserinfo } from "../redact.ts";
import { toGitFailure, type GitFailure } from "./git-failure.ts";
import { runGit, type GitOptions } from "./git-program.ts";
import { decideRef, parseRemoteRefs } from "./remote-refs.ts";

const LS_REMOTE_TIMEOUT_MS = 60_000;
const FETCH_TIMEOUT_MS = 3_600_000;
const LOCAL_TIMEOUT_MS = 120_000;
const LOCK_TIMEOUT_MS = 3_600_000;

/** What a ref came to. */
export type Resolved =
  | { readonly kind: "commit"; readonly commit: string; readonly name: string | null }
  | { readonly kind: "failed"; readonly failure: GitFailure };

/** A repository and where in it. */
export interface GitSource {
  readonly url: string;
  readonly ref: string;
}

/** Bare clones of repositories, one a URL, that hold no more than was asked for. */
export interface GitCache {
  /** Asks the remote what a ref is now. Of a whole commit it does not ask more than it must. */
  resolve(source: GitSource, signal: AbortSignal): Promise<Resolved>;
  /** The bare clone with that commit in it; fetched when it is not there. */
  ensureCommit(
    source: GitSource,
    commit: string,
    signal: AbortSignal,
    onLine?: (line: string) => void,
  ): Promise<{ readonly mirror: string } | { readonly failure: GitFailure }>;
}

/** Name of the folder of a repository in the cache. */
export function mirrorName(url: string): string {
  return `${createHash("sha256").update(withoutUserinfo(url)).digest("hex").slice(0, 24)}.git`;
}

/** Makes the {@link GitCache} in a folder. Safe to be killed at any instant, and to be removed. */
export function createGitCache(
  git: GitOptions & { readonly folder: string; readonly clock: Clock },
): GitCache {
  const mirrors: Mirrors = {
    git,
    inMirror: async (url, signal, fn) => {
      const mirror = join(git.folder, mirrorName(url));
      await mkdir(git.folder, { recursive: true });
      // Lanes and a plan may want the same repository at once.
      const lock = { clock: git.clock, timeoutMs: LOCK_TIMEOUT_MS, signal };
      return await withFileLock(`${mirror}.lock`, lock, async () => {
        await removeGitLocks(mirror);
        return await fn(mirror);
      });
    },
  };
  return {
    resolve: (source, signal) => resolve(mirrors, source, signal),
    ensureCommit: (source, commit, signal, onLine) =>
      ensureCommit(mirrors, source, commit, signal, onLine),
  };
}

interface Mirrors {
  readonly git: GitOptions & { readonly folder: string };
  inMirror<T>(url: string, signal: AbortSignal, fn: (mirror: string) => Promise<T>): Promise<T>;
}

async function resolve(
  mirrors: Mirrors,
  source: GitSource,
  signal: AbortSignal,
): Promise<Resolved> {
  const { git } = mirrors;
  const { url, ref } = source;
  const shown = withoutUserinfo(url);
  const listed = await runGit(git, {
    args: ["ls-remote", "--", url, "HEAD", "refs/heads/*", "refs/tags/*", ...fullName(ref)],
    cwd: "/",
    signal,
    timeoutMs: LS_REMOTE_TIMEOUT_MS,
  });
  if (listed.kind !== "succeeded") return { kind: "failed", failure: toGitFailure(url, listed) };
  const decision = decideRef(ref, parseRemoteRefs(listed.stdout));
  switch (decision.kind) {
    case "found":
      return { kind: "commit", commit: decision.commit, name: decision.name };
    case "commit":
      return { kind: "commit", commit: decision.commit, name: null };
    case "abbreviated":
      return await resolveAbbreviated(mirrors, source, signal);
    case "ambiguous":
      return refMissing(
        `${ref} begins more than one commit of ${shown}: ${decision.commits.join(", ")}`,
        "Write more of the commit.",
      );
    case "missing": {
      const near = decision.nearest.map((name) => `"${name}"`).join(", ");
      return refMissing(
        `${shown} has no branch, tag or commit "${ref}"`,
        near === ""
          ? "Name a branch, tag or commit that the repository has."
          : `Name one that it has; near to it are ${near}.`,
      );
    }
    default:
      return assertNever(decision);
  }
}

const fullName = (ref: string): string[] => (ref.startsWith("refs/") ? [ref, `${ref}^{}`] : []);

function refMissing(message: string, advice: string): Resolved {
  return { kind: "failed", failure: { kind: "ref_missing", message, advice } };
}

/** Only the history tells what the beginning of a commit means, so all of it is fetched. */
async function resolveAbbreviated(
  mirrors: Mirrors,
  { url, ref }: GitSource,
  signal: AbortSignal,
): Promise<Resolved> {
  return await mirrors.inMirror(url, signal, async (mirror) => {
    const { git } = mirrors;
    const parse = async (): Promise<string | undefined> => {
      const args = ["rev-parse", "--verify", "--quiet", "--end-of-options", `${ref}^{commit}`];
      const call = { args, cwd: mirror, signal, timeoutMs: LOCAL_TIMEOUT_MS };
      const parsed = await runGit(git, call);
      return parsed.kind === "succeeded" ? parsed.stdout.trim() : undefined;
    };
    const made = await ensureMirror(git, url, mirror, signal);
    if (made !== undefined) return { kind: "failed", failure: made };
    const fetched = await runGit(git, {
      args: [...(await isShallow(mirror)), "--", url, ...EVERYTHING],
      cwd: mirror,
      signal,
      timeoutMs: FETCH_TIMEOUT_MS,
    });
    if (fetched.kind !== "succeeded") {
      return { kind: "failed", failure: toGitFailure(url, fetched) };
    }
    const commit = await parse();
    return commit === undefined
      ? refMissing(
          `${withoutUserinfo(url)} has no branch or tag "${ref}", and no commit of its history begins so, or more than one does`,
          "Name a branch, a tag or a whole commit.",
        )
      : { kind: "commit", commit, name: null };
  });
}

const EVERYTHING = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
const FETCH = ["fetch", "--no-tags", "--force", "--no-write-fetch-head"];

async function isShallow(mirror: string): Promise<string[]> {
  return (await isThere(join(mirror, "shallow"))) ? [...FETCH, "--unshallow"] : FETCH;
}

async function ensureMirror(
  git: GitOptions,
  url: string,
  mirror: string,
  signal: AbortSignal,
): Promise<GitFailure | undefined> {
  if (!(await isFolder(mirror))) await mkdir(mirror, { recursive: true });
  // Repeated on purpose: it completes one that was half made.
  const args = ["init", "--bare", "--quiet"];
  const made = await runGit(git, { args, cwd: mirror, signal, timeoutMs: LOCAL_TIMEOUT_MS });
  return made.kind === "succeeded" ? undefined : toGitFailure(url, made);
}

async function ensureCommit(
  mirrors: Mirrors,
  source: GitSource,
  commit: string,
  signal: AbortSignal,
  onLine?: (line: string) => void,
): Promise<{ readonly mirror: string } | { readonly failure: GitFailure }> {
  return await mirrors.inMirror(source.url, signal, async (mirror) => {
    const first = await fetchCommit(mirrors.git, { ...source, commit, mirror, signal, onLine });
    if (first === undefined) return { mirror };
    // A mirror that a crash of the machine spoiled is made anew, once; the network is not to blame.
    if (first.kind !== "other" || signal.aborted) return { failure: first };
    await rm(mirror, { recursive: true, force: true });
    const second = await fetchCommit(mirrors.git, { ...source, commit, mirror, signal, onLine });
    return second === undefined ? { mirror } : { failure: second };
  });
}

interface Fetch extends GitSource {
  readonly commit: string;
  readonly mirror: string;
  readonly signal: AbortSignal;
  readonly onLine: ((line: string) => void) | undefined;
}

async function fetchCommit(git: GitOptions, fetch: Fetch): Promise<GitFailure | undefined> {
  const { url, ref, commit, mirror, signal } = fetch;
  const made = await ensureMirror(git, url, mirror, signal);
  if (made !== undefined) return made;
  // Kept under a ref of ours, so that nothing takes it for garbage.
  const keep = `refs/holdfast/${commit}`;
  if (await hasCommit(git, fetch, keep)) return undefined;
  // A commit by itself is taken by GitHub, GitLab and all that speak protocol 2; else what the ref
  // is now, if it is that commit still; else everything.
  const attempts: readonly string[][] = [
    [...FETCH, "--depth=1", "--", url, `+${commit}:${keep}`],
    [...FETCH, "--depth=1", "--", url, `+${ref}:refs/holdfast/tip`],
    [...(await isShallow(mirror)), "--", url, ...EVERYTHING],
  ];
  let failure: GitFailure | undefined;
  for (const args of attempts) {
    const call = { args, cwd: mirror, signal, timeoutMs: FETCH_TIMEOUT_MS, onLine: fetch.onLine };
    const fetched = await runGit(git, call);
    if (fetched.kind !== "succeeded") {
      failure = toGitFailure(url, fetched);
      if (failure.kind !== "ref_missing" && failure.kind !== "other") return failure;
    } else if (await keepCommit(git, fetch, keep)) return undefined;
  }
  if (failure?.kind === "other") return failure;
  return {
    kind: "ref_missing",
    message: `${withoutUserinfo(url)} has no commit ${commit} (for "${ref}")`,
    advice: "Name a commit that the repository has; it may have been pushed over.",
  };
}

async function hasCommit(git: GitOptions, fetch: Fetch, keep: string): Promise<boolean> {
  const args = ["rev-parse", "--verify", "--quiet", `${keep}^{tree}`];
  const call = { args, cwd: fetch.mirror, signal: fetch.signal, timeoutMs: LOCAL_TIMEOUT_MS };
  return (await runGit(git, call)).kind === "succeeded";
}

async function keepCommit(git: GitOptions, fetch: Fetch, keep: string): Promise<boolean> {
  const args = ["update-ref", keep, fetch.commit];
  const call = { args, cwd: fetch.mirror, signal: fetch.signal, timeoutMs: LOCAL_TIMEOUT_MS };
  return (await runGit(git, call)).kind === "succeeded" && (await hasCommit(git, fetch, keep));
}

/** Depth to which lock files are looked for: refs are no deeper than that here. */
const LOCK_DEPTH = 4;

/**
 * Removes what a killed git left locked, and half-written packs. Whoever calls it holds the lock of
 * the mirror, and orphans were ended before, so no git is at work in it.
 */
async function removeGitLocks(folder: string, depth = LOCK_DEPTH): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      // The objects by their first two digits hold no locks, and are many.
      if (depth > 0 && !/^[0-9a-f]{2}$/.test(entry.name)) await removeGitLocks(path, depth - 1);
    } else if (entry.name.endsWith(".lock") || entry.name.startsWith("tmp_")) {
      await rm(path, { force: true });
    }
  }
}
