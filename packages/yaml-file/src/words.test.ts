import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { listedProblems, placed, problemLines, PROBLEMS_MAX } from "./file-problem.ts";
import { pathText, type YamlPath } from "./finding.ts";
import { editDistance, nearestName } from "./nearest-name.ts";
import { shapeProblems, type FileForm } from "./problem-words.ts";
import { readMapping } from "./read-mapping.ts";
import { schemaReference } from "./schema-reference.ts";
import { keysAt, schemaAt, schemaTree, typeWords } from "./schema-words.ts";

describe("names", () => {
  test("the nearest is the one with the fewest changes, letters and case aside", () => {
    const known = ["repo", "ref", "basePort", "python"];
    expect(nearestName("repos", known)).toBe("repo");
    expect(nearestName("base-port", known)).toBe("basePort");
    expect(nearestName("PYTHON", known)).toBe("python");
    expect(nearestName("re", known)).toBe("ref");
    expect(nearestName("licence", known)).toBeUndefined();
    expect(nearestName("x".repeat(65), known)).toBeUndefined();
    expect(nearestName("x", [])).toBeUndefined();
  });

  test("a distance is one: none to itself, the same both ways, never over the longer text", () => {
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, word, (a, b, c) => {
        expect(editDistance(a, a)).toBe(0);
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b)).toBeLessThanOrEqual(Math.max(a.length, b.length));
        expect(editDistance(a, c)).toBeLessThanOrEqual(editDistance(a, b) + editDistance(b, c));
      }),
    );
    expect(editDistance("kitten", "sitting")).toBe(3);
  });

  test("paths", () => {
    expect(pathText([])).toBe("");
    expect(pathText(["nodes", 2, "ref"])).toBe("nodes[2].ref");
    expect(pathText(["instances", "overrides", "a b", "flags", 0])).toBe(
      'instances.overrides["a b"].flags[0]',
    );
  });
});

const packs = z.array(z.strictObject({ ref: z.string().describe("A commit.") })).default([]);
const schema = z.strictObject({
  source: z
    .union([
      z.strictObject({ repo: z.string(), ref: z.string() }),
      z.strictObject({ adopt: z.string() }),
    ])
    .describe("Where it comes from."),
  packs: packs.describe("What else."),
  flags: z.record(z.string(), z.strictObject({ is: z.boolean().optional() })).optional(),
});
const tree = schemaTree(schema);

describe("the schema in words", () => {
  test("finds what may stand at a path", () => {
    expect(keysAt(tree, [])).toEqual(["source", "packs", "flags"]);
    expect(keysAt(tree, ["source"])).toEqual(["repo", "ref", "adopt"]);
    expect(keysAt(tree, ["flags", "any"])).toEqual(["is"]);
    expect(keysAt(tree, ["nothing", 0])).toEqual([]);
    expect(keysAt(tree, ["source", "constructor"])).toEqual([]);
    expect(schemaAt(tree, ["packs", 0, "ref"])?.description).toBe("A commit.");
  });

  test("lists every key for a document, parents first", () => {
    const keys = schemaReference(tree);
    expect(keys.map(({ path }) => path)).toEqual([
      "source",
      "source.repo",
      "source.ref",
      "source.adopt",
      "packs",
      "packs[].ref",
      "flags",
      "flags.<name>.is",
    ]);
    // Of a choice nothing is required for itself.
    expect(keys.map((key) => key.default)).toEqual([
      "required",
      "–",
      "–",
      "–",
      "[]",
      "required",
      "–",
      "–",
    ]);
  });

  test("names types as a person would", () => {
    expect(typeWords({ type: "number" })).toBe("a number");
    expect(typeWords({ type: "number", exclusiveMinimum: 0 })).toBe("a number, over 0");
    expect(typeWords({ type: "integer", minimum: 1 })).toBe("a whole number, 1 or more");
    expect(typeWords({ type: "array" })).toBe("a list of values");
    expect(typeWords({ type: "object", additionalProperties: {} })).toBe("a mapping");
    expect(typeWords({ type: "array", items: { type: "array" } })).toBe("a list of lists");
  });
});

describe("a file", () => {
  const words = { empty: "write something", notMapping: "expected a mapping" };
  const lines = (text: string, choiceWords?: FileForm["choiceWords"]): readonly string[] => {
    const read = readMapping(text, tree, words);
    if (read.kind === "refused") return problemLines(listedProblems(read.problems), "f");
    const { value, places } = read;
    const parsed = schema.safeParse(value);
    if (parsed.success) return [];
    const written = { value, sourceOf: (path: YamlPath) => places.sourceOf(path) };
    const form: FileForm = {
      name: "f.yaml",
      schema: tree,
      ...(choiceWords === undefined ? {} : { choiceWords }),
    };
    const problems = shapeProblems(parsed.error.issues, written, form);
    return problemLines(listedProblems(problems.map((one) => placed(one, places, one.part))), "f");
  };

  test("needs a mapping at its top", () => {
    expect(lines("# nothing\n")).toEqual(["f:1:1: write something"]);
    expect(lines("- a\n")).toEqual(["f:1:1: expected a mapping"]);
    expect(lines("a: [\n")).toEqual([expect.stringMatching(/^f:\d:\d: not valid YAML: /)]);
  });

  test("may have a section whose entries are commented out, but no unknown one", () => {
    expect(lines("source: {adopt: a}\npacks:\n  # - ref: x\n")).toEqual([]);
    expect(lines("source: {adopt: a}\npacs:\n")).toEqual([
      'f:2:1: pacs: unknown key "pacs"; did you mean "packs"?',
    ]);
  });

  test("is told all that is wrong, where it is", () => {
    expect(lines("packs:\n  - {ref: 7}\n  - {}\nflags:\n  a: {is: 3.10, not: 1}\n")).toEqual([
      "f:1:1: source: missing: expected a mapping (Where it comes from)",
      "f:2:11: packs[0].ref: expected text, found the number 7: put it in quotes",
      "f:3:5: packs[1].ref: missing: expected text (A commit)",
      "f:5:11: flags.a.is: expected true or false, found the number 3.10",
      'f:5:17: flags.a.not: unknown key "not"; known here: is',
    ]);
  });

  test("has words of its own for a choice, or the usual ones", () => {
    const text = "source: {repo: a}\n";
    expect(lines("source: 7\n")).toEqual(["f:1:9: source: expected a mapping, found the number 7"]);
    expect(lines(text, (choice) => choice.problemsAs(0))).toEqual([
      "f:1:1: source.ref: missing: expected text",
    ]);
    expect(lines(text, ({ path }) => [{ path, part: "value", message: "no" }])).toEqual([
      "f:1:9: source: no",
    ]);
    expect(lines(text, () => undefined)).toEqual([
      "f:1:9: source: expected a mapping, found a mapping",
    ]);
  });

  test("with more problems than a person reads says that there are more", () => {
    const text = `source: {adopt: a}\npacks:\n${"  - {}\n".repeat(PROBLEMS_MAX + 1)}`;
    const told = lines(text);
    expect(told).toHaveLength(PROBLEMS_MAX + 1);
    expect(told.at(-1)).toContain(`more than ${PROBLEMS_MAX} problems`);
  });
});
