/** How texts are put where they can mean nothing but themselves. */

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** A text between tags, or in an attribute that has quotes. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (found) => ENTITIES[found] ?? found);
}

/**
 * JSON for the inside of a `<script type="application/json">`. No character of it can end the element,
 * open a comment in it, or end a line of a script, and it parses to the same value.
 */
export function inlineJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    /[<>&\u2028\u2029]/g,
    (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Longest path that is taken for one. */
const PATH_MAX = 1_000;

/**
 * The address of a file below the page's own folder, each name encoded; null for anything else: a URL,
 * a path from the root, one that leaves the folder, one with `\`, which some browsers take for `/`.
 */
export function relativeAddress(path: string): string | null {
  if (path === "" || path.length > PATH_MAX || !path.isWellFormed()) return null;
  if (path.includes("\\") || path.includes("://")) return null;
  const names = path.split("/");
  if (names.some((name) => name === "" || name === "." || name === "..")) return null;
  // `./`, or a first name with a colon would be a scheme.
  return `./${names.map((name) => encodeURIComponent(name)).join("/")}`;
}
