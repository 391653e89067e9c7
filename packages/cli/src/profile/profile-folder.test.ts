import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openProfileFolder, type FileCalls } from "./profile-folder.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "holdfast-profile-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

/** Noon, so that the day is the same in every zone of the world but the outermost. */
const clock = createFakeClock(Date.UTC(2026, 2, 4, 12));
const told: string[] = [];
beforeEach(() => {
  told.length = 0;
});
const open = (files?: FileCalls, at = root) =>
  openProfileFolder(at, {
    clock,
    onFailure: (words) => told.push(words),
    ...(files !== undefined && { files }),
  });
const noSpace = () =>
  Promise.reject(Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" }));

describe("the folder of a profiling", () => {
  it("is the day's by the clock that is given, and a new one each time", async () => {
    const parent = join(root, "comfyui", "profiling");
    const one = await open();
    expect(one.path).toBe(join(parent, "2026-03-04"));
    await one.append("a.csv", "1\n");
    await one.append("a.csv", "2\n");
    await one.write("b.json", "{}");
    await open();
    expect(await readdir(parent)).toEqual(["2026-03-04", "2026-03-04-2"]);
    expect(await readFile(join(one.path, "a.csv"), "utf8")).toBe("1\n2\n");
    expect(await readdir(join(parent, "2026-03-04-2"))).toEqual([]);
    await one.remove();
    expect(await readdir(parent)).toEqual(["2026-03-04-2"]);
    expect([...one.failures()]).toEqual([]);
  });

  it("that cannot be made is refused before anything is sent", async () => {
    await writeFile(join(root, "file"), "");
    await expect(open(undefined, join(root, "file"))).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringMatching(
        /^--root: .* cannot be written: .*Nothing was sent\.$/,
      ) as string,
    });
    const parent = join(root, "comfyui", "profiling");
    await mkdir(join(parent, "2026-03-04"), { recursive: true });
    const others = Array.from({ length: 999 }, (_, at) => join(parent, `2026-03-04-${at + 2}`));
    await Promise.all(others.map((path) => mkdir(path)));
    await expect(open()).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringContaining("1000 folders") as string,
    });
  });
});

describe("a file that cannot be written", () => {
  it("is told once, is left alone then, and hinders no other", async () => {
    let tries = 0;
    const folder = await open({
      writeFile,
      appendFile() {
        tries += 1;
        return noSpace();
      },
    });
    await Promise.all([folder.append("a.csv", "1\n"), folder.append("a.csv", "2\n")]);
    await folder.append("a.csv", "3\n");
    expect(tries).toBe(2);
    expect(told).toEqual([
      `${join(folder.path, "a.csv")} cannot be written: ENOSPC: no space left on device`,
    ]);
    await folder.write("summary.json", "{}");
    expect(await readFile(join(folder.path, "summary.json"), "utf8")).toBe("{}");
    expect([...folder.failures()]).toEqual([["a.csv", "ENOSPC: no space left on device"]]);
  });

  it("leaves no half of itself, unless it was added to", async () => {
    const half: FileCalls = {
      async writeFile(path, text) {
        await writeFile(path, text.slice(0, 2));
        await noSpace();
      },
      async appendFile(path, text) {
        await writeFile(path, text, { flag: "a" });
        if (text === "2\n") await noSpace();
      },
    };
    const folder = await open(half);
    await folder.write("summary.json", `{"a":1}`);
    await folder.append("a.csv", "1\n");
    await folder.append("a.csv", "2\n");
    expect(await readdir(folder.path)).toEqual(["a.csv"]);
    expect([...folder.failures().keys()]).toEqual(["summary.json", "a.csv"]);
    expect(told).toHaveLength(2);
  });
});
