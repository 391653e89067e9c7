/** What is wrong with a field of a request, in words for whoever sent it. Pure. */

/** A problem as `fastify-type-provider-zod` 7 tells it: a zod 4 issue without path and code. */
export interface FieldIssue {
  /** Zod's code of the issue. */
  readonly keyword: string;
  readonly message?: string | undefined;
  readonly params: Readonly<Record<string, unknown>>;
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
  null: "null",
};
const FOUND_WORDS: Readonly<Record<string, string>> = {
  ...TYPE_WORDS,
  undefined: "none",
  NaN: "something else",
};
/** The ids of `contract/ids.ts`. */
const ID_PATTERN = /^\/\^([a-z]+)_\[0-9a-z\]\{26\}\$\/$/;

/** `expected text, found none`; zod's own words for what is not told apart here. */
export function fieldWords({ keyword, message, params }: FieldIssue): string {
  switch (keyword) {
    case "invalid_type":
      return typeIssue(params, message);
    case "invalid_format":
      return formatIssue(params, message);
    case "invalid_value":
      return choiceWords(params["values"]) ?? message ?? WRONG;
    case "unrecognized_keys":
      return `unknown: ${textList(params["keys"]).join(", ")}`;
    case "too_small":
    case "too_big":
      return sizeIssue(keyword, params) ?? message ?? WRONG;
    case "invalid_union":
      return unionWords(params) ?? message ?? WRONG;
    default:
      return message ?? WRONG;
  }
}

const WRONG = "wrong value";
/** How zod 4 begins what it says of a pattern by itself. */
const ZODS_OWN = "Invalid string";

function typeIssue({ expected }: FieldIssue["params"], message = ""): string {
  // Zod 4 has what it found in its words alone.
  const found = /, received (\S+)$/.exec(message)?.[1];
  // A number with a fraction is a number all the same.
  const isFraction = expected === "int" && found === "number";
  const words = isFraction ? "one with a fraction" : FOUND_WORDS[found ?? ""];
  const wanted = TYPE_WORDS[String(expected)] ?? String(expected);
  return `expected ${wanted}${words === undefined ? "" : `, found ${words}`}`;
}

function formatIssue({ format, pattern }: FieldIssue["params"], message = WRONG): string {
  if (format === "datetime") return "expected an instant such as 2026-01-31T12:00:00.000Z";
  if (format !== "regex") return message;
  const prefix = ID_PATTERN.exec(String(pattern))?.[1];
  if (prefix !== undefined) return `expected an id: ${prefix}_ and 26 small letters and digits`;
  // What the schema itself says of its pattern.
  if (!message.startsWith(ZODS_OWN)) return message;
  return `expected a text that fits ${String(pattern)}`;
}

function choiceWords(values: unknown): string | undefined {
  const known = textList(values);
  if (known.length === 0) return undefined;
  return known.length === 1 ? `expected ${known[0]}` : `expected one of ${known.join(", ")}`;
}

function sizeIssue(
  keyword: "too_small" | "too_big",
  { origin, minimum, maximum, inclusive }: FieldIssue["params"],
): string | undefined {
  const isSmall = keyword === "too_small";
  const limit = String(isSmall ? minimum : maximum);
  switch (origin) {
    case "string":
      if (isSmall && limit === "1") return "expected a text that is not empty";
      return `expected at ${isSmall ? "least" : "most"} ${limit} characters`;
    case "array":
      if (isSmall && limit === "1") return "expected a list that is not empty, found an empty list";
      return `expected at ${isSmall ? "least" : "most"} ${limit} entries`;
    case "number":
    case "int":
      if (inclusive === false) return `expected a number ${isSmall ? "over" : "under"} ${limit}`;
      return `expected a number of at ${isSmall ? "least" : "most"} ${limit}`;
    default:
      return undefined;
  }
}

/** Of alternatives that are plain types their names; else undefined. */
function unionWords({ errors, options }: FieldIssue["params"]): string | undefined {
  if (Array.isArray(options)) return choiceWords(options);
  if (!Array.isArray(errors)) return undefined;
  const names = new Set<string>();
  for (const alternative of errors as readonly unknown[]) {
    const [issue] = Array.isArray(alternative) ? (alternative as readonly unknown[]) : [];
    const { code, path, expected } = (issue ?? {}) as Readonly<Record<string, unknown>>;
    const name = TYPE_WORDS[String(expected)];
    if (code !== "invalid_type" || !Array.isArray(path) || path.length > 0) return undefined;
    if (name === undefined) return undefined;
    names.add(name);
  }
  return names.size === 0 ? undefined : `expected ${[...names].join(" or ")}`;
}

function textList(values: unknown): readonly string[] {
  return Array.isArray(values) ? values.map(String) : [];
}
