import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { linesOf } from "./lines-of.ts";
import { assertWritable, openSpool } from "./write-files.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-load-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

it("lines are whole however late somebody asks for them", async () => {
  const spool = await openSpool(join(folder, "x.json"));
  for (const line of ["[1]", "[2]", "[3]"]) spool.add(line);
  await spool.close();
  const lines = linesOf(spool.path);
  // Long enough for a small file to be read to its end.
  await setTimeout(50);
  const read: string[] = [];
  for await (const line of lines) read.push(line);
  expect(read).toEqual(["[1]", "[2]", "[3]"]);
});

it("an output has every sample, and nothing is left beside it", async () => {
  const output = join(folder, "deep", "x.json");
  const spool = await openSpool(output);
  for (let at = 0; at < 5_000; at += 1) spool.add(`[${at}]`);
  await spool.finish(output, {} as never, {} as never);
  const { samples } = JSON.parse(await readFile(output, "utf8")) as { samples: number[][] };
  expect(samples).toHaveLength(5_000);
  expect(await readdir(join(folder, "deep"))).toEqual(["x.json"]);
});

it("a folder is no output", async () => {
  await expect(openSpool(folder)).rejects.toThrow("it is a folder");
});

it("a look whether a file can be written leaves none, and changes none", async () => {
  const file = join(folder, "deep", "x.md");
  await assertWritable(file);
  expect(await readdir(join(folder, "deep"))).toEqual([]);
  await writeFile(file, "kept");
  await assertWritable(file);
  expect(await readFile(file, "utf8")).toBe("kept");
  await expect(assertWritable(folder)).rejects.toThrow("EISDIR");
});
