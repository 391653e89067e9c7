import { pino, type DestinationStream } from "pino";

/** The fields of one log line. Ids and facts, never whole rows and never secrets. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * What the code logs through: one JSON line a fact. The message is a constant in lower case, the
 * variables are fields; `error` means that a person should look. A pino logger fits.
 */
export interface Log {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** A logger whose every line carries these fields too. */
  child(fields: LogFields): Log;
}

/** The levels a log can be set to, quietest last. */
export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
/** One of {@link LOG_LEVELS}. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What never reaches a log, wherever it stands in the fields. */
const SECRET_FIELDS = [
  "password",
  "secret",
  "token",
  "apiKey",
  "authorization",
  "cookie",
  "accessKeyId",
  "secretAccessKey",
  "connectionString",
  "databaseUrl",
];
const REDACTED_PATHS = [
  ...SECRET_FIELDS,
  ...SECRET_FIELDS.map((field) => `*.${field}`),
  ...SECRET_FIELDS.map((field) => `*.*.${field}`),
  'headers["x-api-key"]',
  '*.headers["x-api-key"]',
];

/** How to make a {@link Log}. */
export interface LogOptions {
  readonly level: LogLevel;
  /** `json`: one JSON object a line; `pretty`: one short line for a person at a terminal. */
  readonly format?: "json" | "pretty";
  /** Where lines go; standard error when left out, so that standard output stays for results. */
  readonly write?: (line: string) => void;
}

/** Makes the process's logger. Importing this module makes none. */
export function createLog(options: LogOptions): Log {
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const stream: DestinationStream =
    options.format === "pretty"
      ? { write: (line: string) => write(prettyLine(line)) }
      : { write: (line: string) => write(line) };
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED_PATHS, censor: "[secret]" },
      serializers: { err: (error: unknown) => describeError(error) },
    },
    stream,
  );
}

/** Causes behind an error that a line tells. */
const CAUSES_TOLD = 4;

/**
 * An error as a log line holds it. Only these fields: libraries hang whole clients on their errors,
 * keys and all.
 */
function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return String(error);
  const { code, detail } = error as { code?: unknown; detail?: unknown };
  return {
    type: error.name,
    message: error.message,
    stack: error.stack,
    ...(typeof code === "string" && { code }),
    ...(typeof detail === "string" && { detail }),
    ...(error.cause !== undefined &&
      depth < CAUSES_TOLD && { cause: describeError(error.cause, depth + 1) }),
  };
}

/** A log that keeps nothing. */
export const SILENT_LOG: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => SILENT_LOG,
};

const CLOCK_TIME = /T(\d\d:\d\d:\d\d)/;

/** One JSON log line as a person reads it: time, level, message, then `name=value` pairs. */
export function prettyLine(json: string): string {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(json) as Record<string, unknown>;
  } catch {
    return json; // Not one of our lines: better shown as it is than lost.
  }
  const { level, time, msg, err, ...rest } = fields;
  const at = CLOCK_TIME.exec(String(time))?.[1] ?? "";
  const pairs = Object.entries(rest).map(([name, value]) => `${name}=${shortValue(value)}`);
  const failure = err === undefined ? [] : [`err=${shortError(err)}`];
  return `${[at, String(level).padEnd(5), String(msg), ...pairs, ...failure].join(" ")}\n`;
}

function shortValue(value: unknown): string {
  if (typeof value === "string") return /[\s"=]/.test(value) ? JSON.stringify(value) : value;
  return JSON.stringify(value) ?? "undefined";
}

function shortError(err: unknown): string {
  if (typeof err === "object" && err !== null && "message" in err) {
    return JSON.stringify(String(err.message));
  }
  return JSON.stringify(err);
}
