import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterAll, describe, expect, it } from "vitest";
import { createDiskFiles } from "./disk-files.ts";
import type { FileStore } from "./file-store.ts";
import { createMemoryFiles } from "./memory-files.ts";
import { normaliseSubfolder, splitAnnotation, splitPrefix } from "./paths.ts";

const root = mkdtempSync(path.join(tmpdir(), "holdfast-simulator-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** The rule of folder_paths.py, told the slow way. */
function numberByListing(names: readonly string[], prefix: string): number {
  const numbers = names
    .filter((name) => name.slice(0, prefix.length + 1) === `${prefix}_`)
    .map((name) => /^\d+$/.exec(name.slice(prefix.length + 1).split("_")[0] ?? "")?.[0] ?? "0");
  return numbers.length === 0 ? 1 : Math.max(...numbers.map(Number)) + 1;
}

describe.each([
  ["memory", () => createMemoryFiles(createFakeClock(), 1e9)],
  ["disk", () => createDiskFiles(mkdtempSync(path.join(root, "store-")))],
] as const)("files in %s", (_name, create) => {
  it("the next number is the highest one plus one, as a listing would say", () => {
    const part = fc.constantFrom("a", "a_b", "a_00007", "b", "00003");
    const step = fc.record({
      prefix: part,
      number: fc.integer({ min: 1, max: 40 }),
      isGone: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const files: FileStore = create();
        for (const { prefix, number, isGone } of steps) {
          const name = `${prefix}_${String(number).padStart(5, "0")}_.png`;
          if (isGone) files.remove("output", "", name);
          else files.write("output", "", name, Buffer.from("x"));
          for (const asked of ["a", "a_b", "b", "none"]) {
            const wanted = numberByListing(files.list("output", ""), asked);
            expect(files.nextNumber("output", "", asked)).toBe(wanted);
          }
        }
      }),
      { numRuns: 30 },
    );
  });

  it("keeps areas and folders apart, and clears one area", () => {
    const files = create();
    files.write("output", "sub/deep", "x.png", Buffer.from("1"));
    files.write("temp", "", "x.png", Buffer.from("2"));
    expect(files.read("output", "", "x.png")).toBeNull();
    files.clear("temp");
    expect(files.read("temp", "", "x.png")).toBeNull();
    expect(files.read("output", "sub/deep", "x.png")?.bytes.toString()).toBe("1");
  });
});

it("memory stays below its cap: the oldest files go, numbers go on", () => {
  const files = createMemoryFiles(createFakeClock(), 100);
  for (let i = 1; i <= 20; i += 1) {
    const name = `a_${String(files.nextNumber("output", "", "a")).padStart(5, "0")}_.png`;
    files.write("output", "", name, Buffer.alloc(10));
  }
  expect(files.list("output", "")).toHaveLength(10);
  expect(files.nextNumber("output", "", "a")).toBe(21);
});

it("a name may say its area", () => {
  expect(splitAnnotation("x.png [output]")).toEqual({ name: "x.png", area: "output" });
  expect(splitAnnotation("x.png")).toEqual({ name: "x.png", area: null });
});

it.each(["..", "../x", "a/../../b", "/etc", "..\\x"])("%s leaves its folder", (subfolder) => {
  expect(normaliseSubfolder(subfolder)).toBeNull();
});

it("a prefix may hold folders, sizes and a date", () => {
  const words = { width: 64, height: 32, nowMs: new Date(2026, 0, 5).getTime() };
  expect(splitPrefix("a/b/%width%x%height%-%year%%month%%day%", words)).toEqual({
    subfolder: "a/b",
    name: "64x32-20260105",
  });
  expect(splitPrefix("../x", words)).toBeNull();
});
