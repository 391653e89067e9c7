import { types, type CustomTypesConfig } from "pg";

/**
 * How Postgres's column types become JavaScript values, for every connection of this process.
 *
 * - `int8` → number. A value past 2^53 is refused instead of rounded.
 * - `timestamptz`, `timestamp` → epoch milliseconds as a number (`±Infinity` for `±infinity`).
 *   Microseconds are cut, so never compare a value that went through JavaScript for equality in SQL.
 * - `numeric` → string, `date` → string, `xid8` → string, `json(b)` → parsed value.
 */
const OID = {
  int8: 20,
  date: 1082,
  timestamp: 1114,
  timestamptz: 1184,
  int8Array: 1016,
  timestampArray: 1115,
  timestamptzArray: 1185,
  textArray: 1009,
} as const;

type TextParser = (text: string) => unknown;

const ZERO = "0".charCodeAt(0);
/** Where the digits of a fraction begin. */
const FRACTION_AT = "2026-01-01 00:00:00.".length;
const TIMESTAMP = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d+)?([+-]\d\d(?::?\d\d)?)?$/;

/** What our connections get: UTC, a year of four digits. */
const UTC_TIMESTAMP = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?\+00$/;

/** Parses Postgres's ISO timestamp text to epoch milliseconds; a text without zone counts as UTC. */
export function parseTimestamp(text: string): number {
  return UTC_TIMESTAMP.test(text) ? parseUtc(text) : parseAny(text);
}

/** By its digits: a round of the fleet's leader reads some seventy thousand of them. */
function parseUtc(text: string): number {
  const digit = (at: number): number => text.charCodeAt(at) - ZERO;
  const two = (at: number): number => digit(at) * 10 + digit(at + 1);
  const year = two(0) * 100 + two(2);
  // `Date.UTC` takes a year under 100 for one of the last century.
  if (year < 100) return parseAny(text);
  let millis = 0;
  const fraction = text.length - "+00".length - FRACTION_AT;
  if (fraction > 0) millis += digit(FRACTION_AT) * 100;
  if (fraction > 1) millis += digit(FRACTION_AT + 1) * 10;
  if (fraction > 2) millis += digit(FRACTION_AT + 2);
  return Date.UTC(year, two(5) - 1, two(8), two(11), two(14), two(17), millis);
}

function parseAny(text: string): number {
  if (text === "infinity") return Number.POSITIVE_INFINITY;
  if (text === "-infinity") return Number.NEGATIVE_INFINITY;
  const match = TIMESTAMP.exec(text);
  if (match === null) throw new RangeError(`not a timestamp that can be read: ${text}`);
  const [, day, time, fraction, zone] = match;
  const millis = (fraction ?? ".000").slice(0, 4).padEnd(4, "0");
  return Date.parse(`${day}T${time}${millis}${isoZone(zone)}`);
}

function isoZone(zone: string | undefined): string {
  if (zone === undefined || zone === "+00") return "Z";
  const digits = zone.replace(":", "").padEnd(5, "0");
  return `${digits.slice(0, 3)}:${digits.slice(3)}`;
}

/** Parses an `int8`; throws RangeError when a JavaScript number cannot hold it exactly. */
export function parseInt8(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`int8 out of safe range: ${text}`);
  return value;
}

function arrayOf(parse: (text: string) => number): TextParser {
  const split = (types.getTypeParser as (oid: number) => TextParser)(OID.textArray) as (
    text: string,
  ) => (string | null)[];
  return (text) => split(text).map((item) => (item === null ? null : parse(item)));
}

const PARSERS: ReadonlyMap<number, TextParser> = new Map<number, TextParser>([
  [OID.int8, parseInt8],
  [OID.date, (text) => text],
  [OID.timestamp, parseTimestamp],
  [OID.timestamptz, parseTimestamp],
  [OID.int8Array, arrayOf(parseInt8)],
  [OID.timestampArray, arrayOf(parseTimestamp)],
  [OID.timestamptzArray, arrayOf(parseTimestamp)],
]);

/** The `types` option of a `pg` client that reads columns as this module says. */
export const COLUMN_TYPES: CustomTypesConfig = {
  getTypeParser: (oid: number, format?: "text" | "binary") =>
    (format === "binary" ? undefined : PARSERS.get(oid)) ??
    (types.getTypeParser as (oid: number, format?: string) => TextParser)(oid, format),
};
