import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeFolder } from "./make-folder.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-folder-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("folders are made with those above them, by several at once too", async () => {
  for (let round = 0; round < 100; round += 1) {
    const names = Array.from({ length: 8 }, (_, at) => `run${at}`);
    const at = join(folder, String(round), "work", "files");
    await Promise.all(names.map((name) => makeFolder(join(at, name))));
    expect((await readdir(at)).sort()).toEqual(names);
  }
});

test("one that is there is left as it is", async () => {
  const path = join(folder, "a");
  await makeFolder(path);
  await writeFile(join(path, "kept"), "");
  await makeFolder(path);
  expect(await readdir(path)).toEqual(["kept"]);
});

test("a file in the way is what the disk says it is", async () => {
  await writeFile(join(folder, "file"), "");
  await expect(makeFolder(join(folder, "file"))).rejects.toMatchObject({ code: "EEXIST" });
  await expect(makeFolder(join(folder, "file", "below"))).rejects.toMatchObject({
    code: "ENOTDIR",
  });
});

test.runIf(process.platform === "linux")("where none can be made it ends and says so", async () => {
  await expect(makeFolder("/proc/holdfast/a/b")).rejects.toMatchObject({ code: "ENOENT" });
});
