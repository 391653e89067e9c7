import { HoldfastError } from "@holdfast/contract";
import {
  BUILT_IN_RULES,
  checkTogether,
  createClassifier,
  parseCustomPattern,
  type Classifier,
  type CustomPattern,
  type PatternProblem,
} from "@holdfast/recovery";
import type { Db, Transaction } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { inOrder, type KnownPattern } from "./pattern-model.ts";
import {
  deletePattern,
  insertPattern,
  lockPatterns,
  putPattern,
  readPatternsDigest,
  selectPatterns,
} from "./pattern-store.ts";

/** How to make a {@link PatternService}. */
export interface PatternServiceOptions {
  readonly db: Db;
  readonly log: Log;
  /** Patterns of `HOLDFAST_ERROR_PATTERNS`; those of the table come before them. */
  readonly filePatterns: readonly CustomPattern[];
  /** Told after commit: the other replicas should look. */
  readonly onChanged: () => void;
}

/** The operators' own patterns, and the classifier that knows them. */
export interface PatternService {
  /** Built-in rules and the patterns as this replica last read them. */
  readonly classify: Classifier;
  list(): Promise<readonly KnownPattern[]>;
  /** Throws `not_found`. */
  get(name: string): Promise<KnownPattern>;
  /** Throws `error_pattern_invalid`, `error_pattern_exists`. */
  create(value: unknown): Promise<KnownPattern>;
  /** Makes or replaces the pattern of this name. Throws `error_pattern_invalid`. */
  put(name: string, value: unknown): Promise<KnownPattern>;
  /** Throws `not_found`, `error_pattern_in_file`. */
  remove(name: string): Promise<void>;
  /** Reads the table again if it has changed. */
  refresh(): Promise<void>;
}

/** Makes the service; until the first `refresh` it knows the file's patterns alone. */
export function createPatternService(options: PatternServiceOptions): PatternService {
  const { db, log, filePatterns } = options;
  let digest: string | null = null;
  let classifier = createClassifier(BUILT_IN_RULES, filePatterns);

  const refresh = async (): Promise<void> => {
    const seen = await readPatternsDigest(db);
    if (seen === digest) return;
    // Read after the digest: a change in between is read twice, never missed.
    const { patterns, unreadable } = await selectPatterns(db);
    if (unreadable.length > 0) log.warn({ unreadable }, "error patterns that cannot be read");
    const known = inOrder(patterns, filePatterns).map(({ pattern }) => pattern);
    if (digest !== null || known.length > 0) {
      classifier = createClassifier(BUILT_IN_RULES, known);
      log.info({ patterns: known.length }, "error patterns read");
    }
    digest = seen;
  };

  const changed = async (): Promise<void> => {
    options.onChanged();
    await refresh();
  };

  /** Writes under a lock, so that the limits hold over all patterns together. */
  const write = async (
    pattern: CustomPattern,
    store: (tx: Transaction) => Promise<void>,
  ): Promise<KnownPattern> => {
    const written = await db.transaction(async (tx) => {
      await lockPatterns(tx);
      await store(tx);
      const { patterns } = await selectPatterns(tx);
      const together = inOrder(patterns, filePatterns).map((known) => known.pattern);
      const problems = checkTogether(together);
      if (problems.length > 0) throw invalid(problems);
      return patterns.find((known) => known.pattern.name === pattern.name);
    });
    await changed();
    return found(written, pattern.name);
  };

  const list = async (): Promise<readonly KnownPattern[]> =>
    inOrder((await selectPatterns(db)).patterns, filePatterns);

  return {
    classify: (evidence) => classifier(evidence),
    list,
    refresh,
    async get(name) {
      return found(
        (await list()).find(({ pattern }) => pattern.name === name),
        name,
      );
    },
    async create(value) {
      const pattern = parse(value);
      return await write(pattern, async (tx) => {
        const isInFile = filePatterns.some(({ name }) => name === pattern.name);
        if (!isInFile && (await insertPattern(tx, pattern))) return;
        throw new HoldfastError(
          "error_pattern_exists",
          `there is a pattern ${pattern.name}; replace it by PUT, or give this one another name`,
        );
      });
    },
    async put(name, value) {
      const pattern = parse(value, name);
      return await write(pattern, (tx) => putPattern(tx, pattern));
    },
    async remove(name) {
      if (await deletePattern(db, name)) {
        await changed();
        return;
      }
      if (filePatterns.some((pattern) => pattern.name === name)) {
        throw new HoldfastError(
          "error_pattern_in_file",
          `${name} stands in the file of HOLDFAST_ERROR_PATTERNS; take it out there and restart, or replace it by PUT`,
        );
      }
      found(undefined, name);
    },
  };
}

/** Reads a pattern from outside; under a name when the route gives one. */
function parse(value: unknown, name?: string): CustomPattern {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const given = isObject ? (value as Record<string, unknown>)["name"] : undefined;
  const isOther = name !== undefined && given !== undefined && given !== null && given !== name;
  if (isOther) {
    const message = `expected ${name}, as in the address, found ${JSON.stringify(given)}`;
    throw invalid([{ path: "name", message }]);
  }
  const parsed = parseCustomPattern(isObject && name !== undefined ? { ...value, name } : value);
  if (parsed.kind === "invalid") throw invalid(parsed.problems);
  return parsed.pattern;
}

function invalid(problems: readonly PatternProblem[]): HoldfastError {
  const words = problems.map(({ path, message }) =>
    path === "" ? message : `${path}: ${message}`,
  );
  return new HoldfastError("error_pattern_invalid", words.join("\n"), { details: { problems } });
}

function found<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new HoldfastError("not_found", `there is no pattern ${name}`);
  return value;
}
