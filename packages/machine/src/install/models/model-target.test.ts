import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  findCollisions,
  findTarget,
  isInside,
  modelKey,
  prepareTarget,
  unsafeReason,
} from "./model-target.ts";

let base: string;
let root: string;
beforeEach(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), "hf-target-")));
  root = join(base, "models");
  await mkdir(join(root, "checkpoints"), { recursive: true });
  await mkdir(join(base, "elsewhere"));
});
afterEach(() => rm(base, { recursive: true }));

test.each([
  ["checkpoints", "x.safetensors", null],
  ["LLM/qwen", "sub/x", null],
  ["checkpoints", "../x", '".."'],
  ["..", "x", '".."'],
  ["a/./b", "x", '"."'],
  ["a//b", "x", 'part ""'],
  ["/etc", "x", "no relative path"],
  ["", "x", "no relative path"],
  ["C:/x", "x", "no relative path"],
  ["a", "b\\c", "character"],
  ["a", "b\u0000c", "character"],
  ["a", "b\nc", "character"],
  ["a", "x".repeat(256), "too long"],
  ["a", `${"x/".repeat(600)}x`, "too long"],
  [".holdfast-partial", "x", "parts of files"],
  ["a/.holdfast-partial", "x", "parts of files"],
])("%j / %j", (folder, name, reason) => {
  if (reason === null) expect(unsafeReason({ folder, name })).toBeNull();
  else expect(unsafeReason({ folder, name })).toContain(reason);
});

test("whatever is not refused stays below the root", () => {
  const part = fc.oneof(fc.string(), fc.constantFrom("..", ".", "/", "a", "../..", "a/../.."));
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), part, (parts, name) => {
      const model = { folder: parts.join("/"), name };
      if (unsafeReason(model) !== null) return;
      const path = join("/root/models", modelKey(model));
      expect(isInside("/root/models", path)).toBe(true);
      expect(path).not.toBe("/root/models");
    }),
  );
});

test.each([
  ["/a", "/a", true],
  ["/a", "/a/b", true],
  ["/a", "/ab", false],
  ["/a", "/", false],
  ["/a", "/a/../b", false],
  ["/a", "/a/..b", true],
])("inside %s is %s: %s", (folder, path, is) => {
  expect(isInside(folder, path)).toBe(is);
});

test("a target below the root is found, and its folder made", async () => {
  const found = await findTarget(root, { folder: "loras", name: "a/b.safetensors" });
  if (found.kind !== "target") throw new Error(found.failure.message);
  expect(found.target).toEqual({
    path: join(root, "loras/a/b.safetensors"),
    parent: join(root, "loras/a"),
    existing: root,
  });
  expect(await prepareTarget(root, found.target)).toBeNull();
});

test("a root that is not there yet is no obstacle", async () => {
  const found = await findTarget(join(base, "new"), { folder: "loras", name: "b" });
  expect(found).toMatchObject({ kind: "target", target: { existing: base } });
});

test("a root that is a link is the root", async () => {
  await symlink(root, join(base, "link"));
  const found = await findTarget(join(base, "link"), { folder: "checkpoints", name: "x" });
  expect(found.kind).toBe("target");
});

test("a folder that links out of the root is refused, one that links within is not", async () => {
  await symlink(join(base, "elsewhere"), join(root, "loras"));
  await symlink(join(root, "checkpoints"), join(root, "unet"));
  await symlink(join(base, "gone"), join(root, "vae"));
  const out = await findTarget(root, { folder: "loras", name: "x" });
  expect(out).toMatchObject({ kind: "failed", failure: { kind: "target_refused" } });
  expect((await findTarget(root, { folder: "loras/new", name: "x" })).kind).toBe("failed");
  expect((await findTarget(root, { folder: "vae", name: "x" })).kind).toBe("failed");
  expect((await findTarget(root, { folder: "unet", name: "x" })).kind).toBe("target");
});

test("a file in the way of a folder is refused", async () => {
  await writeFile(join(root, "loras"), "");
  expect((await findTarget(root, { folder: "loras", name: "x" })).kind).toBe("failed");
});

test("a link that came between is found out once the folder is made", async () => {
  const found = await findTarget(root, { folder: "loras", name: "x" });
  if (found.kind !== "target") throw new Error("refused");
  await symlink(join(base, "elsewhere"), join(root, "loras"));
  expect(await prepareTarget(root, found.target)).toMatchObject({ kind: "target_refused" });
});

test("models that get in each other's way are found", () => {
  const model = (path: string) => ({ folder: "f", name: path });
  const reasons = (...paths: string[]) =>
    findCollisions(paths.map(model)).map(({ reason }) => reason);
  expect(reasons("a", "b", "c/a", "c/b")).toEqual([]);
  expect(reasons("a", "a")).toEqual(["is named twice"]);
  expect(reasons("Flux", "flux")[0]).toContain("upper and lower case");
  expect(reasons("\u00e9", "e\u0301")[0]).toContain("upper and lower case");
  expect(reasons("a", "a/b")[0]).toContain("needs a folder");
  expect(reasons("A/b/c", "a")[0]).toContain("needs a folder");
});
