/** `{name}` in titles and labels: single braces, unlike the graph's `{{variables}}`. */

const PLACEHOLDER = /\{([A-Za-z][A-Za-z0-9_-]*)\}/g;

/** The names that a title or label calls, in their order. */
export function placeholdersIn(pattern: string): readonly string[] {
  return [...pattern.matchAll(PLACEHOLDER)].map((match) => match[1] ?? "");
}

/** The pattern with its names replaced, once; a name without a text stays as it is written. */
export function filledPattern(
  pattern: string,
  textOf: (name: string) => string | undefined,
): string {
  return pattern.replace(PLACEHOLDER, (written, name: string) => textOf(name) ?? written);
}
