import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { MachinePlaces } from "../machine-places.ts";
import { checkOut, isCheckedOut } from "./git/checkout.ts";
import type { GitCache } from "./git/git-cache.ts";
import type { GitOptions } from "./git/git-program.ts";
import { isFolder } from "./install-files.ts";
import { StepFailure, type Step } from "./model.ts";
import type { ResolvedRepository } from "./release/release-inputs.ts";
import {
  isLinkRight,
  makeLink,
  repositoryFolder,
  type RepositoryLink,
} from "./release/repository-links.ts";

/** Folders that all instances share; those that ComfyUI wants to find are among them. */
const SHARED_FOLDERS = ["input", "output", "user"] as const;

/** Makes the folders that instances share. */
export function sharedFoldersStep(places: MachinePlaces, modelRoot: string): Step {
  const folders = [...SHARED_FOLDERS.map((name) => join(places.shared, name)), modelRoot];
  const absent = async (): Promise<string | undefined> => {
    for (const folder of folders) if (!(await isFolder(folder))) return folder;
    return undefined;
  };
  return {
    id: "shared.folders",
    title: "Folders that all instances share",
    isOptional: false,
    after: [],
    lane: "shared",
    async check() {
      const folder = await absent();
      return folder === undefined
        ? { kind: "done", detail: "all are there" }
        : { kind: "needed", detail: `${folder} is not there` };
    },
    async apply() {
      for (const folder of folders) await mkdir(folder, { recursive: true });
    },
    async verify() {
      const folder = await absent();
      if (folder === undefined) return;
      throw new StepFailure(`${folder} is not a folder`, "Move away what is there.");
    },
  };
}

/** Id of the step of a shared repository. */
export const repositoryStepId = (name: string): string => `repository:${name}`;

/** Checks a shared repository out, beside the commits of it that are there. */
export function repositoryStep(
  places: MachinePlaces,
  git: GitOptions,
  cache: GitCache,
  { name, repo, ref, commit }: ResolvedRepository,
): Step {
  const checkout = {
    url: repo,
    ref,
    commit,
    folder: repositoryFolder(places, name, commit),
    buildFolder: join(places.repositories, `.${name}.part`),
  };
  return {
    id: repositoryStepId(name),
    title: `Repository ${name} at ${ref} (${commit.slice(0, 8)})`,
    isOptional: false,
    after: [],
    lane: "shared",
    check: async () =>
      (await isCheckedOut(checkout))
        ? { kind: "done", detail: `checked out at ${commit}` }
        : { kind: "needed", detail: "not checked out" },
    apply: ({ signal, log }) => checkOut(git, cache, checkout, signal, log),
    verify: async () => undefined,
  };
}

/** Links shared repositories on a machine without a ComfyUI; with one its release does it. */
export function repositoryLinksStep(places: MachinePlaces, links: readonly RepositoryLink[]): Step {
  const isRight = async (): Promise<boolean> => {
    for (const link of links) if (!(await isLinkRight(places, link))) return false;
    return true;
  };
  return {
    id: "repositories.link",
    title: "Links to shared repositories",
    isOptional: false,
    after: links.map(({ name }) => repositoryStepId(name)),
    lane: "shared",
    check: async () =>
      (await isRight())
        ? { kind: "done", detail: "all are there" }
        : { kind: "needed", detail: "some lead elsewhere, or are not there" },
    async apply() {
      for (const link of links) await makeLink(places, link);
    },
    verify: async () => undefined,
  };
}
