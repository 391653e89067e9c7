import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, test } from "vitest";
import { rememberingLog } from "../../testing/fake-host.ts";
import type { GpuQuery } from "@holdfast/gpu";
import { machinePlaces } from "../machine-places.ts";
import {
  openMachineFolder,
  type MachineFolder,
  type MachineFolderOptions,
} from "./machine-folder.ts";
import { applyManifest } from "./manifest-watch.ts";

let folder = "";
let manifestPath = "";
const opened: MachineFolder[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-folder-"));
  manifestPath = join(folder, "machine.yaml");
});
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
  await rm(folder, { recursive: true });
});

const open = async (over: Partial<MachineFolderOptions> = {}) => {
  const result = await openMachineFolder({
    root: folder,
    manifestPath,
    programs: { uv: null, pm2: null, nvidiaSmi: null },
    env: {},
    gpus: {} as GpuQuery,
    clock: systemClock,
    random: seededRandom(1),
    log: rememberingLog(),
    lockWaitMs: 0,
    ...over,
  });
  if (result.kind === "opened") opened.push(result.folder);
  return result;
};
const GOOD = "version: 1\nhealth: {tokenFile: /etc/token}\n";
const applied = (): string => machinePlaces(folder).appliedManifest;

test("what is applied is what was read, whatever the file has become", async () => {
  await writeFile(manifestPath, GOOD);
  const result = await open();
  if (result.kind === "refused") throw new Error(result.problems.join());
  expect(result.folder.healthTokenFile).toBe("/etc/token");
  expect((await result.folder.installer.status()).current).toBeNull();
  await writeFile(manifestPath, "half edit");
  await result.folder.apply();
  expect(await readFile(applied(), "utf8")).toBe(GOOD);
});

test("a manifest with mistakes is refused with their places", async () => {
  await writeFile(manifestPath, "version: 1\nnodess: []\n");
  const result = await open();
  expect(result).toMatchObject({ kind: "refused" });
  expect("problems" in result ? result.problems[0] : "").toContain(`${manifestPath}:2:1: `);
  await rm(manifestPath);
  expect(await open()).toMatchObject({
    kind: "refused",
    problems: [expect.stringContaining("holdfast machine init")],
  });
});

test("what must work at any time goes by what is in force, and applies nothing", async () => {
  await applyManifest(GOOD, applied());
  await writeFile(manifestPath, "version: 1\nnodess: []\n");
  expect((await open()).kind).toBe("refused");
  const result = await open({ orApplied: true });
  if (result.kind === "refused") throw new Error(result.problems.join());
  expect(result.folder.warnings).toEqual([
    expect.stringContaining("nodess"),
    "what is in force is gone by instead",
  ]);
  await result.folder.apply();
  expect(await readFile(applied(), "utf8")).toBe(GOOD);
});

test("without either there is nothing to go by", async () => {
  expect((await open({ orApplied: true })).kind).toBe("refused");
  await writeFile(applied(), "not: a manifest");
  expect((await open({ orApplied: true })).kind).toBe("refused");
});
