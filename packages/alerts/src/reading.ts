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
  const object = asFields(value);
  const reader = new Reader(object ?? {}, path, problems);
  if (object === null)
    problems.push({ path, message: `expected an object, found ${found(value)}` });
  for (const name of Object.keys(object ?? {})) {
    if (fields.includes(name)) continue;
    reader.problem(name, `there is no such field; expected one of ${fields.join(", ")}`);
  }
  return reader;
}

/** Takes the fields of one object. Every read of a wrong field is a problem, and answers a stand-in. */
export class Reader {
  readonly #object: Readonly<Record<string, unknown>>;
  readonly #path: string;
  readonly #problems: ReadingProblem[];

  constructor(object: Readonly<Record<string, unknown>>, path: string, problems: ReadingProblem[]) {
    this.#object = object;
    this.#path = path;
    this.#problems = problems;
  }

  /** Notes what is wrong with a field. */
  problem(field: string, message: string): void {
    this.#problems.push({ path: this.#at(field), message });
  }

  /** Whether a field is given; null counts as left out. */
  has(field: string): boolean {
    return this.#object[field] !== undefined && this.#object[field] !== null;
  }

  /** A text that is not blank. */
  text(field: string, how: TextRule = {}): string {
    const given = this.#object[field];
    if (!this.has(field) && how.byDefault !== undefined) return how.byDefault;
    const max = how.max ?? TEXT_MAX;
    const isText = typeof given === "string" && given.trim() !== "" && given.length <= max;
    if (isText && how.pattern?.test(given) !== false) return given;
    const what = how.what ?? `a text of at most ${max} characters`;
    this.problem(field, `expected ${what}, found ${found(given)}`);
    return "";
  }

  /** A number within bounds. */
  number(field: string, { min, max, isWhole = false, byDefault }: NumberRule): number {
    const given = this.#object[field];
    if (!this.has(field) && byDefault !== undefined) return byDefault;
    const isRight =
      typeof given === "number" &&
      given >= min &&
      given <= max &&
      (!isWhole || Number.isInteger(given));
    if (isRight) return given;
    const kind = isWhole ? "a whole number" : "a number";
    this.problem(field, `expected ${kind} from ${min} to ${max}, found ${found(given)}`);
    return min;
  }

  /** One of some words. */
  choice<const C extends string>(field: string, choices: readonly [C, ...C[]], byDefault?: C): C {
    const given = this.#object[field];
    if (!this.has(field) && byDefault !== undefined) return byDefault;
    const known = choices.find((choice) => choice === given);
    if (known !== undefined) return known;
    this.problem(field, `expected one of ${choices.join(", ")}, found ${found(given)}`);
    return choices[0];
  }

  /** Yes or no. */
  flag(field: string, byDefault: boolean): boolean {
    const given = this.#object[field];
    if (!this.has(field)) return byDefault;
    if (typeof given === "boolean") return given;
    this.problem(field, `expected true or false, found ${found(given)}`);
    return byDefault;
  }

  /** The items of a list, each with its path; none where it is left out. */
  list(field: string, max: number): readonly { readonly value: unknown; readonly path: string }[] {
    const given = this.#object[field];
    if (!this.has(field)) return [];
    if (Array.isArray(given) && given.length <= max) {
      return (given as unknown[]).map((value, index) => ({
        value,
        path: `${this.#at(field)}[${index}]`,
      }));
    }
    this.problem(field, `expected a list of at most ${max}, found ${found(given)}`);
    return [];
  }

  /** An object of texts; an empty one where it is left out. */
  texts(
    field: string,
    name: RegExp,
    max: number,
    valueMax: number,
  ): Readonly<Record<string, string>> {
    const given = this.has(field) ? asFields(this.#object[field]) : {};
    if (given === null) {
      this.problem(field, `expected an object of texts, found ${found(this.#object[field])}`);
      return {};
    }
    const entries = Object.entries(given);
    if (entries.length > max) {
      this.problem(field, `expected at most ${max}, found ${entries.length}`);
    }
    for (const [key, text] of entries) {
      if (name.test(key) && typeof text === "string" && text.length <= valueMax) continue;
      const what = `a name that fits ${name.source} with a text of at most ${valueMax} characters`;
      this.problem(`${field}.${key}`, `expected ${what}, found ${found(text)}`);
    }
    return given as Readonly<Record<string, string>>;
  }

  /** A reader of the object in a field; of an empty one where there is none. */
  object(field: string, fields: readonly string[]): Reader {
    return readObject(this.#object[field] ?? {}, this.#at(field), fields, this.#problems);
  }

  #at(field: string): string {
    return this.#path === "" ? field : `${this.#path}.${field}`;
  }
}
