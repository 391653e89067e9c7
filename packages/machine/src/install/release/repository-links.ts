import { lstat, mkdir, realpath } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import type { MachinePlaces } from "../../machine-places.ts";
import { isThere, linkAtOnce, linkTarget } from "../install-files.ts";
import { StepFailure } from "../model.ts";
import type { ResolvedRepository } from "./release-inputs.ts";

/** Where a commit of a shared repository is. */
export function repositoryFolder(places: MachinePlaces, name: string, commit: string): string {
  return join(places.repositories, name, commit);
}

/** A link below `shared`, and the checkout it should lead to. */
export interface RepositoryLink {
  readonly name: string;
  readonly linkTo: string;
  readonly target: string;
}

/** The links that repositories ask for. */
export function repositoryLinks(
  places: MachinePlaces,
  repositories: readonly Pick<ResolvedRepository, "name" | "commit" | "linkTo">[],
): RepositoryLink[] {
  return repositories.flatMap(({ name, commit, linkTo }) =>
    linkTo === null ? [] : [{ name, linkTo, target: repositoryFolder(places, name, commit) }],
  );
}

/** Whether the link is there and leads to its checkout. */
export async function isLinkRight(places: MachinePlaces, link: RepositoryLink): Promise<boolean> {
  const path = join(places.shared, link.linkTo);
  const target = await linkTarget(path);
  return target !== undefined && resolve(dirname(path), target) === link.target;
}

/**
 * Makes the link. Refuses to replace what is no link, and one that does not lead to a repository of
 * ours; and to go through a link to outside of `shared`.
 */
export async function makeLink(places: MachinePlaces, link: RepositoryLink): Promise<void> {
  const path = join(places.shared, link.linkTo);
  const problem = await linkProblem(places, link);
  if (problem !== undefined) throw problem;
  await mkdir(dirname(path), { recursive: true });
  if (!(await linkAtOnce(path, link.target))) throw taken(path, link);
}

/** Why a link cannot be made; undefined when it can, or is there. Changes nothing. */
export async function linkProblem(
  places: MachinePlaces,
  link: RepositoryLink,
): Promise<StepFailure | undefined> {
  const path = join(places.shared, link.linkTo);
  const info = await lstat(path).catch(() => undefined);
  if (info !== undefined) {
    const target = (await linkTarget(path)) ?? "";
    const isOurs = resolve(dirname(path), target).startsWith(places.repositories + sep);
    if (!info.isSymbolicLink() || !isOurs) return taken(path, link);
  }
  const shared = await realpath(places.shared).catch(() => undefined);
  if (shared === undefined) return undefined;
  const parent = await realpath(await nearestFolder(dirname(path)));
  if (parent === shared || parent.startsWith(shared + sep)) return undefined;
  return new StepFailure(
    `${dirname(path)} is a link that leads out of ${places.shared}`,
    `Choose another linkTo for the repository "${link.name}".`,
  );
}

/** Links of which one is inside the other: it would be made inside a checkout. */
export function nestedLinks(
  links: readonly RepositoryLink[],
): { readonly outer: RepositoryLink; readonly inner: RepositoryLink }[] {
  return links.flatMap((outer, at) =>
    links
      .filter((inner, other) => other !== at && `${inner.linkTo}/`.startsWith(`${outer.linkTo}/`))
      // Two that are the same are told once.
      .filter((inner) => inner.linkTo !== outer.linkTo || links.indexOf(inner) > at)
      .map((inner) => ({ outer, inner })),
  );
}

async function nearestFolder(folder: string): Promise<string> {
  return (await isThere(folder)) ? folder : await nearestFolder(dirname(folder));
}

function taken(path: string, { name }: RepositoryLink): StepFailure {
  return new StepFailure(
    `${path} is there and is not a link to a shared repository`,
    `Move it away, or choose another linkTo for the repository "${name}".`,
  );
}
