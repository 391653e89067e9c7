import { basename } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { numberedName, planOutputNames, safeFileName } from "./output-names.ts";

describe("names of outputs", () => {
  it.each([
    ["../../etc/passwd", "passwd"],
    ["..", "_"],
    ["a/b/c.png", "c.png"],
    ["C:\\Windows\\x.png", "x.png"],
    ["", "output"],
    ["con.png", "_con.png"],
    ["a:b?.png", "a_b_.png"],
    [".hidden", "_hidden"],
    ["trailing. ", "trailing"],
  ])("%s becomes %s", (name, safe) => {
    expect(safeFileName(name)).toBe(safe);
  });

  it("stay one plain name inside the folder, whatever the server says", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (name) => {
        const safe = safeFileName(name);
        expect(basename(safe)).toBe(safe);
        expect(safe).not.toMatch(/^\.|[/\\\0]/);
        expect(safe.length).toBeGreaterThan(0);
        expect(safe.length).toBeLessThanOrEqual(120);
      }),
    );
  });

  it("keep their extension when they are cut", () => {
    expect(safeFileName(`${"x".repeat(500)}.png`)).toMatch(/^x{116}\.png$/);
  });

  it("are numbered where two are the same, also but for capitals", () => {
    const outputs = ["a.png", "A.png", "a.png", "b"].map((name) => ({ name }));
    expect(planOutputNames(outputs)).toEqual(["a.png", "A-2.png", "a-3.png", "b"]);
  });

  it("are all different, and the same each time", () => {
    const name = fc.constantFrom("a.png", "A.png", "a-2.png", "x/a.png", "a", "");
    fc.assert(
      fc.property(fc.array(fc.record({ name })), (outputs) => {
        const names = planOutputNames(outputs);
        expect(new Set(names.map((each) => each.toLowerCase())).size).toBe(outputs.length);
        expect(planOutputNames(outputs)).toEqual(names);
      }),
    );
  });

  it("put the number before the extension", () => {
    expect(numberedName("a.tar.gz", 2)).toBe("a.tar-2.gz");
    expect(numberedName("a", 3)).toBe("a-3");
    expect(numberedName("a.png", 1)).toBe("a.png");
  });
});
