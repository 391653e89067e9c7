/** What Python's `int(x)` or `float(x)` makes of a JSON value. */
export type Conversion =
  | { readonly kind: "number"; readonly value: number }
  /** Raises: ComfyUI answers `invalid_input_type`. */
  | { readonly kind: "fails" }
  /** Digits of other scripts and the like: Python may take it. */
  | { readonly kind: "unsure" };

const INT_TEXT = /^[+-]?\d+(?:_\d+)*$/;
const FLOAT_TEXT =
  /^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?$/i;
const SPECIAL_TEXT = /^([+-]?)(inf|infinity|nan)$/i;
/** Longer text is not looked at. */
const MAX_TEXT = 400;

/**
 * Converts as ComfyUI does before it checks an `INT` (`int(val)` in execution.py, 0.3.64): floats
 * are cut, text must be a whole number, booleans count.
 */
export function toPythonInt(value: unknown): Conversion {
  if (typeof value === "boolean") return { kind: "number", value: value ? 1 : 0 };
  if (typeof value === "number") return { kind: "number", value: Math.trunc(value) };
  if (typeof value !== "string") return { kind: "fails" };
  return fromText(value, INT_TEXT);
}

/** Converts as ComfyUI does before it checks a `FLOAT` (`float(val)`). */
export function toPythonFloat(value: unknown): Conversion {
  if (typeof value === "boolean") return { kind: "number", value: value ? 1 : 0 };
  if (typeof value === "number") return { kind: "number", value };
  if (typeof value !== "string") return { kind: "fails" };
  const special = SPECIAL_TEXT.exec(value.trim());
  if (special !== null) {
    const magnitude = special[2]?.toLowerCase() === "nan" ? Number.NaN : Number.POSITIVE_INFINITY;
    return { kind: "number", value: special[1] === "-" ? -magnitude : magnitude };
  }
  return fromText(value, FLOAT_TEXT);
}

function fromText(text: string, form: RegExp): Conversion {
  if (text.length > MAX_TEXT) return { kind: "unsure" };
  const trimmed = text.trim();
  if (form.test(trimmed)) return { kind: "number", value: Number(trimmed.replaceAll("_", "")) };
  // Python takes the digits of every script, and trims other white space than JavaScript.
  return /^[\x20-\x7e]*$/.test(text) ? { kind: "fails" } : { kind: "unsure" };
}
