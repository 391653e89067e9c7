import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { listModelFiles } from "./model-inventory.ts";

let base: string;
let root: string;
const never = new AbortController().signal;
const hashes = { known: (path: string) => (path.endsWith("b.safetensors") ? "hash-b" : undefined) };
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "hf-inventory-"));
  root = join(base, "models");
});
afterEach(() => rm(base, { recursive: true }));

async function write(path: string, text = "x"): Promise<void> {
  await mkdir(dirname(join(base, path)), { recursive: true });
  await writeFile(join(base, path), text);
}

const list = (more: Record<string, string> = {}, max?: number) =>
  listModelFiles(
    { root, extraPaths: [{ name: "old", basePath: join(base, "old"), folders: more }] },
    hashes,
    never,
    max,
  );

test("files are listed by folder and name, with size and known hash", async () => {
  await write("models/loras/sub/b.safetensors", "12345");
  await write("models/checkpoints/a.safetensors");
  await write("old/sd/c.safetensors");
  const { files, isCut } = await list({ checkpoints: "sd" });
  expect(
    files.map(({ folder, name, sizeBytes, sha256 }) => [folder, name, sizeBytes, sha256]),
  ).toEqual([
    ["checkpoints", "a.safetensors", 1, null],
    ["checkpoints", "c.safetensors", 1, null],
    ["loras", "sub/b.safetensors", 5, "hash-b"],
  ]);
  expect(isCut).toBe(false);
});

test("parts of downloads, hidden and empty files are no models", async () => {
  await write("models/.holdfast-partial/x.part");
  await write("models/loras/.git/x");
  await write("models/loras/put_loras_here", "");
  await write("models/loose-file");
  expect((await list()).files).toEqual([]);
});

test("the root's file counts where a further folder has one of its name", async () => {
  await write("models/loras/x");
  await write("old/l/x", "longer");
  expect((await list({ loras: "l" })).files).toMatchObject([{ sizeBytes: 1 }]);
});

test("links are followed, in a circle once", async () => {
  await write("elsewhere/x");
  await mkdir(join(root, "loras"), { recursive: true });
  await symlink(join(base, "elsewhere"), join(root, "loras", "more"));
  await symlink(join(root, "loras"), join(root, "loras", "circle"));
  await symlink(join(base, "gone"), join(root, "loras", "gone"));
  expect((await list()).files.map(({ name }) => name)).toEqual(["more/x"]);
});

test("more files than asked for are cut, and it is said", async () => {
  for (const name of ["a", "b", "c"]) await write(`models/loras/${name}`);
  const { files, isCut } = await list({}, 2);
  expect(files.map(({ name }) => name)).toEqual(["a", "b"]);
  expect(isCut).toBe(true);
});

test("a root that is not there has no models", async () => {
  expect(await list({ loras: "none" })).toEqual({ files: [], isCut: false, unreadable: [] });
});

test.skipIf(process.getuid?.() === 0)("a folder that cannot be read is told", async () => {
  await write("models/loras/x");
  await chmod(join(root, "loras"), 0o000);
  expect((await list()).unreadable).toEqual([join(root, "loras")]);
  await chmod(join(root, "loras"), 0o755);
});
