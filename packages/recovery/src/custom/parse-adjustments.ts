import {
  ADJUSTMENT_OPERATIONS,
  ADJUSTMENTS_MAX,
  FACTOR_MAX,
  PARAMETER_TEXT_MAX,
  type ParameterAdjustment,
  type ParameterAdjustments,
} from "./custom-pattern.ts";
import { asObject, found, unknownFields, type PatternProblem } from "./pattern-problem.ts";

const FIELDS = ["operation", "factor", "value", "min", "max"] as const;
const PARAMETER_NAME_MAX = 200;
/** Names that are no names: control characters, and what an object's prototype reads. */
const UNFIT_NAME = /[\p{Cc}\p{Cs}]|^__proto__$/u;

/** Reads `parameter_adjustments`; problems are added to the list, and leave what they are about out. */
export function parseAdjustments(
  value: unknown,
  path: string,
  problems: PatternProblem[],
): ParameterAdjustments {
  if (value === undefined || value === null) return {};
  const object = asObject(value);
  if (object === null) {
    const message = `expected an object of adjustments by parameter, such as {"batch_size": {"operation": "reduce", "factor": 0.5}}, found ${found(value)}`;
    problems.push({ path, message });
    return {};
  }
  const entries = Object.entries(object);
  if (entries.length > ADJUSTMENTS_MAX) {
    const message = `expected at most ${ADJUSTMENTS_MAX} adjustments, found ${entries.length}`;
    problems.push({ path, message });
    return {};
  }
  const adjustments: Record<string, ParameterAdjustment> = {};
  for (const [name, item] of entries) {
    const isFit = name.trim() !== "" && name.length <= PARAMETER_NAME_MAX && !UNFIT_NAME.test(name);
    if (!isFit) {
      const message = `expected a parameter's name (batch_size, node.input or an input's name) of at most ${PARAMETER_NAME_MAX} characters, found ${found(name)}`;
      problems.push({ path, message });
      continue;
    }
    const adjustment = parseAdjustment(item, `${path}.${name.slice(0, 60)}`, problems);
    if (adjustment !== null) adjustments[name] = adjustment;
  }
  return adjustments;
}

function parseAdjustment(
  value: unknown,
  path: string,
  problems: PatternProblem[],
): ParameterAdjustment | null {
  const object = asObject(value);
  if (object === null) {
    const message = `expected an object such as {"operation": "reduce", "factor": 0.5}, found ${found(value)}`;
    problems.push({ path, message });
    return null;
  }
  const before = problems.length;
  problems.push(...unknownFields(object, FIELDS, (field) => `${path}.${field}`));
  const min = readBound(object["min"], `${path}.min`, problems);
  const max = readBound(object["max"], `${path}.max`, problems);
  if (min !== undefined && max !== undefined && min > max) {
    problems.push({ path: `${path}.min`, message: `expected min ≤ max, found ${min} > ${max}` });
  }
  const bounds = { ...(min === undefined ? {} : { min }), ...(max === undefined ? {} : { max }) };
  const operation = ADJUSTMENT_OPERATIONS.find((one) => one === object["operation"]);
  switch (operation) {
    case undefined: {
      const message = `expected one of ${ADJUSTMENT_OPERATIONS.join(", ")}, found ${found(object["operation"])}`;
      problems.push({ path: `${path}.operation`, message });
      return null;
    }
    case "set": {
      const set = readValue(object, bounds, path, problems);
      return problems.length > before || set === null ? null : { operation, value: set, ...bounds };
    }
    default: {
      const factor = readFactor(operation, object, path, problems);
      return problems.length > before ? null : { operation, factor, ...bounds };
    }
  }
}

function readBound(value: unknown, path: string, problems: PatternProblem[]): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  problems.push({ path, message: `expected a number, found ${found(value)}` });
  return undefined;
}

const FACTOR_RANGES = {
  reduce: { fits: (factor: number) => factor > 0 && factor < 1, words: "over 0 and under 1" },
  increase: {
    fits: (factor: number) => factor > 1 && factor <= FACTOR_MAX,
    words: `over 1, ${FACTOR_MAX} at most`,
  },
  multiply: {
    fits: (factor: number) => factor > 0 && factor <= FACTOR_MAX,
    words: `over 0, ${FACTOR_MAX} at most`,
  },
} as const;

function readFactor(
  operation: keyof typeof FACTOR_RANGES,
  object: Readonly<Record<string, unknown>>,
  path: string,
  problems: PatternProblem[],
): number {
  if (object["value"] !== undefined) {
    const message = `\`value\` is for the operation set; ${operation} takes a \`factor\``;
    problems.push({ path: `${path}.value`, message });
  }
  const { factor } = object;
  const { fits, words } = FACTOR_RANGES[operation];
  if (typeof factor === "number" && fits(factor)) return factor;
  const message = `expected a number ${words}, for the operation ${operation}, found ${found(factor)}`;
  problems.push({ path: `${path}.factor`, message });
  return 1;
}

function readValue(
  object: Readonly<Record<string, unknown>>,
  { min, max }: { readonly min?: number; readonly max?: number },
  path: string,
  problems: PatternProblem[],
): number | string | boolean | null {
  if (object["factor"] !== undefined) {
    const message = "`factor` is for reduce, increase and multiply; set takes a `value`";
    problems.push({ path: `${path}.factor`, message });
  }
  const { value } = object;
  const isText = typeof value === "string" && value.length <= PARAMETER_TEXT_MAX;
  const isNumber = typeof value === "number" && Number.isFinite(value);
  if (!isText && !isNumber && typeof value !== "boolean") {
    const message = `expected a number, true, false, or a text of at most ${PARAMETER_TEXT_MAX} characters, found ${found(value)}`;
    problems.push({ path: `${path}.value`, message });
    return null;
  }
  const isOut =
    isNumber && ((min !== undefined && value < min) || (max !== undefined && value > max));
  if (isOut) {
    const message = `expected a value from min to max, found ${String(value)}`;
    problems.push({ path: `${path}.value`, message });
  }
  return value;
}
