/** What is wrong with a JSON value that Postgres or a reader of ours could not take. */
export type JsonProblem = "too_deep" | "bad_text";

/**
 * Looks for nesting deeper than `maxDepth`, and for text that Postgres does not store (a NUL, half a
 * surrogate pair). Works without recursion, so no depth can overflow the stack.
 */
export function findJsonProblem(value: unknown, maxDepth: number): JsonProblem | undefined {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    const below: unknown[] = [];
    for (const item of level) {
      if (typeof item === "string") {
        if (!isStorableText(item)) return "bad_text";
      } else if (typeof item === "object" && item !== null) {
        if (depth >= maxDepth) return "too_deep";
        for (const [key, member] of Object.entries(item)) {
          if (!isStorableText(key)) return "bad_text";
          below.push(member);
        }
      }
    }
    level = below;
  }
  return undefined;
}

/** Whether Postgres can keep this text: no NUL, no half of a surrogate pair. */
export function isStorableText(text: string): boolean {
  return !text.includes("\0") && text.isWellFormed();
}
