import {
  PythonError,
  pythonFloat,
  pythonInt,
  pythonRepr,
  pythonStr,
  toPythonBool,
  toPythonFloat,
  toPythonInt,
} from "./python-text.ts";

/** One thing that is wrong, in ComfyUI's shape (execution.py, 0.3.64). */
export interface ValidationError {
  readonly type: string;
  readonly message: string;
  readonly details: string;
  readonly extra_info: Readonly<Record<string, unknown>>;
}

/** Lists longer than this are not repeated in an error. */
const LONGEST_SHOWN_LIST = 20;

/** Makes an error in ComfyUI's shape. */
export function failure(
  type: string,
  message: string,
  details: string,
  extraInfo: Readonly<Record<string, unknown>>,
): ValidationError {
  return { type, message, details, extra_info: extraInfo };
}

/** ComfyUI's rule: types are lists of names, one in common is enough; `*` takes everything. */
export function typesMatch(received: string, wanted: string | readonly string[]): boolean {
  if (typeof wanted !== "string") return false;
  if (received === wanted || received === "*" || wanted === "*") return true;
  const names = new Set(wanted.split(",").map((name) => name.trim()));
  return received.split(",").some((name) => names.has(name.trim()));
}

/**
 * Converts a value in place to what its input wants, and holds it against range and choices; null
 * when all is well. `type` is a name or the choices; `config` is the declaration that errors show.
 */
export function checkValue(
  inputs: Record<string, unknown>,
  name: string,
  type: string | readonly string[],
  config: readonly [unknown, Readonly<Record<string, unknown>>],
  isChecked: boolean,
): ValidationError | null {
  const options = config[1];
  let value = inputs[name];
  try {
    if (typeof value === "object" && value !== null && "__value__" in value) {
      value = (value as Readonly<Record<string, unknown>>)["__value__"];
    }
    value = converted(type, value);
    inputs[name] = value;
  } catch (error) {
    if (!(error instanceof PythonError)) throw error;
    return failure(
      "invalid_input_type",
      `Failed to convert an input value to a ${pythonStr(type)} value`,
      `${name}, ${pythonStr(value)}, ${error.message}`,
      {
        input_name: name,
        input_config: config,
        received_value: value,
        exception_message: error.message,
      },
    );
  }
  if (!isChecked) return null;
  const info = { input_name: name, input_config: config, received_value: value };
  const shown = (number: unknown): string =>
    type === "FLOAT" ? pythonFloat(Number(number)) : pythonInt(number);
  const { min, max } = options;
  const number = type === "INT" || type === "FLOAT" ? Number(value) : Number.NaN;
  if (typeof min === "number" && number < min) {
    const message = `Value ${shown(value)} smaller than min of ${shown(min)}`;
    return failure("value_smaller_than_min", message, name, info);
  }
  if (typeof max === "number" && number > max) {
    const message = `Value ${shown(value)} bigger than max of ${shown(max)}`;
    return failure("value_bigger_than_max", message, name, info);
  }
  if (typeof type === "string" || type.includes(value as string)) return null;
  const isLong = type.length > LONGEST_SHOWN_LIST;
  const list = isLong ? `(list of length ${String(type.length)})` : pythonRepr(type);
  return failure(
    "value_not_in_list",
    "Value not in list",
    `${name}: '${pythonStr(value)}' not in ${list}`,
    { ...info, input_config: isLong ? null : config },
  );
}

function converted(type: string | readonly string[], value: unknown): unknown {
  switch (type) {
    case "INT":
      return toPythonInt(value);
    case "FLOAT":
      return toPythonFloat(value);
    case "STRING":
      return pythonStr(value);
    case "BOOLEAN":
      return toPythonBool(value);
    default:
      return value;
  }
}
