import { describe, expect, test } from "vitest";
import {
  chooseUvWheel,
  compareVersions,
  parseIndexPage,
  parseUvVersion,
  UV_PREFERRED,
  type HostPlatform,
  type IndexFile,
} from "./uv-wheel.ts";

const sha256 = "a".repeat(64);
const file = (filename: string, more: Partial<IndexFile> = {}): IndexFile => ({
  filename,
  url: `https://x/${filename}`,
  sha256,
  isYanked: false,
  ...more,
});
const linux: HostPlatform = { os: "linux", machine: "x86_64", glibc: "2.36" };
const wheel = (version: string, tag: string, more: Partial<IndexFile> = {}): IndexFile =>
  file(`uv-${version}-py3-none-${tag}.whl`, more);
const GLIBC = "manylinux_2_17_x86_64.manylinux2014_x86_64";

describe("uv's wheel", () => {
  test("is the preferred version, else the newest that is new enough, whole and not withdrawn", () => {
    const files = [wheel("0.7.9", GLIBC), wheel("0.9.2", GLIBC), wheel("0.99.10", GLIBC)];
    expect(chooseUvWheel(files, linux)?.version).toBe("0.99.10");
    expect(chooseUvWheel([...files, wheel(UV_PREFERRED, GLIBC)], linux)?.version).toBe(
      UV_PREFERRED,
    );
    const withdrawn = [
      wheel("0.9.2", GLIBC, { isYanked: true }),
      wheel("0.9.3", GLIBC, { sha256: null }),
    ];
    expect(chooseUvWheel(withdrawn, linux)).toBeUndefined();
    expect(chooseUvWheel([wheel("0.7.9", GLIBC), file("uv-0.9.0.tar.gz")], linux)).toBeUndefined();
  });

  test.each<readonly [string, HostPlatform, boolean]>([
    [GLIBC, linux, true],
    [GLIBC, { ...linux, glibc: null }, false],
    [GLIBC, { ...linux, machine: "aarch64" }, false],
    ["manylinux_2_28_aarch64", { ...linux, machine: "aarch64" }, true],
    ["manylinux_2_38_x86_64", linux, false],
    ["musllinux_1_1_x86_64", { ...linux, glibc: null }, true],
    ["musllinux_1_1_x86_64", linux, false],
    ["macosx_11_0_arm64", { os: "darwin", machine: "aarch64", glibc: null }, true],
    ["macosx_10_12_x86_64", { os: "darwin", machine: "x86_64", glibc: null }, true],
    ["macosx_11_0_arm64", linux, false],
    ["win_amd64", linux, false],
  ])("%s on %o: %s", (tag, platform, runs) => {
    expect(chooseUvWheel([wheel("0.9.0", tag)], platform) !== undefined).toBe(runs);
  });
});

describe("a page of an index", () => {
  test("as JSON", () => {
    const body = JSON.stringify({
      files: [
        { filename: "a.whl", url: "../../a.whl", hashes: { sha256: sha256.toUpperCase() } },
        { filename: "b.whl", url: "https://y/b.whl", hashes: {}, yanked: "broken" },
        { filename: 3 },
      ],
    });
    expect(
      parseIndexPage("application/vnd.pypi.simple.v1+json", body, "https://x/simple/uv/"),
    ).toEqual([
      { filename: "a.whl", url: "https://x/a.whl", sha256, isYanked: false },
      { filename: "b.whl", url: "https://y/b.whl", sha256: null, isYanked: true },
    ]);
    expect(parseIndexPage("application/json", "{}", "https://x/")).toEqual([]);
  });

  test("as HTML", () => {
    const body = `<a href="/p/a.whl?x=1&amp;y=2#sha256=${sha256}">a.whl</a>
      <a data-yanked="why" href='b.whl'> b.whl </a><a name="x">none</a>`;
    expect(parseIndexPage("text/html", body, "https://x/simple/uv/")).toEqual([
      { filename: "a.whl", url: "https://x/p/a.whl?x=1&y=2", sha256, isYanked: false },
      { filename: "b.whl", url: "https://x/simple/uv/b.whl", sha256: null, isYanked: true },
    ]);
  });
});

test("versions are compared by number, and read from what uv prints", () => {
  expect(compareVersions("0.10.0", "0.9.9")).toBeGreaterThan(0);
  expect(compareVersions("2.36", "2.36.0")).toBe(0);
  expect(parseUvVersion("uv 0.13.9 (x86_64-unknown-linux-gnu)")).toBe("0.13.9");
  expect(parseUvVersion("pip 24")).toBeUndefined();
});
