/** Complete releases on the disk, as the installer leaves them, without installing anything. */
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { lockSchema, type MachineLock } from "../src/install/model.ts";
import type { PackageSettings } from "../src/install/python/package-sources.ts";
import { pinLines } from "../src/install/python/pins.ts";
import { openResolution } from "../src/install/python/release-resolution.ts";
import { releasePlaces, type ReleaseBuild } from "../src/install/release/release-build.ts";
import { recordFacts } from "../src/install/release/release-condition.ts";
import { openReleases } from "../src/install/release/releases.ts";
import type { MachinePlaces } from "../src/machine-places.ts";

/** What a release is of. */
export interface CompleteRelease {
  readonly id: string;
  readonly repo: string;
  readonly ref: string;
  readonly commit: string;
  /** Settings that its packages were resolved with, and the packages; else it has none, and no resolution. */
  readonly resolved?: {
    readonly settings: PackageSettings;
    readonly packages: Readonly<Record<string, string>>;
  };
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
  if (of.resolved !== undefined) await saveResolution(folder, of.resolved);
  await recordFacts(folder, site);
  await releases.complete(lockOf(of, python));
  await releases.switchTo(of.id);
}

/** What a build leaves, by which a later look compares the packages one by one. */
async function saveResolution(
  folder: string,
  { settings, packages }: NonNullable<CompleteRelease["resolved"]>,
): Promise<void> {
  const places = releasePlaces(folder);
  const requirements = pinLines(new Map(Object.entries(packages)));
  await writeFile(join(places.comfyui, "requirements.txt"), Object.keys(packages).join("\n"));
  const resolution = openResolution({ places, settings } as ReleaseBuild, []);
  const digest = await resolution.digest(await resolution.required());
  await resolution.save({ digest, accepted: {}, constraints: "", requirements });
  const installed = createHash("sha256").update(requirements).digest("hex");
  await writeFile(join(places.build, "installed"), installed);
}

function lockOf({ id, repo, ref, commit, resolved }: CompleteRelease, python: string): MachineLock {
  return lockSchema.parse({
    version: 1,
    release: id,
    manifestDigest: "d",
    createdAt: 1,
    comfyui: { repo, ref, commit, adopted: null, version: "0.3.64" },
    python: { executable: python, version: "3.11" },
    torch: { backend: "none", version: null },
    packages: resolved?.packages ?? {},
    nodes: [],
    models: [],
    repositories: [],
    nodeClasses: [],
  });
}
