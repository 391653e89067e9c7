/** Python's `repr` of a JSON value: lists and texts in messages are printed with it. */
export function pythonRepr(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return quoted(value);
  if (Array.isArray(value)) return `[${value.map(pythonRepr).join(", ")}]`;
  if (typeof value === "object") {
    const entries = Object.entries(value).map(
      ([key, each]) => `${quoted(key)}: ${pythonRepr(each)}`,
    );
    return `{${entries.join(", ")}}`;
  }
  return "<object>";
}

/** Python's `str` of a JSON value. */
export function pythonStr(value: unknown): string {
  return typeof value === "string" ? value : pythonRepr(value);
}

/** Python's `str` of a whole number, every digit of it. */
export function pythonInt(value: unknown): string {
  return typeof value === "number" && Number.isInteger(value)
    ? BigInt(value).toString()
    : String(value);
}

/** Python's `str` of a float, which keeps its `.0`. */
export function pythonFloat(value: number): string {
  return Number.isInteger(value) && Math.abs(value) < 1e16 ? `${String(value)}.0` : String(value);
}

function quoted(text: string): string {
  const escaped = text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return escaped.includes("'") && !escaped.includes('"')
    ? `"${escaped}"`
    : `'${escaped.replaceAll("'", "\\'")}'`;
}

/** An exception of Python's own, raised while a graph is read. */
export class PythonError extends Error {
  readonly exceptionType: string;
  readonly frames: readonly string[];

  constructor(exceptionType: string, message: string, frames: readonly string[] = []) {
    super(message);
    this.exceptionType = exceptionType;
    this.frames = frames;
  }
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  boolean: "bool",
  number: "int",
  string: "str",
};

/** The name of a JSON value's type in Python. */
export function typeName(value: unknown): string {
  if (value === null || value === undefined) return "NoneType";
  if (Array.isArray(value)) return "list";
  if (typeof value === "number" && !Number.isInteger(value)) return "float";
  return TYPE_NAMES[typeof value] ?? "dict";
}

/** Python's `key in value`. Throws its error where a value holds nothing. */
export function pythonIn(key: string, value: unknown): boolean {
  if (typeof value === "string" || Array.isArray(value)) return value.includes(key);
  if (typeof value === "object" && value !== null) return Object.hasOwn(value, key);
  throw new PythonError("TypeError", `argument of type '${typeName(value)}' is not iterable`);
}

/** Python's `value[key]` with a text for key. Throws its error where that names nothing. */
export function pythonItem(value: unknown, key: string): unknown {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    if (Object.hasOwn(value, key)) return (value as Readonly<Record<string, unknown>>)[key];
    throw new PythonError("KeyError", quoted(key));
  }
  const isIndexed = typeof value === "string" || Array.isArray(value);
  throw new PythonError(
    "TypeError",
    isIndexed
      ? `${typeof value === "string" ? "string" : "list"} indices must be integers or slices, not str`
      : `'${typeName(value)}' object is not subscriptable`,
  );
}

/**
 * Python's `int(value)`; a whole number that JavaScript would round stays text. Throws its error.
 */
export function toPythonInt(value: unknown): number | string {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "number") return Math.trunc(value);
  if (typeof value === "string") {
    if (/^\s*[+-]?\d+(_\d+)*\s*$/.test(value)) {
      const digits = value.replaceAll("_", "").trim();
      return Number.isSafeInteger(Number(digits)) ? Number(digits) : digits;
    }
    throw new PythonError(
      "ValueError",
      `invalid literal for int() with base 10: ${pythonRepr(value)}`,
    );
  }
  throw new PythonError(
    "TypeError",
    `int() argument must be a string, a bytes-like object or a real number, not '${typeName(value)}'`,
  );
}

/** Python's `float(value)`. Throws its error. */
export function toPythonFloat(value: unknown): number {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "number") return value;
  if (typeof value === "string") {
    const text = value.trim();
    if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Number(text);
    throw new PythonError("ValueError", `could not convert string to float: ${pythonRepr(value)}`);
  }
  throw new PythonError(
    "TypeError",
    `float() argument must be a string or a real number, not '${typeName(value)}'`,
  );
}

/** Python's `bool(value)`. */
export function toPythonBool(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}
