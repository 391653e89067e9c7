/** What is wrong with a custom pattern: what was expected, what was found, and what to do. */
export interface PatternProblem {
  /** The field: `patterns[1]`, `parameter_adjustments.steps.factor`; empty for the whole. */
  readonly path: string;
  readonly message: string;
}

const SHOWN_MAX = 60;

/** A value as problems show it: short, and without guessing what was meant. */
export function found(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object" && value !== null) return "an object";
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) return typeof value;
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}

/** The value as an object with fields, or null. */
export function asObject(value: unknown): Readonly<Record<string, unknown>> | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  return value as Record<string, unknown>;
}

/** A problem for each field that nobody reads: mostly a slip in its name. */
export function unknownFields(
  object: Readonly<Record<string, unknown>>,
  fields: readonly string[],
  at: (field: string) => string,
): PatternProblem[] {
  return Object.keys(object)
    .filter((key) => !fields.includes(key))
    .map((key) => ({
      path: at(key.slice(0, SHOWN_MAX)),
      message: `there is no such field; known are ${fields.join(", ")}`,
    }));
}
