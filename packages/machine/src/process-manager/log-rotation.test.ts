import {
  appendFile,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, test } from "vitest";
import { rotateLogFile, type RotationDeps } from "./log-rotation.ts";

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-rotation-"));
  file = join(folder, "a.log");
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** As the file system does it, on any file system. */
const collapse: NonNullable<RotationDeps["collapse"]> = async (path, bytes) => {
  const rest = (await readFile(path)).subarray(bytes);
  await writeFile(path, rest);
  return true;
};
const killedBefore = (): Promise<boolean> => Promise.reject(new Error("killed"));
const killedAfter = async (path: string, bytes: number): Promise<boolean> => {
  await collapse(path, bytes);
  throw new Error("killed");
};
const cannot = (): Promise<boolean> => Promise.resolve(false);
const limits = { fileMaxBytes: 100_000, keep: 3, totalMaxBytes: 1_000_000 };
const lines = (from: number, count: number): string =>
  Array.from({ length: count }, (_, index) => `line ${from + index} ${"x".repeat(90)}\n`).join("");
const rotate = (deps: Partial<RotationDeps> = {}, more = {}) =>
  rotateLogFile(file, { ...limits, ...more }, { clock: systemClock, collapse, ...deps });
/** All that was written, oldest first. */
const whole = async (): Promise<string> => {
  const names = (await readdir(folder)).sort().reverse();
  const parts = names.filter((name) => /^a\.log(\.\d+)?$/.test(name));
  return (await Promise.all(parts.map((name) => readFile(join(folder, name), "utf8")))).join("");
};

test("a small file and a missing one are kept", async () => {
  expect(await rotate()).toEqual({ kind: "kept" });
  await writeFile(file, "x");
  expect(await rotate()).toEqual({ kind: "kept" });
  expect(await readdir(folder)).toEqual(["a.log"]);
});

test.each([
  ["collapse", collapse],
  ["truncate", cannot],
] as const)("three rotations by %s keep every byte", async (method, cut) => {
  for (let round = 0; round < 3; round += 1) {
    await appendFile(file, lines(round * 1_500, 1_500));
    const outcome = await rotate({ collapse: cut });
    expect(outcome).toMatchObject({ kind: "rotated", method, droppedBytes: 0 });
  }
  expect(await whole()).toBe(lines(0, 4_500));
  expect((await readdir(folder)).sort()).toEqual(["a.log", "a.log.1", "a.log.2", "a.log.3"]);
  expect((await stat(file)).size).toBeLessThan(8_192);
});

test("the oldest go beyond the number of archives", async () => {
  for (let round = 0; round < 5; round += 1) {
    await appendFile(file, lines(round * 1_500, 1_500));
    await rotate();
  }
  expect((await readdir(folder)).sort()).toEqual(["a.log", "a.log.1", "a.log.2", "a.log.3"]);
  expect(lines(0, 7_500).endsWith(await whole())).toBe(true);
});

test.each([
  ["collapse", collapse],
  ["truncate", cannot],
] as const)("a file beyond the total loses its beginning only (%s)", async (_, cut) => {
  const all = lines(0, 5_000);
  await writeFile(file, all);
  const outcome = await rotate({ collapse: cut }, { totalMaxBytes: 200_000 });
  expect(outcome).toMatchObject({ kind: "rotated" });
  const kept = await whole();
  expect(all.endsWith(kept)).toBe(true);
  expect(kept.length).toBeLessThanOrEqual(200_000);
  expect(kept.length).toBeGreaterThan(190_000);
  expect(outcome.kind === "rotated" ? outcome.droppedBytes : 0).toBe(all.length - kept.length);
});

test("killed after the copy and before the cut: the next rotation begins again, nothing twice", async () => {
  await writeFile(file, lines(0, 1_500));
  await expect(rotate({ collapse: killedBefore })).rejects.toThrow("killed");
  expect(await readdir(folder)).toContain("a.log.rotating");
  await rotate();
  expect(await whole()).toBe(lines(0, 1_500));
});

test("killed after the cut and before the rename: the copy becomes the archive", async () => {
  await writeFile(file, lines(0, 1_500));
  await expect(rotate({ collapse: killedAfter })).rejects.toThrow("killed");
  expect(await rotate()).toEqual({ kind: "kept" });
  expect(await whole()).toBe(lines(0, 1_500));
  expect((await readdir(folder)).sort()).toEqual(["a.log", "a.log.1"]);
});

test("killed within the copy, and with nothing copied yet", async () => {
  await writeFile(file, lines(0, 1_500));
  for (const bytes of [4_000, 0]) {
    await writeFile(`${file}.rotating`, lines(0, 1_500));
    await truncate(`${file}.rotating`, bytes);
    await rotate();
    expect(await whole()).toBe(lines(0, 1_500));
  }
});

test("what is written while the file is cut stays in it", async () => {
  await writeFile(file, lines(0, 1_500));
  const busy = async (path: string, bytes: number): Promise<boolean> => {
    await appendFile(path, lines(1_500, 10));
    return await collapse(path, bytes);
  };
  await rotate({ collapse: busy });
  const busyAndCannot = async (path: string): Promise<boolean> => {
    await appendFile(path, lines(3_010, 10));
    return false;
  };
  await appendFile(file, lines(1_510, 1_500));
  await rotate({ collapse: busyAndCannot });
  expect(await whole()).toBe(lines(0, 3_020));
});

test("no archives are kept where none are wanted", async () => {
  await writeFile(file, lines(0, 1_500));
  expect(await rotate({}, { keep: 0 })).toMatchObject({ archivedBytes: 0, method: "collapse" });
  expect(await readdir(folder)).toEqual(["a.log"]);
  expect(lines(0, 1_500).endsWith(await whole())).toBe(true);
});

test("the system's own way to cut: at the front, or not at all", async () => {
  await writeFile(file, lines(0, 1_500));
  const outcome = await rotateLogFile(file, limits, { clock: systemClock });
  expect(outcome.kind).toBe("rotated");
  expect(await whole()).toBe(lines(0, 1_500));
});
