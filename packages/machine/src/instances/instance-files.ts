import { mkdir } from "node:fs/promises";
import type { Release } from "./model.ts";
import { foldersOf, type InstancePlaces, type ReleaseTraits } from "./process-spec.ts";
import { readReleaseTraits } from "./release-traits.ts";

/** What the supervisor does on the disk. */
export interface InstanceFiles {
  /** Makes the folders that a start needs: ComfyUI dies without some of them (F24). */
  prepare(places: InstancePlaces): Promise<void>;
  traits(release: Release): Promise<ReleaseTraits>;
}

/** The disk itself. */
export const nodeInstanceFiles: InstanceFiles = {
  async prepare(places) {
    for (const folder of foldersOf(places)) await mkdir(folder, { recursive: true });
  },
  traits: readReleaseTraits,
};
