/** Reads plain data from outside field by field, and notes in words what is wrong with it. */

/** Something wrong, and where: `[2].when.above`. */
export interface ReadingProblem {
  readonly path: string;
  readonly message: string;
}

/** A value, or every problem with it. */
export type Parsed<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "invalid"; readonly problems: readonly ReadingProblem[] };

/** Takes the fields of one object. Every read of a wrong field is a problem, and answers a stand-in. */
export interface Reader {
  has(field: string): boolean;
  text(field: string, how?: TextRule): string;
  number(field: string, how: NumberRule): number;
  choice<const C extends string>(field: string, choices: readonly C[], byDefault?: C): C;
  flag(field: string, byDefault: boolean): boolean;
  list(field: string, max: number): readonly { readonly value: unknown; readonly path: string }[];
  /** An object of texts. */
  texts(
    field: string,
    name: RegExp,
    max: number,
    valueMax: number,
  ): Readonly<Record<string, string>>;
  /** A reader of an object in a field; of an empty one where there is none. */
  object(field: string, fields: readonly string[]): Reader;
  problem(field: string, message: string): void;
}

/** What a text may be. */
export interface TextRule {
  readonly pattern?: RegExp;
  /** The pattern in words: "a name in snake_case". */
  readonly what?: string;
  readonly max?: number;
  readonly byDefault?: string;
}

/** What a number may be. */
export interface NumberRule {
  readonly min: number;
  readonly max: number;
  readonly isWhole?: boolean;
  readonly byDefault?: number;
}

const TEXT_MAX = 2_000;
const SHOWN_MAX = 80;

/** A value as a message shows it: short, and never a whole document. */
export function found(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  const text = JSON.stringify(value);
  return text.length <= SHOWN_MAX ? text : `${text.slice(0, SHOWN_MAX)}…`;
}

/** An object of fields; null for what is none. */
export function asFields(value: unknown): Readonly<Record<string, unknown>> | null {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? (value as Readonly<Record<string, unknown>>) : null;
}

/** The list that was given: by itself, or under its name in an object. */
export function listIn(value: unknown, name: string): unknown {
  return asFields(value)?.[name] ?? value;
}

/** Reads a list of things with one parser each. Never throws. */
export function parseList<T>(
  value: unknown,
  what: string,
  max: number,
  parse: (item: unknown, path: string, problems: ReadingProblem[]) => T,
): Parsed<readonly T[]> {
  if (!Array.isArray(value)) return invalid(`expected a list of ${what}, found ${found(value)}`);
  if (value.length > max) {
    return invalid(`expected at most ${max} ${what}, found ${value.length}`);
  }
  const problems: ReadingProblem[] = [];
  const items = (value as unknown[]).map((item, index) => parse(item, `[${index}]`, problems));
  return problems.length > 0 ? { kind: "invalid", problems } : { kind: "ok", value: items };
}

function invalid(message: string): { kind: "invalid"; problems: ReadingProblem[] } {
  return { kind: "invalid", problems: [{ path: "", message }] };
}

/** Problems as lines for a person. */
export function problemTexts(problems: readonly ReadingProblem[]): string[] {
  return problems.map(({ path, message }) => (path === "" ? message : `${path}: ${message}`));
}

/** A reader of `value` at `path`; a field that is none of `fields` is a problem. */
export function readObject(
  value: unknown,
  path: string,
  fields: readonly string[],
  problems: ReadingProblem[],
): Reader {
  const given = asFields(value);
  if (given === null) problems.push({ path, message: `expected an object, found ${found(value)}` });
  const object = given ?? {};
  const at = (field: string): string => (path === "" ? field : `${path}.${field}`);
  const problem = (field: string, message: string): void => {
    problems.push({ path: at(field), message });
  };
  for (const name of Object.keys(object)) {
    if (!fields.includes(name)) {
      problem(name, `there is no such field; expected one of ${fields.join(", ")}`);
    }
  }
  const isLeftOut = (field: string): boolean =>
    object[field] === undefined || object[field] === null;
  return {
    has: (field) => !isLeftOut(field),
    problem,
    text: (field, how = {}) => {
      const given = object[field];
      if (isLeftOut(field) && how.byDefault !== undefined) return how.byDefault;
      const max = how.max ?? TEXT_MAX;
      const isText = typeof given === "string" && given.trim() !== "" && given.length <= max;
      if (isText && how.pattern?.test(given) !== false) return given;
      const what = how.what ?? `a text of at most ${max} characters`;
      problem(field, `expected ${what}, found ${found(given)}`);
      return "";
    },
    number: (field, { min, max, isWhole = false, byDefault }) => {
      const given = object[field];
      if (isLeftOut(field) && byDefault !== undefined) return byDefault;
      const isRight =
        typeof given === "number" &&
        given >= min &&
        given <= max &&
        (!isWhole || Number.isInteger(given));
      if (isRight) return given;
      const kind = isWhole ? "a whole number" : "a number";
      problem(field, `expected ${kind} from ${min} to ${max}, found ${found(given)}`);
      return min;
    },
    choice: (field, choices, byDefault) => {
      const given = object[field];
      if (isLeftOut(field) && byDefault !== undefined) return byDefault;
      const known = choices.find((choice) => choice === given);
      if (known !== undefined) return known;
      problem(field, `expected one of ${choices.join(", ")}, found ${found(given)}`);
      return choices[0] as (typeof choices)[number];
    },
    flag: (field, byDefault) => {
      const given = object[field];
      if (isLeftOut(field)) return byDefault;
      if (typeof given === "boolean") return given;
      problem(field, `expected true or false, found ${found(given)}`);
      return byDefault;
    },
    list: (field, max) => {
      const given = object[field];
      if (isLeftOut(field)) return [];
      if (Array.isArray(given) && given.length <= max) {
        return (given as unknown[]).map((item, index) => ({
          value: item,
          path: `${at(field)}[${index}]`,
        }));
      }
      problem(field, `expected a list of at most ${max}, found ${found(given)}`);
      return [];
    },
    texts: (field, name, max, valueMax) => {
      const given = isLeftOut(field) ? {} : asFields(object[field]);
      if (given === null) {
        problem(field, `expected an object of texts, found ${found(object[field])}`);
        return {};
      }
      const entries = Object.entries(given);
      if (entries.length > max) problem(field, `expected at most ${max}, found ${entries.length}`);
      for (const [key, text] of entries) {
        const isRight = name.test(key) && typeof text === "string" && text.length <= valueMax;
        if (isRight) continue;
        const what = `a name that fits ${name.source} with a text of at most ${valueMax} characters`;
        problem(`${field}.${key}`, `expected ${what}, found ${found(text)}`);
      }
      return given as Readonly<Record<string, string>>;
    },
    object: (field, inner) => readObject(object[field] ?? {}, at(field), inner, problems),
  };
}
