import { readFileSync } from "node:fs";
import { z } from "zod";

/** What a setting is, beside its schema: enough to parse it, refuse it in words, and document it. */
export interface SettingMeta {
  /** Name in the environment and in the configuration file. */
  readonly env: string;
  /** Long name of the command-line flag, without dashes. */
  readonly flag?: string;
  /** Type and range in words: "whole number, 1 to 65535". */
  readonly type: string;
  readonly unit?: string;
  readonly meaning: string;
  /** The default in words; "none" when there is none. */
  readonly default: string;
  /** May be given as `…_FILE`, and is never shown. */
  readonly isSecret?: boolean;
  /** Names a file whose content is what may be wrong: problems say where in it. */
  readonly isFile?: boolean;
}

/** A secret, or the file that holds it. Take its value with {@link readSecret} when it is used. */
export type Secret =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "file"; readonly path: string };

/** A secret's value now: a file is read again each time, so a changed one counts at once. */
export function readSecret(secret: Secret): string {
  return secret.kind === "text" ? secret.text : readFileSync(secret.path, "utf8").trim();
}

interface SettingText {
  readonly env: string;
  readonly flag?: string;
  readonly unit?: string;
  readonly meaning: string;
}

const settingMetas = z.registry<SettingMeta>();

function withMeta<S extends z.ZodType>(schema: S, meta: SettingMeta): S {
  settingMetas.add(schema, meta);
  return schema;
}

/** The {@link SettingMeta} of a schema made by one of the functions below. */
export function settingMeta(schema: z.ZodType): SettingMeta {
  const meta = settingMetas.get(schema);
  if (meta === undefined) throw new Error("a setting was not made by platform/config");
  return meta;
}

/** A whole number in a range. */
export function integerSetting(
  text: SettingText,
  range: { readonly min: number; readonly max: number; readonly default: number },
): z.ZodType<number> {
  const type = `whole number, ${range.min} to ${range.max}`;
  const schema = z
    .union([z.number(), z.string().regex(/^\s*-?\d+\s*$/, `expected a ${type}`)], {
      error: `expected a ${type}`,
    })
    .transform(Number)
    .refine(
      (value) => Number.isSafeInteger(value) && value >= range.min && value <= range.max,
      `expected a ${type}`,
    )
    .default(range.default);
  return withMeta(schema, { ...text, type, default: String(range.default) });
}

/** A whole number in a range that may be left out; `defaultInWords` says what holds then. */
export function optionalIntegerSetting(
  text: SettingText,
  range: { readonly min: number; readonly max: number; readonly defaultInWords: string },
): z.ZodType<number | undefined> {
  const { defaultInWords, ...limits } = range;
  const schema = integerSetting(text, { ...limits, default: range.min });
  const { type } = settingMeta(schema);
  return withMeta(
    z
      .preprocess((value) => (value === undefined ? null : value), z.union([z.null(), schema]))
      .transform((value) => value ?? undefined),
    { ...text, type, default: defaultInWords },
  );
}

/** A number, with fractions.  */
export function numberSetting(
  text: SettingText,
  range: { readonly over: number; readonly max: number; readonly default: number },
): z.ZodType<number> {
  const type = `number over ${range.over}, at most ${range.max}`;
  const schema = z
    .union([z.number(), z.string().regex(/^\s*-?\d+(?:\.\d+)?\s*$/, `expected a ${type}`)], {
      error: `expected a ${type}`,
    })
    .transform(Number)
    .refine((value) => value > range.over && value <= range.max, `expected a ${type}`)
    .default(range.default);
  return withMeta(schema, { ...text, type, default: String(range.default) });
}

const YES = new Set(["true", "1", "yes", "on"]);
const NO = new Set(["false", "0", "no", "off"]);

/** Yes or no: `true`, `1`, `yes`, `on` and their opposites. */
export function booleanSetting(text: SettingText, byDefault: boolean): z.ZodType<boolean> {
  const schema = z
    .union([z.boolean(), z.string()])
    .transform((value, context) => {
      if (typeof value === "boolean") return value;
      const word = value.trim().toLowerCase();
      if (YES.has(word)) return true;
      if (NO.has(word)) return false;
      context.addIssue({ code: "custom", message: "expected true or false" });
      return z.NEVER;
    })
    .default(byDefault);
  return withMeta(schema, { ...text, type: "true or false", default: String(byDefault) });
}

