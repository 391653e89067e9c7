import type { YamlPath } from "./finding.ts";

/** Longest text that a message repeats. */
const SHOWN_MAX = 80;

/**
 * A wrong value for a message: what it is, and how it was written. What may be a secret (values of
 * an environment, whatever is called a token, the user part of a URL) is not repeated: messages go
 * into logs.
 */
export function shownValue(value: unknown, path: YamlPath, source: string | undefined): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object") return "a mapping";
  if (isSecretPath(path)) return "a value that is not shown here";
  if (typeof value === "string") return JSON.stringify(cut(withoutSecrets(value)));
  const written = cut(source ?? JSON.stringify(value));
  return typeof value === "boolean" ? written : `the number ${written}`;
}

/** Whether what stands at a path may be a secret. */
export function isSecretPath(path: YamlPath): boolean {
  return path.some((part) => typeof part === "string" && (part === "env" || isSecretName(part)));
}

/** Whether a name is one that secrets are given by. */
export function isSecretName(name: string): boolean {
  return /token|secret|passw|credential|api_?key/i.test(name);
}

/** A text without the user part of its URLs and without the values of their queries. */
export function withoutSecrets(text: string): string {
  return text.replace(/(:\/\/)[^/?#\s]*@/g, "$1…@").replace(/([?&][^=&\s]+=)[^&\s]+/g, "$1…");
}

function cut(text: string): string {
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}
