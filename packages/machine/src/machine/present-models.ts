import { access } from "node:fs/promises";
import { join } from "node:path";
import { modelRoot } from "../install/models/model-steps.ts";
import type { MachinePlaces } from "../machine-places.ts";
import type { Manifest } from "../manifest/model.ts";

/** Models of a manifest that are there, as `folder/name`; whether they are whole is the installer's to say. */
export async function findPresentModels(
  manifest: Manifest,
  places: MachinePlaces,
): Promise<ReadonlySet<string>> {
  const root = modelRoot(manifest, places);
  const present = new Set<string>();
  for (const { folder, name } of manifest.models) {
    const isThere = await access(join(root, folder, name)).then(
      () => true,
      () => false,
    );
    if (isThere) present.add(`${folder}/${name}`);
  }
  return present;
}
