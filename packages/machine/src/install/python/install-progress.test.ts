import { describe, expect, it } from "vitest";
import { createInstallProgress } from "./install-progress.ts";

const MB = 1024 ** 2;

describe("progress of an installation of packages", () => {
  it("counts what uv announces and what is there of it", () => {
    const read = createInstallProgress();
    expect(read("Resolved 82 packages in 911ms")).toBeUndefined();
    expect(read("Downloading scipy (33.5MiB)")).toEqual({
      done: 0,
      total: 33.5 * MB,
      unit: "bytes",
      detail: "scipy",
    });
    read("Downloading torch (1.5GiB)");
    read("Downloading idna (100.0KiB)");
    expect(read(" Downloaded scipy")).toEqual({
      done: 33.5 * MB,
      total: 33.5 * MB + 1536 * MB + 102_400,
      unit: "bytes",
      detail: "torch, idna",
    });
    read(" Downloaded torch");
    expect(read(" Downloaded idna")?.detail).toBeNull();
  });

  it("names the largest that are on their way, and how many more there are", () => {
    const read = createInstallProgress();
    read("Downloading a (1B)");
    read("Downloading b (3.0MiB)");
    read("Downloading c (2.0MiB)");
    expect(read("Downloading d (9.0KiB)")?.detail).toBe("b, c and 2 more");
  });

  it("counts nothing for an end whose begin was not told", () => {
    expect(createInstallProgress()(" Downloaded scipy")).toEqual({
      done: 0,
      total: 0,
      unit: "bytes",
      detail: null,
    });
  });

  it("says when everything is fetched, and when it is in place", () => {
    const read = createInstallProgress();
    expect(read("Prepared 82 packages in 2m 03s")?.detail).toMatch(/all fetched/);
    expect(read("Installed 1 package in 3ms")).toMatchObject({ done: 1, total: null });
    expect(read("Bytecode compiled 1 file in 1s")).toBeUndefined();
  });
});
