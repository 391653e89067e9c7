import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findCommand } from "./find-command.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-find-"));
  await mkdir(join(folder, "bin", "a-folder"), { recursive: true });
  await writeFile(join(folder, "bin", "tool"), "#!/bin/sh\n");
  await chmod(join(folder, "bin", "tool"), 0o755);
  await writeFile(join(folder, "bin", "text"), "not a program");
});
afterAll(() => rm(folder, { recursive: true }));

test("a name is found on the path, a path where it is, a relative one below the folder", async () => {
  const tool = join(folder, "bin", "tool");
  const found = { kind: "found", path: tool };
  expect(await findCommand("tool", "/", `/nowhere:${join(folder, "bin")}`)).toEqual(found);
  expect(await findCommand(tool, "/", "")).toEqual(found);
  expect(await findCommand("./bin/tool", folder, "")).toEqual(found);
});

test("what is not there, a folder, a file that may not be run: missing, with where it was looked for", async () => {
  for (const name of ["nothing", "a-folder", "text"]) {
    const path = join(folder, "bin");
    expect(await findCommand(name, "/", path)).toEqual({
      kind: "missing",
      reason: `no program ${name} in ${path}: install it, or name it by its whole path`,
    });
  }
  expect(await findCommand("tool", "/", "bin:.")).toMatchObject({
    reason: expect.stringContaining("in an empty PATH") as string,
  });
  expect(await findCommand("/nothing", "/", "")).toEqual({
    kind: "missing",
    reason: "/nothing is not a file that may be run",
  });
});
