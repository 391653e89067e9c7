/**
 * A release that serves against the manifest and is not as it was made. Otherwise it would be made anew
 * beside itself; what it was made from is not what the manifest says, so that is for a person to do.
 */
import { isProgram } from "../install-files.ts";
import type { MachineLock } from "../model.ts";
import { lookAtRelease, type ReleaseCondition } from "./release-condition.ts";
import { comfyuiFolder, type Releases } from "./releases.ts";

/** What of it is gone and what to do, in words; null when all is there, as far as a quick look can tell. */
export async function heldDamage(
  releases: Pick<Releases, "folder">,
  lock: MachineLock,
): Promise<string | null> {
  const gone = await findGone(releases.folder(lock.release), lock);
  if (gone.length === 0) return null;
  return (
    `release ${lock.release} serves and is damaged: ${gone.join("; ")}. It is not made anew while the manifest ` +
    "is held back: `holdfast machine install --end-hold` makes what the manifest asks for, and " +
    "a manifest that asks for what this one was made from makes it anew"
  );
}

async function findGone(folder: string, lock: MachineLock): Promise<readonly string[]> {
  const comfyui = comfyuiFolder(folder, lock);
  let condition: ReleaseCondition;
  try {
    condition = await lookAtRelease(folder, lock);
  } catch (error) {
    return [
      `it could not be looked at (${error instanceof Error ? error.message : String(error)})`,
    ];
  }
  const packs = lock.nodes.filter(
    ({ name, missing }) => missing === null && !condition.packs.has(name),
  );
  return [
    ...(condition.comfyui
      ? []
      : [`${comfyui} has no main.py, or is not at ${lock.comfyui.commit ?? "its commit"}`]),
    ...(await pythonGone(lock, condition)),
    ...packs.map(({ name, commit }) => `node pack ${name} is gone, or not at ${commit}`),
  ];
}

/** Into an adopted environment its owner may install what he likes. */
async function pythonGone(
  { python: { executable }, comfyui }: MachineLock,
  { environment }: ReleaseCondition,
): Promise<readonly string[]> {
  if (environment) return [];
  if (!(await isProgram(executable))) return [`its Python ${executable} is gone`];
  return comfyui.adopted === null ? [`packages beside ${executable} were changed or are gone`] : [];
}
