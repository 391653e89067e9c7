/** What zod finds wrong with a manifest, in words for a person. Nothing of zod's own texts is shown. */
import type { z } from "zod";
import type { ManifestPath } from "./finding.ts";
import { nearestName } from "./nearest-name.ts";
import { keysAt, schemaAt, typeWords } from "./schema-words.ts";
import { isSecretPath, shownValue } from "./shown-value.ts";

/** A problem of one value or key. */
export interface ShapeProblem {
  readonly path: ManifestPath;
  readonly part: "key" | "value";
  readonly message: string;
}

/** The manifest as it was read, to say what was found. */
export interface WrittenManifest {
  readonly value: unknown;
  sourceOf(path: ManifestPath): string | undefined;
}

type Issue = z.core.$ZodIssue;

/** All problems of a refused manifest. */
export function shapeProblems(
  issues: readonly Issue[],
  written: WrittenManifest,
): readonly ShapeProblem[] {
  return issues.flatMap((issue) => ofIssue(issue, [], written));
}

function ofIssue(
  issue: Issue,
  above: ManifestPath,
  written: WrittenManifest,
): readonly ShapeProblem[] {
  const path = [...above, ...issue.path.map((part) => (typeof part === "symbol" ? "" : part))];
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => unknownKey(path, key));
    case "invalid_union":
      return ofUnion(issue, path, written);
    case "invalid_key":
      return [
        {
          path,
          part: "key",
          message: `${issue.issues[0]?.message}, found the key ${quoted(path)}`,
        },
      ];
    case "too_small":
    case "too_big":
      return [ofValue(path, written, sizeWords(issue, path))];
    case "invalid_format":
      // A pattern carries its own sentence; where it is one of zod's, the schema says what may stand.
      return [ofValue(path, written, formatWords(issue.message, path))];
    case "custom":
      return [ofValue(path, written, formatWords(issue.message, path))];
    default:
      return [ofValue(path, written, expectedAt(path))];
  }
}

function formatWords(message: string, path: ManifestPath): string {
  if (isSecretPath(path) && path.at(-1) === "tokenFile") {
    return (
      "expected the absolute path of a file that holds the token; " +
      "a token itself does not belong in machine.yaml"
    );
  }
  return message.startsWith("expected ") ? message : expectedAt(path);
}

function ofValue(path: ManifestPath, written: WrittenManifest, expected: string): ShapeProblem {
  const value = valueAt(written.value, path);
  if (value === undefined) {
    const meaning = schemaAt(path)?.description;
    const tail = meaning === undefined ? "" : ` (${meaning.replace(/\.$/, "")})`;
    return { path, part: "key", message: `missing: ${expected}${tail}` };
  }
  if (value === null) {
    const message = `${expected}, found nothing: give it a value, or remove the key`;
    return { path, part: "value", message };
  }
  const found = shownValue(value, path, written.sourceOf(path));
  const isUnquoted = typeof value !== "string" && expected === "expected text";
  const advice = isUnquoted && typeof value !== "object" ? ": put it in quotes" : "";
  return { path, part: "value", message: `${expected}, found ${found}${advice}` };
}

function expectedAt(path: ManifestPath): string {
  const node = schemaAt(path);
  return node === undefined ? "expected something else" : `expected ${typeWords(node)}`;
}

function sizeWords(
  issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig,
  path: ManifestPath,
): string {
  if (issue.origin === "string") {
    return issue.code === "too_small"
      ? "expected a text that is not empty"
      : `expected at most ${issue.maximum} characters`;
  }
  if (issue.origin === "array") {
    return issue.code === "too_small"
      ? "expected a list that is not empty"
      : `expected at most ${issue.maximum} entries`;
  }
  return expectedAt(path);
}

function unknownKey(path: ManifestPath, key: string): ShapeProblem {
  const known = keysAt(path);
  const near = nearestName(key, known);
  const hint =
    near === undefined ? `known here: ${known.join(", ")}` : `did you mean ${quoted([near])}?`;
  const message =
    key === "<<"
      ? "merge keys (`<<`) are not supported: write the keys out"
      : `unknown key ${quoted([key])}; ${hint}`;
  return { path: [...path, key], part: "key", message };
}

/**
 * A choice that no alternative fits. The problems of the alternative that was meant are told, where
 * that can be seen; otherwise what the alternatives are.
 */
function ofUnion(
  issue: z.core.$ZodIssueInvalidUnion,
  path: ManifestPath,
  written: WrittenManifest,
): readonly ShapeProblem[] {
  if (path.length === 1 && path[0] === "comfyui") return ofComfyui(issue, path, written);
  // An alternative of another type says nothing but that: it was not meant.
  const meant = issue.errors.filter((errors) => !errors.some((one) => isOtherType(one)));
  const only = meant.length === 1 ? meant[0] : undefined;
  return only === undefined
    ? [ofValue(path, written, expectedAt(path))]
    : only.flatMap((one) => ofIssue(one, path, written));
}

function isOtherType(issue: Issue): boolean {
  return issue.path.length === 0 && /^invalid_(?:type|value)$/.test(issue.code);
}

const COMFYUI_FORMS =
  "expected either `repo` and `ref` (ComfyUI is cloned), or `adopt` (a folder that is there already)";

function ofComfyui(
  issue: z.core.$ZodIssueInvalidUnion,
  path: ManifestPath,
  written: WrittenManifest,
): readonly ShapeProblem[] {
  const value = valueAt(written.value, path);
  const isMapping = typeof value === "object" && value !== null && !Array.isArray(value);
  const keys = isMapping ? Object.keys(value) : [];
  const isAdopted = keys.includes("adopt");
  const isCloned = keys.includes("repo") || keys.includes("ref");
  const [cloned, adopted] = issue.errors;
  if (isAdopted && isCloned) {
    return [{ path, part: "key", message: `${COMFYUI_FORMS}, found both: remove one` }];
  }
  const meant = isAdopted ? adopted : isCloned ? cloned : undefined;
  if (meant !== undefined) return meant.flatMap((one) => ofIssue(one, path, written));
  // Neither: an unknown key may be a misspelt one of either form.
  const unknown = keys.map((key) => unknownKey(path, key));
  const found = isMapping ? "neither" : shownValue(value, path, written.sourceOf(path));
  return [{ path, part: "key", message: `${COMFYUI_FORMS}, found ${found}` }, ...unknown];
}

function valueAt(value: unknown, path: ManifestPath): unknown {
  let found = value;
  for (const part of path) {
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, part))
      return undefined;
    found = (found as Record<string | number, unknown>)[part];
  }
  return found;
}

function quoted(path: ManifestPath): string {
  return JSON.stringify(String(path.at(-1) ?? "").slice(0, 80));
}
