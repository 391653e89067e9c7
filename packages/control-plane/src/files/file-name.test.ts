import { join, posix, win32 } from "node:path";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { nameFromUrl, parseFileName } from "./file-name.ts";

describe("file names", () => {
  test.each([["a.png"], ["folder/sub/a b.png"], ["ünï 図.webp"], [".hidden"], ["a".repeat(255)]])(
    "%s is one",
    (name) => {
      expect(parseFileName(name)).toEqual({ kind: "valid", name });
    },
  );

  test.each([
    [""],
    ["/etc/passwd"],
    ["../a.png"],
    ["a/../../b"],
    ["a/./b"],
    ["a//b"],
    ["a/"],
    [String.raw`..\a.png`],
    [String.raw`C:\a.png`],
    ["C:a.png"],
    ["a\u0000.png"],
    ["a\nb"],
    ["con."],
    [" a"],
    ["a /b"],
    ["gnp\u202Eexe"],
    ["\ud800"],
    ["é".repeat(128)],
    ["a/".repeat(9) + "b"],
  ])("%j is none", (name) => {
    expect(parseFileName(name)).toMatchObject({ kind: "invalid" });
  });

  test("whatever is accepted stays inside its folder on every system", () => {
    const part = fc.oneof(
      fc.constantFrom("..", ".", "", "/", "\\", "c:", "a", "b.png", " ", "\u0000"),
      fc.string({ unit: "binary", maxLength: 4 }),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), fc.constantFrom("", "/"), (parts, glue) => {
        const result = parseFileName(parts.join(glue));
        if (result.kind === "invalid") return;
        expect(join("/root/folder", result.name).startsWith("/root/folder/")).toBe(true);
        for (const path of [posix, win32]) {
          expect(path.isAbsolute(result.name)).toBe(false);
          expect(path.normalize(result.name).split(path.sep)).not.toContain("..");
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

test("a URL's last part becomes the name, unless it would leave the folder", () => {
  expect(nameFromUrl("https://x.example/a/b%20c.png?q=1")).toEqual({
    kind: "valid",
    name: "b c.png",
  });
  expect(nameFromUrl("https://x.example/a/..%2f..%2fetc")).toMatchObject({ kind: "invalid" });
  expect(nameFromUrl("https://x.example/")).toMatchObject({ kind: "invalid" });
  expect(nameFromUrl("https://x.example/%ff")).toMatchObject({ kind: "invalid" });
});
