/** Complete releases on the disk, as the installer leaves them, without installing anything. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { lockSchema, type MachineLock } from "../src/install/model.ts";
import { recordFacts } from "../src/install/release/release-condition.ts";
import { openReleases } from "../src/install/release/releases.ts";
import type { MachinePlaces } from "../src/machine-places.ts";

/** What a release is of. */
export interface CompleteRelease {
  readonly id: string;
  readonly repo: string;
  readonly ref: string;
  readonly commit: string;
}

/** Writes a release that is whole in every look, and makes it serve. */
export async function serveRelease(places: MachinePlaces, of: CompleteRelease): Promise<void> {
  const releases = openReleases(places);
  const folder = releases.folder(of.id);
  const site = join(folder, "venv/lib/site-packages");
  const python = join(folder, "venv/bin/python");
  for (const path of [
    site,
    join(python, ".."),
    join(folder, "comfyui/.git"),
    join(folder, "build"),
  ]) {
    await mkdir(path, { recursive: true });
  }
  await writeFile(python, "", { mode: 0o755 });
  await writeFile(join(folder, "venv/pyvenv.cfg"), "");
  await writeFile(join(folder, "build/venv-ready"), "3.11");
  await writeFile(join(folder, "comfyui/main.py"), "");
  await writeFile(join(folder, "comfyui/.git/HEAD"), `${of.commit}\n`);
  await recordFacts(folder, site);
  await releases.complete(lockOf(of, python));
  await releases.switchTo(of.id);
}

function lockOf({ id, repo, ref, commit }: CompleteRelease, python: string): MachineLock {
  return lockSchema.parse({
    version: 1,
    release: id,
    manifestDigest: "d",
    createdAt: 1,
    comfyui: { repo, ref, commit, adopted: null, version: "0.3.64" },
    python: { executable: python, version: "3.11" },
    torch: { backend: "none", version: null },
    packages: {},
    nodes: [],
    models: [],
    repositories: [],
    nodeClasses: [],
  });
}
