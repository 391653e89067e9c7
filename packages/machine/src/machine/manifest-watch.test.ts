import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, test } from "vitest";
import { rememberingLog } from "../../testing/fake-host.ts";
import {
  applyManifest,
  createManifestWatch,
  readApplied,
  type ManifestWatch,
} from "./manifest-watch.ts";

let folder = "";
let path = "";
let keptAt = "";
/** Of files written just now, unless a test says that it is later. */
let clock: Pick<Clock, "now">;
let log: ReturnType<typeof rememberingLog>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-manifest-"));
  path = join(folder, "machine.yaml");
  keptAt = join(folder, "machine", "machine.applied.yaml");
  log = rememberingLog();
  clock = systemClock;
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const watch = (isNamed = false): ManifestWatch =>
  createManifestWatch({
    path,
    isNamed,
    keptAt,
    hasRelease: () => Promise.resolve(false),
    clock,
    log,
  });
const manifest = (port: number): string => `version: 1\ninstances:\n  basePort: ${port}\n`;
const write = (text: string): Promise<void> => writeFile(path, text);
const portOf = (look: Awaited<ReturnType<ManifestWatch["load"]>> | undefined) =>
  look?.applied?.manifest.instances.basePort;

test("at the start the file comes into force, and a copy is kept for its owner alone", async () => {
  await write(manifest(9_000));
  const look = await watch().load();
  expect(portOf(look)).toBe(9_000);
  expect(look.problems).toEqual([]);
  expect(await readFile(keptAt, "utf8")).toBe(manifest(9_000));
  expect((await stat(keptAt)).mode & 0o077).toBe(0);
  expect((await readApplied(keptAt))?.manifest.instances.basePort).toBe(9_000);
});

test("a file that has changed is told, and not applied by that", async () => {
  await write(manifest(9_000));
  const watching = watch();
  await watching.load();
  await write(manifest(9_001));
  const look = await watching.look();
  expect(portOf(look)).toBe(9_000);
  expect(look.problems[0]).toMatch(/has changed since it was applied/);
  expect(await watching.loadApplied()).toBeUndefined();
  // Told once; and no more when the change is taken back.
  expect((await watching.look()).problems).toBe(look.problems);
  await write(manifest(9_000));
  expect((await watching.look()).problems).toEqual([]);
});

test("what somebody applies comes into force, and not what the file has become since", async () => {
  await write(manifest(9_000));
  const watching = watch();
  await watching.load();
  await write(manifest(9_002));
  await applyManifest(manifest(9_001), keptAt);
  const look = await watching.loadApplied();
  expect(portOf(look)).toBe(9_001);
  expect(look?.problems[0]).toMatch(/has changed since it was applied/);
  expect(await watching.loadApplied()).toBeUndefined();
});

test("the same manifest applied again is noticed: somebody has installed it by hand", async () => {
  await write(manifest(9_000));
  const watching = watch();
  await watching.load();
  await applyManifest(manifest(9_000), keptAt);
  expect(portOf(await watching.loadApplied())).toBe(9_000);
});

test("one that is applied while there is none configures the machine", async () => {
  const watching = watch();
  expect(await watching.load()).toEqual({ applied: null, problems: [] });
  await write(manifest(9_000));
  expect((await watching.look()).problems[0]).toMatch(/is not in force yet/);
  await applyManifest(manifest(9_000), keptAt);
  const look = await watching.loadApplied();
  expect([portOf(look), look?.problems]).toEqual([9_000, []]);
});

test("an applied file that cannot be read changes nothing, and is looked at again when it changes", async () => {
  await write(manifest(9_000));
  const watching = watch();
  await watching.load();
  await writeFile(keptAt, "version: [");
  expect(await watching.loadApplied()).toBeUndefined();
  expect(log.lines.join()).toContain("the applied manifest cannot be read");
  expect(portOf(await watching.look())).toBe(9_000);
  await rm(keptAt);
  expect(await watching.loadApplied()).toBeUndefined();
  await applyManifest(manifest(9_001), keptAt);
  expect(portOf(await watching.loadApplied())).toBe(9_001);
});

test("a wrong file at the start leaves in force what was good before", async () => {
  await applyManifest(manifest(9_000), keptAt);
  await write("version: 1\nnodess: []\n");
  const look = await watch().load();
  expect(portOf(look)).toBe(9_000);
  expect(look.problems.join("\n")).toMatch(/machine\.yaml:2:1: .*\n.*stays in force/);
});

test("a named file that is missing leaves the one before in force; an unnamed one means none", async () => {
  await applyManifest(manifest(9_000), keptAt);
  const named = await watch(true).load();
  expect(portOf(named)).toBe(9_000);
  expect(named.problems[0]).toMatch(/is not there any more/);
  expect(await watch().load()).toEqual({ applied: null, problems: [] });
});

test("a folder that cannot be written does not keep the manifest from coming into force", async () => {
  await write(manifest(9_000));
  await writeFile(join(folder, "machine"), "a file where the folder would be");
  const look = await watch().load();
  expect(portOf(look)).toBe(9_000);
  expect(log.lines.join()).toContain("manifest could not be kept");
});

test("warnings of the manifest are logged", async () => {
  await mkdir(join(folder, "machine"));
  await write(
    "version: 1\nservices:\n  - name: a\n    check: {url: 'http://x/'}\n    dependsOn: [b]\n" +
      "  - name: b\n    enabled: false\n    check: {url: 'http://x/'}\n",
  );
  await watch().load();
  expect(log.lines.join()).toContain("manifest warning");
});

test("a file that was left alone for a while is not read again", async () => {
  await write(manifest(9_000));
  clock = { now: () => systemClock.now() + 60_000 };
  const watching = watch();
  const { problems } = await watching.load();
  expect((await watching.look()).problems).toBe(problems);
  await write(`${manifest(9_000)}# a remark\n`);
  expect((await watching.look()).problems).toEqual([]);
  await rm(path);
  expect((await watching.look()).problems[0]).toMatch(/is not there any more/);
});
