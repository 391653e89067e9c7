/** What zod finds wrong with a file, in words for a person. Nothing of zod's own texts is shown. */
import type { z } from "zod";
import type { YamlPath } from "./finding.ts";
import { nearestName } from "./nearest-name.ts";
import { keysAt, schemaAt, typeWords, type SchemaNode } from "./schema-words.ts";
import { isSecretPath, shownValue } from "./shown-value.ts";

/** A problem of one value or key. */
export interface ShapeProblem {
  readonly path: YamlPath;
  readonly part: "key" | "value";
  readonly message: string;
}

/** A file as it was read, to say what was found. */
export interface WrittenFile {
  readonly value: unknown;
  sourceOf(path: YamlPath): string | undefined;
}

/** What a kind of file looks like. */
export interface FileForm {
  /** What people call it: `machine.yaml`. */
  readonly name: string;
  readonly schema: SchemaNode;
  /** Words of its own for a choice that no alternative fits; undefined where the usual ones do. */
  choiceWords?(choice: UnfitChoice): readonly ShapeProblem[] | undefined;
}

/** A value that fits none of the alternatives of its schema. */
export interface UnfitChoice {
  readonly path: YamlPath;
  readonly value: unknown;
  /** The value for a message, without what may be a secret. */
  readonly shown: string;
  /** What is wrong with it as the alternative of this index. */
  problemsAs(index: number): readonly ShapeProblem[];
  /** A key in it that no alternative has. */
  unknownKey(key: string): ShapeProblem;
}

type Issue = z.core.$ZodIssue;

interface Reading {
  readonly written: WrittenFile;
  readonly form: FileForm;
}

/** All problems of a refused file. */
export function shapeProblems(
  issues: readonly Issue[],
  written: WrittenFile,
  form: FileForm,
): readonly ShapeProblem[] {
  return issues.flatMap((issue) => ofIssue(issue, [], { written, form }));
}

function ofIssue(issue: Issue, above: YamlPath, reading: Reading): readonly ShapeProblem[] {
  const path = [...above, ...issue.path.map((part) => (typeof part === "symbol" ? "" : part))];
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => unknownKey(path, key, reading));
    case "invalid_union":
      return ofUnion(issue, path, reading);
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
      return [ofValue(path, reading, sizeWords(issue, path, reading))];
    case "invalid_format":
      // A pattern carries its own sentence; where it is one of zod's, the schema says what may stand.
      return [ofValue(path, reading, formatWords(issue.message, path, reading))];
    case "custom":
      return [ofRule(issue.message, path, reading)];
    default:
      return [ofValue(path, reading, expectedAt(path, reading))];
  }
}

/** A rule of the schema. One between several keys says itself what it found. */
function ofRule(message: string, path: YamlPath, reading: Reading): ShapeProblem {
  const value = valueAt(reading.written.value, path);
  return typeof value === "object" && value !== null
    ? { path, part: "value", message }
    : ofValue(path, reading, formatWords(message, path, reading));
}

function formatWords(message: string, path: YamlPath, reading: Reading): string {
  if (isSecretPath(path) && path.at(-1) === "tokenFile") {
    return (
      "expected the absolute path of a file that holds the token; " +
      `a token itself does not belong in ${reading.form.name}`
    );
  }
  return message.startsWith("expected ") ? message : expectedAt(path, reading);
}

function ofValue(path: YamlPath, { written, form }: Reading, expected: string): ShapeProblem {
  const value = valueAt(written.value, path);
  if (value === undefined) {
    const meaning = schemaAt(form.schema, path)?.description;
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

function expectedAt(path: YamlPath, { form }: Reading): string {
  const node = schemaAt(form.schema, path);
  return node === undefined ? "expected something else" : `expected ${typeWords(node)}`;
}

function sizeWords(
  issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig,
  path: YamlPath,
  reading: Reading,
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
  return expectedAt(path, reading);
}

function unknownKey(path: YamlPath, key: string, { form }: Reading): ShapeProblem {
  const known = keysAt(form.schema, path);
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
  path: YamlPath,
  reading: Reading,
): readonly ShapeProblem[] {
  const own = reading.form.choiceWords?.(unfitChoice(issue, path, reading));
  if (own !== undefined) return own;
  // An alternative of another type says nothing but that: it was not meant.
  const meant = issue.errors.filter((errors) => !errors.some((one) => isOtherType(one)));
  const only = meant.length === 1 ? meant[0] : undefined;
  return only === undefined
    ? [ofValue(path, reading, expectedAt(path, reading))]
    : only.flatMap((one) => ofIssue(one, path, reading));
}

function unfitChoice(
  issue: z.core.$ZodIssueInvalidUnion,
  path: YamlPath,
  reading: Reading,
): UnfitChoice {
  const value = valueAt(reading.written.value, path);
  return {
    path,
    value,
    shown: shownValue(value, path, reading.written.sourceOf(path)),
    problemsAs: (index) =>
      (issue.errors[index] ?? []).flatMap((one) => ofIssue(one, path, reading)),
    unknownKey: (key) => unknownKey(path, key, reading),
  };
}

function isOtherType(issue: Issue): boolean {
  return issue.path.length === 0 && /^invalid_(?:type|value)$/.test(issue.code);
}

function valueAt(value: unknown, path: YamlPath): unknown {
  let found = value;
  for (const part of path) {
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, part))
      return undefined;
    found = (found as Record<string | number, unknown>)[part];
  }
  return found;
}

function quoted(path: YamlPath): string {
  return JSON.stringify(String(path.at(-1) ?? "").slice(0, 80));
}
