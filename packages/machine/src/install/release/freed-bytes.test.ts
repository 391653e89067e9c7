import { link, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createFreedBytes } from "./freed-bytes.ts";

const BIG = 1024 ** 2;
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-freed-"));
  for (const name of ["cache", "a/deep", "b"]) await mkdir(join(folder, name), { recursive: true });
});
afterEach(() => rm(folder, { recursive: true, force: true }));
const file = async (name: string): Promise<string> => {
  await writeFile(join(folder, name), Buffer.alloc(BIG, 1));
  return join(folder, name);
};
/** To the nearest file: folders and file systems take some of their own. */
const files = (bytes: number): number => Math.floor(bytes / BIG);

test("a file that somebody else holds is not freed, and is told as shared", async () => {
  await link(await file("cache/x"), join(folder, "a/deep/x"));
  await file("a/own");
  // What a link leads to stays.
  await symlink(join(folder, "cache"), join(folder, "a/link"));
  const { freedBytes, sharedBytes } = await createFreedBytes()([join(folder, "a")]);
  expect([files(freedBytes), files(sharedBytes)]).toEqual([1, 1]);
});

test("a file that goes with all its links counts once, with the last of them", async () => {
  const x = await file("a/x");
  await link(x, join(folder, "a/deep/x"));
  await link(x, join(folder, "b/x"));
  const of = createFreedBytes();
  const first = await of([join(folder, "a")]);
  const second = await of([join(folder, "b")]);
  expect([first, second].map(({ freedBytes }) => files(freedBytes))).toEqual([0, 1]);
  expect([first, second].map(({ sharedBytes }) => files(sharedBytes))).toEqual([1, 0]);
});

test("what is not there frees nothing", async () => {
  const none = { freedBytes: 0, sharedBytes: 0 };
  expect(await createFreedBytes()([join(folder, "none")])).toEqual(none);
});
