import * as fc from "fast-check";
import { expect, test } from "vitest";
import { readFixture } from "../../testing/fixtures.ts";
import { choicesOf, classInfo, inputSpec, parseObjectInfo } from "./object-info.ts";
import { parseSystemStats, versionsOf } from "./system-stats.ts";

test("the recorded declarations are read whole", () => {
  const raw = readFixture("object-info-core") as Record<string, object>;
  const objectInfo = parseObjectInfo(raw) ?? {};
  expect(Object.keys(objectInfo)).toEqual(Object.keys(raw));
  const sampler = classInfo(objectInfo, "KSampler");
  expect(sampler?.output).toEqual(["LATENT"]);
  const seed = sampler === undefined ? undefined : inputSpec(sampler, "seed");
  expect(seed?.[0]).toBe("INT");
  expect(classInfo(objectInfo, "SaveImage")?.output_node).toBe(true);
  expect(classInfo(objectInfo, "constructor")).toBeUndefined();
});

test("choices are read in both spellings", () => {
  expect(choicesOf([["a", "b"], {}])).toEqual(["a", "b"]);
  expect(choicesOf(["COMBO", { options: ["c"] }])).toEqual(["c"]);
  expect(choicesOf(["COMBO"])).toBeUndefined();
  expect(choicesOf(["INT", { options: ["c"] }])).toBeUndefined();
});

test("one odd class or input does not hide the others", () => {
  expect(
    parseObjectInfo({
      A: null,
      B: { input: { required: { x: "odd", y: ["INT", null] } }, output: ["I", 5] },
    }),
  ).toEqual({
    B: { input: { required: { y: ["INT"] }, optional: {} }, output: ["I"], output_node: false },
  });
  expect(parseObjectInfo([])).toBeUndefined();
});

test("any JSON at all is read without throwing", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(parseObjectInfo(value) === undefined).toBe(
        typeof value !== "object" || value === null || Array.isArray(value),
      );
      parseObjectInfo({
        A: value,
        B: { input: value, output: value },
        C: { input: { required: value } },
      });
      parseSystemStats(value);
    }),
  );
});

test("system stats are read, and versions stay the same while memory changes", () => {
  const fixture = readFixture("system-stats-cpu") as { system: object; devices: object[] };
  const stats = parseSystemStats(fixture);
  expect(stats).toMatchObject({ comfyuiVersion: "0.3.64", devices: [{ type: "cpu" }] });
  const later = parseSystemStats({ ...fixture, system: { ...fixture.system, ram_free: 1 } });
  expect(later?.ramFreeBytes).toBe(1);
  if (stats === undefined || later === undefined) throw new Error("unreadable");
  expect(versionsOf(later)).toBe(versionsOf(stats));
  expect(parseSystemStats({ devices: [] })).toBeUndefined();
});
