/** Links to shared folders: made where nothing is, moved where they are ours, and never over anything else. */
import { lstat, mkdir, readlink, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, isAbsolute, resolve } from "node:path";
import { assertNever } from "@holdfast/runtime";
import { syncFolder } from "./atomic-file.ts";
import { isInside } from "./model-target.ts";

/** A link that should be. Absolute paths. */
export interface WantedLink {
  /** Where the link is. */
  readonly at: string;
  /** What it leads to. */
  readonly to: string;
}

/** What is there in its place. */
export type LinkFound =
  | { readonly kind: "nothing" }
  /** A link, with where it leads as an absolute path. */
  | { readonly kind: "link"; readonly to: string }
  | { readonly kind: "folder" }
  | { readonly kind: "file" };

/** What to do. */
export type LinkDecision =
  | { readonly kind: "keep" }
  | { readonly kind: "create" }
  | { readonly kind: "replace" }
  | { readonly kind: "blocked"; readonly message: string; readonly advice: string };

/** What became of a link. */
export type LinkOutcome =
  { readonly kind: "kept" | "created" | "replaced" } | Extract<LinkDecision, { kind: "blocked" }>;

/**
 * Decides what to do for a link. Ours is one that leads into a folder of ours (`ownFolders`): nobody
 * else has a reason to link there, and one that leads elsewhere may be all that its owner has.
 */
export function decideLink(
  wanted: WantedLink,
  found: LinkFound,
  ownFolders: readonly string[],
): LinkDecision {
  switch (found.kind) {
    case "nothing":
      return { kind: "create" };
    case "link":
      if (found.to === wanted.to) return { kind: "keep" };
      if (ownFolders.some((folder) => isInside(folder, found.to))) return { kind: "replace" };
      return blocked(wanted, `a link to ${found.to}, which Holdfast did not make`);
    case "folder":
    case "file":
      return blocked(wanted, `a ${found.kind}`);
    default:
      return assertNever(found);
  }
}

/** Sees to it that a link is there. What is in its way and not ours is left, and told. */
export async function ensureLink(
  wanted: WantedLink,
  ownFolders: readonly string[],
): Promise<LinkOutcome> {
  const decision = decideLink(wanted, await findLink(wanted.at), ownFolders);
  switch (decision.kind) {
    case "blocked":
      return decision;
    case "keep":
      return { kind: "kept" };
    case "create": {
      await mkdir(dirname(wanted.at), { recursive: true });
      // Fails when something came there meanwhile, and leaves that.
      const isMade = await symlink(wanted.to, wanted.at).then(
        () => true,
        (error: NodeJS.ErrnoException) => {
          if (error.code === "EEXIST") return false;
          throw error;
        },
      );
      if (!isMade) return blocked(wanted, "something that came there this moment");
      await syncFolder(dirname(wanted.at));
      return { kind: "created" };
    }
    case "replace": {
      const beside = `${wanted.at}.holdfast-new`;
      await rm(beside, { force: true });
      await symlink(wanted.to, beside);
      await rename(beside, wanted.at);
      await syncFolder(dirname(wanted.at));
      return { kind: "replaced" };
    }
    default:
      return assertNever(decision);
  }
}

/** Removes a link that is ours; false for anything else, which is left. */
export async function removeOwnLink(at: string, ownFolders: readonly string[]): Promise<boolean> {
  const found = await findLink(at);
  if (found.kind !== "link") return false;
  if (!ownFolders.some((folder) => isInside(folder, found.to))) return false;
  await rm(at, { force: true });
  return true;
}

/** Looks at what is in a link's place, without following it. */
export async function findLink(at: string): Promise<LinkFound> {
  const facts = await lstat(at).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (facts === null) return { kind: "nothing" };
  if (facts.isSymbolicLink()) {
    const to = await readlink(at);
    return { kind: "link", to: isAbsolute(to) ? resolve(to) : resolve(dirname(at), to) };
  }
  return { kind: facts.isDirectory() ? "folder" : "file" };
}

/** Whether what a link leads to is there. */
export async function leadsSomewhere(at: string): Promise<boolean> {
  return await stat(at).then(
    () => true,
    () => false,
  );
}

function blocked({ at, to }: WantedLink, what: string): Extract<LinkDecision, { kind: "blocked" }> {
  return {
    kind: "blocked",
    message: `${at} should link to ${to}, but there is ${what}`,
    advice: "Move it away, or choose another linkTo in machine.yaml.",
  };
}
