/**
 * Reads the settings of a provider as a person wrote them, and says in words what is wrong. Rules over
 * several keys are looked at once each key by itself is right.
 */
import type { z } from "zod";
import { nearNames } from "./near-names.ts";

/** Settings, or every problem in words. */
export type SettingsReading<T> =
  | { readonly kind: "ok"; readonly settings: T }
  | { readonly kind: "refused"; readonly problems: readonly string[] };

/** Longest value that is shown. */
const SHOWN_MAX = 60;

/** Whose values are never shown: keys, and what machines are given beside them. */
const SECRET = /^(?:apiKey|env)$/;

/** Checks a value that was read from YAML. `at` is where it stands: `pools.gpu.runpod`. */
export function readSettings<Schema extends z.ZodObject>(
  schema: Schema,
  value: unknown,
  at: string,
): SettingsReading<z.output<Schema>> {
  const result = schema.safeParse(value);
  if (result.success) return { kind: "ok", settings: result.data };
  const known = Object.keys(schema.shape);
  const problems = result.error.issues.flatMap((issue) => problemsOf(issue, value, known, at));
  return { kind: "refused", problems };
}

function problemsOf(
  issue: z.core.$ZodIssue,
  value: unknown,
  known: readonly string[],
  at: string,
): readonly string[] {
  const path = issue.path.map(String);
  const place = [at, ...path].join(".");
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => `${place}.${key}: ${unknownKeyWords(key, known)}`);
    case "invalid_key":
      return [`${place}: ${issue.issues[0]?.message ?? issue.message}`];
    case "custom":
      // A rule over several keys says all there is to say.
      if (path.length === 0) return [`${place}: ${issue.message}`];
      return [`${place}: ${issue.message}${foundWords(valueAt(value, path), path)}`];
    default:
      return [`${place}: ${valueWords(issue.message, valueAt(value, path), path)}`];
  }
}

function unknownKeyWords(key: string, known: readonly string[]): string {
  const [near] = nearNames(key, known, 1);
  return near === undefined
    ? `unknown key; known here: ${known.join(", ")}`
    : `unknown key; did you mean ${JSON.stringify(near)}?`;
}

function valueWords(expected: string, found: unknown, path: readonly string[]): string {
  if (path.length === 0) return `expected a mapping of settings${foundWords(found, path)}`;
  return found === undefined ? `missing: ${expected}` : `${expected}${foundWords(found, path)}`;
}

function foundWords(found: unknown, path: readonly string[]): string {
  if (found === undefined) return "";
  if (found === null) return ", found nothing: give it a value, or remove the key";
  if (path.some((part) => SECRET.test(part))) return ", found something else";
  if (Array.isArray(found)) return `, found a list of ${found.length}`;
  if (typeof found === "object") return ", found a mapping";
  const shown = JSON.stringify(found) ?? "something else";
  return `, found ${shown.length > SHOWN_MAX ? `${shown.slice(0, SHOWN_MAX)}…` : shown}`;
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  let found = value;
  for (const part of path) {
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, part))
      return undefined;
    found = (found as Record<string, unknown>)[part];
  }
  return found;
}
