import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { machinePlaces, type MachinePlaces } from "../../machine-places.ts";
import { lockSchema, type MachineLock } from "../model.ts";
import { decideReleases } from "./clean-releases.ts";
import { headCommit, lookAtRelease, recordFacts } from "./release-condition.ts";
import { openReleases, findTrash, toRelease, type ReleaseEntry } from "./releases.ts";
import { nestedLinks, type RepositoryLink } from "./repository-links.ts";

let places: MachinePlaces;
beforeEach(async () => {
  places = machinePlaces(await mkdtemp(join(tmpdir(), "hf-rel-")));
});
afterEach(() => rm(places.root, { recursive: true, force: true }));

const lock = (release: string, more: Partial<MachineLock> = {}): MachineLock => ({
  ...lockSchema.parse({
    version: 1,
    release,
    manifestDigest: "d",
    createdAt: 1,
    comfyui: { repo: "r", ref: "main", commit: "a".repeat(40), adopted: null, version: null },
    python: { executable: process.execPath, version: "3.11" },
    torch: { backend: "none", version: null },
    packages: {},
    nodes: [],
    models: [],
    repositories: [],
    nodeClasses: [],
  }),
  ...more,
});

describe("releases", () => {
  test("serve one at a time, the one before kept for a way back", async () => {
    const releases = openReleases(places);
    expect(await releases.currentId()).toBeUndefined();
    for (const id of ["one", "two"]) {
      await releases.complete(lock(id));
      await releases.switchTo(id);
    }
    await releases.switchTo("two");
    expect([await releases.currentId(), await releases.previousId()]).toEqual(["two", "one"]);
    // Relative: the machine folder may be moved.
    expect(await readlink(places.current)).toBe("releases/two");
    expect(
      JSON.parse(await readFile(join(places.root, "machine.lock.json"), "utf8")),
    ).toMatchObject({
      release: "two",
    });
    await releases.switchTo("one");
    expect(await releases.previousId()).toBe("two");
    await releases.remove("two");
    expect((await releases.list()).map(({ id }) => id)).toEqual(["one"]);
    expect(await readdir(places.releases)).toEqual(["one"]);
  });

  test("that are half-built, torn or of another name never serve", async () => {
    const releases = openReleases(places);
    await mkdir(join(places.releases, "half"), { recursive: true });
    await mkdir(join(places.releases, "torn"));
    await writeFile(join(places.releases, "torn/lock.json"), '{"version":1,');
    await mkdir(join(places.releases, "copy"));
    await writeFile(join(places.releases, "copy/lock.json"), JSON.stringify(lock("other")));
    for (const id of ["half", "torn", "copy", "none"]) {
      await expect(releases.switchTo(id), id).rejects.toThrow(/is not complete/);
    }
    expect((await releases.list()).map(({ lock }) => lock)).toEqual([null, null, null]);
  });

  test("leave what is no link where it is", async () => {
    const releases = openReleases(places);
    await releases.complete(lock("one"));
    await mkdir(places.current);
    await expect(releases.switchTo("one")).rejects.toThrow(/is there and is not a link/);
  });

  test("rests of a killed removal are found, and are no release", async () => {
    expect(await findTrash(places)).toEqual([]);
    await mkdir(join(places.releases, ".removed-x/deep"), { recursive: true });
    expect(await findTrash(places)).toEqual([join(places.releases, ".removed-x")]);
    expect(await openReleases(places).list()).toEqual([]);
  });

  test("promise instances the classes of the packs that are there", () => {
    const node = { repo: "r", ref: "m", commit: "b".repeat(40), optional: true };
    const full = lock("one", {
      nodes: [
        { ...node, name: "here", classes: ["B", "A"], missing: null },
        { ...node, name: "gone", classes: ["C"], missing: "away" },
      ],
      models: [{ folder: "loras", name: "x", sha256: "0", sizeBytes: 1 }],
    });
    const options = { extraModelPaths: "/e.yaml", promised: ["P", "A"] };
    expect(toRelease(full, "/m/releases/one", options)).toEqual({
      id: "one",
      comfyuiFolder: "/m/releases/one/comfyui",
      python: process.execPath,
      extraModelPaths: "/e.yaml",
      nodeClasses: ["A", "B", "P"],
      models: [{ folder: "loras", name: "x" }],
    });
  });
});

test("a release is looked at by its commits and its environment's time of change", async () => {
  const folder = join(places.releases, "one");
  const site = join(folder, "site-packages");
  const head = join(folder, "comfyui/.git/HEAD");
  for (const path of [site, join(head, "..")]) await mkdir(path, { recursive: true });
  await writeFile(join(folder, "comfyui/main.py"), "");
  await writeFile(head, `${"a".repeat(40)}\n`);
  const look = (): ReturnType<typeof lookAtRelease> => lookAtRelease(folder, lock("one"));
  expect(await look()).toMatchObject({ comfyui: true, environment: false });
  await recordFacts(folder, site);
  expect(await look()).toMatchObject({ comfyui: true, environment: true });
  await writeFile(join(site, "new.py"), "");
  await writeFile(head, `${"b".repeat(40)}\n`);
  expect(await look()).toMatchObject({ comfyui: false, environment: false });
  // On a branch: its file, else the packed ones.
  await writeFile(head, "ref: refs/heads/main\n");
  expect(await headCommit(join(folder, "comfyui"))).toBeNull();
  const packed = `# pack-refs\n${"c".repeat(40)} refs/heads/main\n`;
  await writeFile(join(folder, "comfyui/.git/packed-refs"), packed);
  expect(await headCommit(join(folder, "comfyui"))).toBe("c".repeat(40));
  await mkdir(join(folder, "comfyui/.git/refs/heads"), { recursive: true });
  await writeFile(join(folder, "comfyui/.git/refs/heads/main"), "d".repeat(40));
  expect(await headCommit(join(folder, "comfyui"))).toBe("d".repeat(40));
  expect(await headCommit(folder)).toBeNull();
});

test("cleaning spares what serves, served before, or is in use", () => {
  const entry = (id: string, more: Partial<ReleaseEntry> = {}): ReleaseEntry => ({
    id,
    lock: null,
    isCurrent: false,
    isPrevious: false,
    ...more,
  });
  const entries = [
    entry("now", { isCurrent: true }),
    entry("before", { isPrevious: true }),
    entry("used"),
    entry("old"),
  ];
  const { remove, kept } = decideReleases(entries, (id) => id === "used" || id === "now");
  expect(remove).toEqual(["old"]);
  expect(kept).toEqual([{ what: "release used", reason: "a process runs from it" }]);
});

test("links inside each other are found, names that only begin alike are not", () => {
  const link = (name: string, linkTo: string): RepositoryLink => ({ name, linkTo, target: "/x" });
  const pairs = (links: RepositoryLink[]): string[] =>
    nestedLinks(links).map(({ outer, inner }) => `${inner.name} in ${outer.name}`);
  expect(pairs([link("a", "x"), link("b", "x/y"), link("c", "xy")])).toEqual(["b in a"]);
  expect(pairs([link("a", "x"), link("b", "x")])).toEqual(["b in a"]);
});
