import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { machineEnvironment, withoutValues } from "./pool-environment.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-environment-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function fileWith(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

test("a file comes before the pool's texts, and what the machine is given before both", async () => {
  const path = await fileWith("token", "  of the file \r\n\n");
  const pool = { env: { A: "pool", B: "pool", C: "pool" }, envFiles: { B: path, C: path } };
  expect(await machineEnvironment(pool, { C: "machine" })).toEqual({
    kind: "ok",
    env: { A: "pool", B: "  of the file ", C: "machine" },
  });
});

test("every file that cannot be used is told, and none of what is in them", async () => {
  const envFiles = {
    GONE: join(folder, "gone"),
    EMPTY: await fileWith("empty", "\n"),
    LARGE: await fileWith("large", "s3cret".repeat(20_000)),
    FOLDER: folder,
  };
  const read = await machineEnvironment({ env: {}, envFiles }, {});
  expect(read).toEqual({
    kind: "invalid",
    problems: [
      `envFiles.GONE: ${envFiles.GONE} is not there`,
      `envFiles.EMPTY: ${envFiles.EMPTY} is empty`,
      `envFiles.LARGE: ${envFiles.LARGE} has more than 65536 bytes`,
      expect.stringContaining(`envFiles.FOLDER: ${folder} cannot be read`),
    ],
  });
  expect(JSON.stringify(read)).not.toContain("s3cret");
});

test("values are taken out of messages, but for those that are mere words", () => {
  const env = { TOKEN: "s3cret-token", MODE: "on" };
  expect(withoutValues("bad s3cret-token, on and on s3cret-token", env)).toBe("bad …, on and on …");
});