/** Text, with a default. `check` refuses in words. */
export function textSetting(
  text: SettingText,
  options: {
    readonly default: string;
    /** The default as the documents show it, where it depends on the machine. */
    readonly defaultInWords?: string;
    readonly check?: (value: string) => string | undefined;
  },
): z.ZodType<string> {
  const schema = checkedText(options.check).default(options.default);
  const shown = options.defaultInWords ?? options.default;
  return withMeta(schema, { ...text, type: "text", default: shown === "" ? "none" : shown });
}

/** Text that may be left out. */
export function optionalTextSetting(
  text: SettingText,
  check?: (value: string) => string | undefined,
): z.ZodType<string | undefined> {
  return withMeta(checkedText(check).optional(), { ...text, type: "text", default: "none" });
}

function checkedText(check?: (value: string) => string | undefined): z.ZodType<string> {
  return z.string({ error: "expected a text" }).superRefine((value, context) => {
    const problem = check?.(value);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  });
}

/** One of a closed set of words. */
export function choiceSetting<const C extends readonly [string, ...string[]]>(
  text: SettingText,
  choices: C,
  byDefault: C[number],
): z.ZodType<C[number]> {
  const type = `one of ${choices.join(", ")}`;
  const schema = z.enum([...choices], { error: `expected ${type}` }).default(byDefault);
  return withMeta(schema as unknown as z.ZodType<C[number]>, { ...text, type, default: byDefault });
}

/** Texts separated by commas. */
export function listSetting(
  text: SettingText,
  check?: (value: string) => string | undefined,
  byDefault: readonly string[] = [],
): z.ZodType<readonly string[]> {
  const schema = z
    .union([z.string(), z.array(z.string())], { error: "expected texts separated by commas" })
    .transform((value) =>
      (typeof value === "string" ? value.split(",") : value)
        .map((item) => item.trim())
        .filter((item) => item !== ""),
    )
    .superRefine((items, context) => {
      for (const item of items) {
        const problem = check?.(item);
        if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
      }
    })
    .default([...byDefault]);
  const shown = byDefault.length === 0 ? "none" : byDefault.join(",");
  return withMeta(schema, { ...text, type: "texts separated by commas", default: shown });
}

/**
 * The path of a JSON file that is read with the settings; what it holds is the setting. `parse`
 * answers the value, or every problem in words. Without a path, `byDefault`.
 */
export function jsonFileSetting<T>(
  text: SettingText,
  parse: (
    value: unknown,
  ) =>
    | { readonly kind: "ok"; readonly value: T }
    | { readonly kind: "invalid"; readonly problems: readonly string[] },
  byDefault: T,
): z.ZodType<T> {
  const schema = z
    .string({ error: "expected the path of a JSON file" })
    .optional()
    .transform((path, context): T => {
      if (path === undefined) return byDefault;
      const read = readJsonFile(path);
      const parsed = read.kind === "ok" ? parse(read.value) : read;
      if (parsed.kind === "ok") return parsed.value;
      for (const problem of parsed.problems) {
        context.addIssue({ code: "custom", message: `${path}: ${problem}` });
      }
      return z.NEVER;
    });
  return withMeta(schema, { ...text, type: "path of a JSON file", default: "none", isFile: true });
}

function readJsonFile(
  path: string,
):
  | { readonly kind: "ok"; readonly value: unknown }
  | { readonly kind: "invalid"; readonly problems: readonly string[] } {
  try {
    return { kind: "ok", value: JSON.parse(readFileSync(path, "utf8")) };
  } catch (error) {
    const what = error instanceof SyntaxError ? "is not JSON" : "cannot be read";
    return { kind: "invalid", problems: [`${what}: ${(error as Error).message}`] };
  }
}

/** A secret that may be left out, given as text or, under the name with `_FILE`, as a file's path. */
export function secretSetting(text: SettingText): z.ZodType<Secret | undefined> {
  const schema = z
    .union([
      z.string().transform((value): Secret => ({ kind: "text", text: value })),
      z.object({ kind: z.literal("file"), path: z.string() }),
    ])
    .optional();
  return withMeta(schema, { ...text, type: "secret", default: "none", isSecret: true });
}

/** Where settings come from, strongest first: flag, environment, file, default. */
export interface SettingSources {
  /** By flag name without dashes. Undefined ones count as not given. */
  readonly flags?: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The configuration file, parsed: an object keyed by environment names. */
  readonly file?: Readonly<Record<string, unknown>>;
}

/** One thing wrong with the configuration. */
export interface SettingProblem {
  readonly name: string;
  readonly source: "flag" | "environment" | "file";
  readonly message: string;
}

