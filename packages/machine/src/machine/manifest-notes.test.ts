import { expect, test } from "vitest";
import type { Manifest } from "../manifest/model.ts";
import { readManifest, type ManifestReading } from "../manifest/read-manifest.ts";
import { manifestNotes, type ManifestFileState } from "./manifest-notes.ts";

const read = (text: string) =>
  readManifest(text) as Extract<ManifestReading, { readonly kind: "ok" }>;
const good = read("version: 1\n");
const other = read("version: 1\ninstances:\n  basePort: 9000\n");
const { manifest } = good;
const notes = (
  file: ManifestFileState,
  inForce: Manifest | null,
  isNamed = false,
): readonly string[] => manifestNotes({ path: "m.yaml", isNamed, file, inForce });

test("a file that is not there is said only when somebody counts on it", () => {
  expect(notes({ kind: "missing" }, null)).toEqual([]);
  expect(notes({ kind: "missing" }, null, true)[0]).toMatch(/m\.yaml is not there.*machine init/);
  expect(notes({ kind: "missing" }, manifest)).toEqual([
    "m.yaml is not there any more; what was in force before stays in force",
  ]);
});

test("a file with mistakes is told with their places, and what holds meanwhile", () => {
  const wrong = readManifest("version: 1\nnodess: []\n");
  expect(notes(wrong, null)).toHaveLength(1);
  expect(notes(wrong, null)[0]).toMatch(/^m\.yaml:2:1: /);
  expect(notes(wrong, manifest).at(-1)).toBe("what was in force before stays in force");
});

test("a file that says something else asks for somebody to apply it; the same one does not", () => {
  expect(notes(good, manifest)).toEqual([]);
  expect(notes(read("# a remark\nversion: 1\nmodels:\n"), manifest)).toEqual([]);
  expect(notes(other, manifest)[0]).toMatch(
    /has changed since it was applied: run holdfast machine install/,
  );
  expect(notes(good, null)[0]).toMatch(/is not in force yet: run holdfast machine install/);
});
