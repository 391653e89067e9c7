import { rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** The file store of a world: a folder that can be taken away. */
export interface Store {
  readonly path: string;
  /** From now on nothing can be written there, nor read. */
  takeAway(): Promise<void>;
  /** As it was. Nothing to do when it is there. */
  giveBack(): Promise<void>;
}

/** The store in a world's folder; made by the control plane. */
export function storeIn(folder: string): Store {
  const path = join(folder, "store");
  const aside = join(folder, "store-taken-away");
  let isAway = false;
  return {
    path,
    async takeAway() {
      await rename(path, aside);
      // A folder could be made anew, and root may write anywhere: a file in its place stops both.
      await writeFile(path, "taken away by a fault scenario\n");
      isAway = true;
    },
    async giveBack() {
      if (!isAway) return;
      await rm(path, { recursive: true, force: true });
      await rename(aside, path);
      isAway = false;
    },
  };
}
