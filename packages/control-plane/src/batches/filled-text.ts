/** From a text that was filled back to the values of its variables, where only one reading is possible. Pure. */
import type { TemplateValue } from "@holdfast/comfyui/protocol";
import { isTemplateValue } from "./set-values.ts";
import type { TemplateInput, TextParts, VariableValue } from "./template-places.ts";

/**
 * The values that were put into an input, as far as they can only have been these. `known` are values
 * that are certain: they part the text further. Undefined when it may be read in two ways, or when
 * the input holds something that its template does not give.
 */
export function readFilled(
  input: TemplateInput,
  filled: unknown,
  known: ReadonlyMap<string, VariableValue>,
): ReadonlyMap<string, TemplateValue> | undefined {
  if (input.isAlone) {
    const [name] = input.variables;
    return name !== undefined && isTemplateValue(filled) ? new Map([[name, filled]]) : undefined;
  }
  if (input.text === null || typeof filled !== "string") return undefined;
  const { literals, names } = partsOf(input.text, known);
  const left = cutFromLeft(literals, filled);
  const right = cutFromRight(literals, filled);
  if (left === undefined || right === undefined) return undefined;
  const values = new Map<string, TemplateValue>();
  for (const [index, name] of names.entries()) {
    const [from, to] = [left[index], right[index]];
    // All readings lie between the first from the left and the first from the right.
    if (from === undefined || to === undefined) return undefined;
    if (from.start !== to.start || from.end !== to.end) return undefined;
    const value = filled.slice(from.start, from.end);
    if ((values.get(name) ?? value) !== value) return undefined;
    values.set(name, value);
  }
  return values;
}

/** Whether an input may hold this by the known values, whatever its other variables became. */
export function isFilledBy(
  input: TemplateInput,
  filled: unknown,
  known: ReadonlyMap<string, VariableValue>,
): boolean {
  if (input.variables.every((name) => !known.has(name))) return true;
  if (input.isAlone) return true;
  if (input.text === null || typeof filled !== "string") return false;
  return cutFromLeft(partsOf(input.text, known).literals, filled) !== undefined;
}

/** A text parted at the variables that are not known. */
function partsOf(
  { literals, names }: TextParts,
  known: ReadonlyMap<string, VariableValue>,
): TextParts {
  const [first = "", ...rest] = literals;
  const parts = { literals: [first], names: [] as string[] };
  for (const [index, name] of names.entries()) {
    const literal = rest[index] ?? "";
    const value = known.get(name);
    if (value === undefined) {
      parts.names.push(name);
      parts.literals.push(literal);
    } else {
      parts.literals.push(`${parts.literals.pop()}${value.within}${literal}`);
    }
  }
  return parts;
}

interface Cut {
  readonly start: number;
  readonly end: number;
}

function cutFromLeft(literals: readonly string[], text: string): readonly Cut[] | undefined {
  const [first = "", ...rest] = literals;
  if (rest.length === 0) return text === first ? [] : undefined;
  if (!text.startsWith(first)) return undefined;
  const cuts: Cut[] = [];
  let start = first.length;
  for (const [index, literal] of rest.entries()) {
    const isLast = index === rest.length - 1;
    const end = isLast ? text.length - literal.length : text.indexOf(literal, start);
    if (end < start || (isLast && !text.endsWith(literal))) return undefined;
    cuts.push({ start, end });
    start = end + literal.length;
  }
  return cuts;
}

function cutFromRight(literals: readonly string[], text: string): readonly Cut[] | undefined {
  const last = literals.at(-1) ?? "";
  if (literals.length === 1) return text === last ? [] : undefined;
  if (!text.endsWith(last)) return undefined;
  const cuts: Cut[] = [];
  let end = text.length - last.length;
  for (let index = literals.length - 2; index >= 0; index -= 1) {
    const literal = literals[index] ?? "";
    const at = index === 0 ? 0 : text.lastIndexOf(literal, end - literal.length);
    const start = at + literal.length;
    if (at < 0 || start > end || (index === 0 && !text.startsWith(literal))) return undefined;
    cuts.unshift({ start, end });
    end = at;
  }
  return cuts;
}
