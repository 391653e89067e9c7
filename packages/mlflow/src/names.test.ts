import { posix } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromMlflowName, toArtifactPath, toMlflowKey, toParamValue, toTagValue } from "./names.ts";

/** What MLflow 3.17.2 asks of a name, as its `utils/validation.py` has it. */
function isTaken(name: string): boolean {
  const normal = posix.normalize(name).replace(/(?<=.)\/$/, "");
  const isPath = normal === name && name !== "." && !name.startsWith("..") && !name.endsWith("/");
  return (
    name !== "" &&
    /^[/\p{L}\p{N}_.\- :]*$/u.test(name) &&
    isPath &&
    !name.startsWith("/") &&
    Array.from(name).length <= 250
  );
}

const odd = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc
    .array(
      fc.constantFrom("_", "x", "_x", "2", "5", "a", "/", ".", "..", "%", "ä", "\ud800", ":"),
      {
        maxLength: 30,
      },
    )
    .map((parts) => parts.join("")),
);

describe("a key", () => {
  it("is taken by MLflow, and can be read back", () => {
    fc.assert(
      fc.property(odd, (name) => {
        const key = toMlflowKey(name);
        expect(isTaken(key)).toBe(true);
        if (Array.from(key).length < 250) expect(fromMlflowName(key)).toBe(name);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ["6.text", "6.text"],
    ["health.ComfyUI", "health.ComfyUI"],
    ["57:8.steps", "57:8.steps"],
    ["Größe", "Größe"],
    ["a%b", "a_x25_b"],
    ["a_x25_b", "a_x5f_x25_b"],
    ["/a//b/", "_x_/a/_x_/b/_x_"],
    ["", "_x_"],
    ["..", "_x2e_."],
    ["a/./b", "a/_x2e_/b"],
  ])("%j is written %j", (name, key) => {
    expect(toMlflowKey(name)).toBe(key);
  });

  it("that is too long is cut, and stays another one than others", () => {
    const [a, b] = ["a", "b"].map((end) => toMlflowKey(`${"%".repeat(100)}${end}`));
    expect(Array.from(a ?? "").length).toBe(250);
    expect(a).not.toBe(b);
  });
});

describe("the path of an artifact", () => {
  it("can be read back, names no other folder, and is the same after another decoding", () => {
    fc.assert(
      fc.property(odd, (name) => {
        const path = toArtifactPath(name);
        expect(decodeURIComponent(path)).toBe(path);
        expect(path.split("/")).not.toContain("..");
        expect(path).not.toMatch(/[#:\\%]/);
        if (!/-[0-9a-f]{12}/.test(path)) expect(fromMlflowName(path)).toBe(name);
        for (const part of path.split("/")) expect(Buffer.byteLength(part)).toBeLessThan(201);
      }),
      { numRuns: 2_000 },
    );
  });

  it("keeps its extension when it is cut", () => {
    expect(toArtifactPath(`images/${"日".repeat(100)}.png`)).toMatch(
      /^images\/日+-[0-9a-f]{12}\.png$/,
    );
  });
});

describe("a value", () => {
  it("is cut where MLflow ends it, says so, and stays another one than others", () => {
    const long = "😀".repeat(6_001);
    const value = toParamValue(long);
    expect(Array.from(value).length).toBe(6_000);
    expect(value).toMatch(/ … \(6001 characters, sha256 [0-9a-f]{12}\)$/);
    expect(value).not.toBe(toParamValue(`${long.slice(2)}x`));
    expect(toParamValue("😀".repeat(6_000))).toBe("😀".repeat(6_000));
    expect(Array.from(toTagValue("x".repeat(9_000))).length).toBe(8_000);
  });

  it("holds nothing that a database refuses", () => {
    expect(toParamValue("a\0b\ud800")).toBe("a\u{FFFD}b\u{FFFD}");
  });
});
