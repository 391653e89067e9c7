import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readIfThere, isThere } from "../install-files.ts";
import { StepFailure } from "../model.ts";
import { withoutUserinfo } from "../redact.ts";
import type { GitCache, GitSource } from "./git-cache.ts";
import { gitStepFailure, toGitFailure } from "./git-failure.ts";
import { runGit, type GitOptions } from "./git-program.ts";

const CHECKOUT_TIMEOUT_MS = 900_000;
const SUBMODULE_TIMEOUT_MS = 3_600_000;

/** A commit that should be in a folder. */
export interface Checkout extends GitSource {
  readonly commit: string;
  readonly folder: string;
  /** Beside nothing that is read: where it is put together; of the same file system as `folder`. */
  readonly buildFolder: string;
}

/** Whether a folder holds a checkout of that commit: a whole one, since it gets its name last. */
export async function isCheckedOut({ folder, commit }: Checkout): Promise<boolean> {
  return (await readIfThere(join(folder, ".git", "HEAD")))?.trim() === commit;
}

/**
 * Checks a commit out into a folder that owes nothing to the cache: it may be cleaned. Put together
 * beside and renamed, so that a kill leaves nothing half; what was in the folder before is replaced.
 * Submodules are fetched, shallow. Throws a {@link StepFailure}.
 */
export async function checkOut(
  git: GitOptions,
  cache: GitCache,
  checkout: Checkout,
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<void> {
  const { url, commit, folder, buildFolder } = checkout;
  const found = await cache.ensureCommit(checkout, commit, signal, onLine);
  if ("failure" in found) throw gitStepFailure(found.failure);
  await rm(buildFolder, { recursive: true, force: true });
  await mkdir(buildFolder, { recursive: true });
  const run = async (args: readonly string[], timeoutMs: number): Promise<void> => {
    const allowFileSubmodules = /^(?:\/|file:)/.test(url);
    const call = { args, cwd: buildFolder, signal, timeoutMs, onLine, allowFileSubmodules };
    const result = await runGit(git, call);
    if (result.kind !== "succeeded") throw gitStepFailure(toGitFailure(url, result));
  };
  await run(["init", "--quiet"], CHECKOUT_TIMEOUT_MS);
  // A password stays out of the checkout; the user of an ssh address belongs to it.
  const origin = /^https?:/i.test(url) ? withoutUserinfo(url) : url;
  await run(["remote", "add", "--", "origin", origin], CHECKOUT_TIMEOUT_MS);
  const source = ["--", found.mirror, `refs/holdfast/${commit}`];
  await run(["fetch", "--quiet", "--no-tags", "--depth=1", ...source], CHECKOUT_TIMEOUT_MS);
  await run(["checkout", "--quiet", "--force", "--detach", commit], CHECKOUT_TIMEOUT_MS);
  if (await isThere(join(buildFolder, ".gitmodules"))) {
    const args = ["submodule", "update", "--init", "--recursive", "--depth=1"];
    await run(args, SUBMODULE_TIMEOUT_MS);
  }
  await rm(folder, { recursive: true, force: true });
  await mkdir(dirname(folder), { recursive: true });
  await rename(buildFolder, folder);
}

/** Tracked files of a checkout that are gone. */
export async function missingFiles(
  git: GitOptions,
  folder: string,
  signal: AbortSignal,
): Promise<string[]> {
  const args = ["ls-files", "-z", "--deleted"];
  const result = await runGit(git, { args, cwd: folder, signal, timeoutMs: CHECKOUT_TIMEOUT_MS });
  if (result.kind !== "succeeded") {
    throw new StepFailure(
      `${folder} is not a checkout that git can read`,
      "Run the installation again; it makes the checkout anew.",
    );
  }
  return result.stdout.split("\0").filter((name) => name !== "");
}

/** Names a call takes at most: the system limits the length of a command line. */
const RESTORE_BATCH = 500;

/** Puts back tracked files that are gone; changed ones are left: packs write into their own. */
export async function restoreMissingFiles(
  git: GitOptions,
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  const names = await missingFiles(git, folder, signal);
  for (let from = 0; from < names.length; from += RESTORE_BATCH) {
    const args = ["checkout-index", "--quiet", "--", ...names.slice(from, from + RESTORE_BATCH)];
    const call = { args, cwd: folder, signal, timeoutMs: CHECKOUT_TIMEOUT_MS };
    const result = await runGit(git, call);
    if (result.kind !== "succeeded") throw gitStepFailure(toGitFailure(folder, result));
  }
}