/** Settings, or everything that is wrong with them. */
export type ParsedSettings<T> =
  | { readonly kind: "ok"; readonly settings: T }
  | { readonly kind: "invalid"; readonly problems: readonly SettingProblem[] };

/** The settings of a process: a schema per setting, keyed by the name the code uses. */
export type SettingShape = Readonly<Record<string, z.ZodType>>;
/** The parsed settings of a shape. */
export type SettingsOf<S extends SettingShape> = { readonly [K in keyof S]: z.output<S[K]> };

/**
 * Parses all settings and tells all problems at once. An empty variable counts as not given. A name
 * in the file that is no setting is a problem: it is a typing mistake.
 */
export function parseSettings<S extends SettingShape>(
  shape: S,
  sources: SettingSources,
): ParsedSettings<SettingsOf<S>> {
  const problems: SettingProblem[] = [];
  const settings: Record<string, unknown> = {};
  const fileNames = new Set<string>();
  for (const [key, schema] of Object.entries(shape)) {
    const meta = settingMeta(schema);
    fileNames.add(meta.env);
    if (meta.isSecret === true) fileNames.add(`${meta.env}_FILE`);
    const given = findValue(meta, sources, problems);
    if (given === "conflict") continue;
    const parsed = schema.safeParse(given?.value);
    if (parsed.success) {
      settings[key] = parsed.data;
      continue;
    }
    for (const issue of parsed.error.issues) {
      problems.push({
        name: given?.name ?? meta.env,
        source: given?.source ?? "environment",
        message: `${issue.message}${found(meta, given?.value)}`,
      });
    }
  }
  for (const name of Object.keys(sources.file ?? {})) {
    if (fileNames.has(name)) continue;
    problems.push({ name, source: "file", message: "there is no such setting" });
  }
  return problems.length > 0
    ? { kind: "invalid", problems }
    : { kind: "ok", settings: settings as SettingsOf<S> };
}

function found(meta: SettingMeta, value: unknown): string {
  if (meta.isSecret === true || meta.isFile === true || value === undefined) return "";
  return `, found ${JSON.stringify(value)}`;
}

interface Given {
  readonly name: string;
  readonly source: SettingProblem["source"];
  readonly value: unknown;
}

function findValue(
  meta: SettingMeta,
  sources: SettingSources,
  problems: SettingProblem[],
): Given | "conflict" | undefined {
  const flag = meta.flag === undefined ? undefined : sources.flags?.[meta.flag];
  if (flag !== undefined) return { name: `--${meta.flag}`, source: "flag", value: flag };
  for (const [source, values] of [
    ["environment", sources.env],
    ["file", sources.file ?? {}],
  ] as const) {
    const value = values[meta.env] === "" ? undefined : values[meta.env];
    const fileName = `${meta.env}_FILE`;
    const path = meta.isSecret === true && values[fileName] !== "" ? values[fileName] : undefined;
    if (value !== undefined && path !== undefined) {
      const message = `is given as well as ${fileName}: give one of them`;
      problems.push({ name: meta.env, source, message });
      return "conflict";
    }
    if (path !== undefined) return { name: fileName, source, value: { kind: "file", path } };
    if (value !== undefined) return { name: meta.env, source, value };
  }
  return undefined;
}

/** The problems as a person reads them, one a line. */
export function formatProblems(problems: readonly SettingProblem[]): string {
  return problems
    .map((problem) => `${problem.name} (${problem.source}): ${problem.message}`)
    .join("\n");
}

/** Every setting of a shape, for the generated documents. Sorted as the shape is. */
export function describeSettings(shape: SettingShape): readonly SettingMeta[] {
  return Object.values(shape).map((schema) => settingMeta(schema));
}

/** What a configuration file holds, or why it cannot be read. A file that is not there is empty. */
export function readSettingsFile(
  path: string,
):
  | { readonly kind: "ok"; readonly values: Readonly<Record<string, unknown>> }
  | { readonly kind: "invalid"; readonly message: string } {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { kind: "ok", values: {} };
    return { kind: "invalid", message: `${path} cannot be read: ${(error as Error).message}` };
  }
  try {
    const values: unknown = JSON.parse(text);
    if (typeof values === "object" && values !== null && !Array.isArray(values)) {
      return { kind: "ok", values: values as Record<string, unknown> };
    }
    return { kind: "invalid", message: `${path}: expected a JSON object of settings` };
  } catch (error) {
    return { kind: "invalid", message: `${path} is not JSON: ${(error as Error).message}` };
  }
}
