import { pathText, type Finding, type ManifestPath } from "./finding.ts";
import { manifestDigest } from "./manifest-digest.ts";
import { manifestSchema, MANIFEST_VERSION, type Manifest } from "./model.ts";
import { parseYaml } from "./parse-yaml.ts";
import { shapeProblems, type ShapeProblem } from "./problem-words.ts";
import { checkManifest } from "./rules.ts";
import { keysAt } from "./schema-words.ts";
import type { YamlPlaces } from "./yaml-positions.ts";

/** Largest manifest that is read. */
export const MANIFEST_BYTES_MAX = 1024 * 1024;
/** Most problems that are told at once. */
const PROBLEMS_MAX = 100;

/** Something wrong with a manifest, and where. */
export interface ManifestProblem {
  /** `nodes[2].ref`; empty for the whole file. */
  readonly path: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** A manifest that can be worked with, or everything that is wrong with it. */
export type ManifestReading =
  | {
      readonly kind: "ok";
      readonly manifest: Manifest;
      /** See {@link manifestDigest}. */
      readonly digest: string;
      /** Unwise, but not wrong. */
      readonly warnings: readonly ManifestProblem[];
    }
  | { readonly kind: "refused"; readonly problems: readonly ManifestProblem[] };

/** Reads the text of `machine.yaml`: its form, its keys and values, and the rules between them. */
export function readManifest(text: string): ManifestReading {
  const bytes = Buffer.byteLength(text);
  if (bytes > MANIFEST_BYTES_MAX) {
    return refusedWhole(`expected at most ${MANIFEST_BYTES_MAX} bytes, found ${bytes}`);
  }
  const yaml = parseYaml(text);
  if (yaml.kind === "refused") {
    return refused(yaml.problems.map((problem) => ({ path: "", ...problem })));
  }
  const { places } = yaml;
  const value = withoutEmptySections(yaml.value);
  if (value === null || value === undefined) {
    return refusedWhole("the file is empty: `holdfast machine init` writes one to begin with");
  }
  if (typeof value !== "object" || Array.isArray(value)) {
    return refusedWhole("expected a mapping (`version: 1`, `comfyui: …`) at the top of the file");
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) {
    const written = { value, sourceOf: (path: ManifestPath) => places.sourceOf(path) };
    const shape = shapeProblems(parsed.error.issues, written);
    const rest = rulesOfTheRest(value, shape);
    return refused([
      ...shape.slice(0, PROBLEMS_MAX + 1).map((one) => placed(one, places, one.part)),
      ...rest.slice(0, PROBLEMS_MAX).map((one) => placed(one, places, "value")),
    ]);
  }
  const { problems, warnings } = checkManifest(parsed.data);
  if (problems.length > 0) {
    return refused(problems.slice(0, PROBLEMS_MAX + 1).map((one) => placed(one, places, "value")));
  }
  return {
    kind: "ok",
    manifest: parsed.data,
    digest: manifestDigest(parsed.data),
    warnings: inOrder(warnings.map((one) => placed(one, places, "value"))),
  };
}

/** One line a problem: `machine.yaml:12:5: nodes[2].ref: expected …`. */
export function manifestProblemLines(
  problems: readonly ManifestProblem[],
  file: string,
): readonly string[] {
  return problems.map(({ path, line, column, message }) => {
    const at = `${file}:${line}:${column}`;
    return path === "" ? `${at}: ${message}` : `${at}: ${path}: ${message}`;
  });
}

/** A section whose entries are all commented out is written `nodes:`, and means that there are none. */
function withoutEmptySections(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const known = keysAt([]);
  return Object.fromEntries(
    Object.entries(value).filter(([name, section]) => section !== null || !known.includes(name)),
  );
}

/**
 * Rules between the sections that have the right shape, so that a wrong type in one does not hide
 * two packs of one name in another. Sections with problems stand there as if they were in order.
 */
function rulesOfTheRest(value: object, shape: readonly ShapeProblem[]): readonly Finding[] {
  const wrong = new Set(shape.map(({ path }) => path[0]));
  const sections = Object.entries(value).filter(([name]) => !wrong.has(name));
  const rest = manifestSchema.safeParse({
    ...Object.fromEntries(sections),
    version: MANIFEST_VERSION,
    ...(wrong.has("comfyui") ? { comfyui: { repo: "/placeholder", ref: "main" } } : {}),
  });
  return rest.success ? checkManifest(rest.data).problems : [];
}

function placed(
  { path, message }: Finding,
  places: YamlPlaces,
  part: "key" | "value",
): ManifestProblem {
  return { path: pathText(path), ...places.positionOf(path, part), message };
}

function refusedWhole(message: string): ManifestReading {
  return refused([{ path: "", line: 1, column: 1, message }]);
}

function refused(problems: readonly ManifestProblem[]): ManifestReading {
  const told = inOrder(problems).slice(0, PROBLEMS_MAX);
  const last = told.at(-1);
  if (problems.length > PROBLEMS_MAX && last !== undefined) {
    const message = `more than ${PROBLEMS_MAX} problems: the others are not listed`;
    return { kind: "refused", problems: [...told, { ...last, path: "", message }] };
  }
  return { kind: "refused", problems: told };
}

function inOrder(problems: readonly ManifestProblem[]): readonly ManifestProblem[] {
  return [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
}
