/** One page: everything that was asked for, as values by `node.input`. Pure. */
import { NO_PLACE_FOR_PROMPT } from "../jobs/prompt-places.ts";
import type { VariableValue } from "./model.ts";
import { fillInput, type TemplateInput, type TemplatePlaces } from "./template-places.ts";

/** What is wanted of a page. */
export interface PageWish {
  readonly variables: ReadonlyMap<string, VariableValue>;
  /** Values by `node.input`. */
  readonly direct: ReadonlyMap<string, unknown>;
  readonly prompt: string | undefined;
  readonly seed: number | undefined;
}

/** What came of it. */
export type FilledPage =
  | {
      readonly kind: "filled";
      readonly set: ReadonlyMap<string, unknown>;
      /** Those that were wished for, prompt and seed among them where they have a mark. */
      readonly variables: ReadonlyMap<string, VariableValue>;
      readonly warnings: readonly string[];
    }
  /** A variable without a value, and an input where it stands. */
  | { readonly kind: "missing"; readonly variable: string; readonly at: string }
  /** The values would come to more than a graph may have. */
  | { readonly kind: "too_large"; readonly maxLength: number };

/** Most characters that variables may bring into one page: what a graph may have in all. */
const MAX_FILLED_LENGTH = 16 * 1024 * 1024;

/** The warning for a seed that fits nowhere. */
const NO_PLACE_FOR_SEED =
  "seed: the graph has no {{seed}} and no input that holds a seed; it runs with its own numbers";

/**
 * Puts a page together. A value for a whole input goes before the variables in it; prompt and seed
 * go before both, where they have a mark or a place.
 */
export function fillPage(places: TemplatePlaces, wish: PageWish): FilledPage {
  const marks = marksOf(places, wish);
  const variables = marks.size === 0 ? wish.variables : new Map([...wish.variables, ...marks]);
  if (filledLength(places, variables) > MAX_FILLED_LENGTH) {
    return { kind: "too_large", maxLength: MAX_FILLED_LENGTH };
  }
  const set = new Map<string, unknown>();
  for (const input of places.inputs.values()) {
    if (wish.direct.has(input.name) && !hasAny(input, marks)) continue;
    const filled = fillInput(input, variables);
    if (filled === undefined) {
      const variable = input.variables.find((name) => !variables.has(name)) ?? "";
      return { kind: "missing", variable, at: input.name };
    }
    set.set(input.name, filled.value);
  }
  for (const [name, value] of wish.direct) if (!set.has(name)) set.set(name, value);
  const warnings: string[] = [];
  const put = (value: unknown, into: readonly string[], otherwise: string): void => {
    for (const name of into) set.set(name, value);
    if (into.length === 0) warnings.push(otherwise);
  };
  if (wish.prompt !== undefined && !marks.has("prompt")) {
    put(wish.prompt, places.prompts(), NO_PLACE_FOR_PROMPT);
  }
  if (wish.seed !== undefined && !marks.has("seed")) {
    put(wish.seed, places.seeds(), NO_PLACE_FOR_SEED);
  }
  return { kind: "filled", set, variables, warnings };
}

/** Prompt and seed, as far as the graph has marks for them. */
export function marksOf(
  places: TemplatePlaces,
  { prompt, seed }: { readonly prompt?: string | undefined; readonly seed?: number | undefined },
): ReadonlyMap<string, VariableValue> {
  const marks = new Map<string, VariableValue>();
  for (const [name, value] of [["prompt", prompt] as const, ["seed", seed] as const]) {
    if (value === undefined || !places.variables.has(name)) continue;
    marks.set(name, { within: value });
  }
  return marks;
}

function hasAny(input: TemplateInput, marks: ReadonlyMap<string, unknown>): boolean {
  return marks.size > 0 && input.variables.some((name) => marks.has(name));
}

/** At least as many characters as the variables bring. */
function filledLength(
  places: TemplatePlaces,
  variables: ReadonlyMap<string, VariableValue>,
): number {
  let longest = 0;
  for (const { within } of variables.values()) {
    longest = Math.max(longest, typeof within === "string" ? within.length : 32);
  }
  let marks = 0;
  for (const input of places.inputs.values()) marks += input.marks;
  return marks * longest;
}
