/** Network errors of Node that mean: the database was not reached, or went away. */
const NETWORK_CODES = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOENT",
]);

/** Postgres says: shutting down (57P01), crashed (57P02), starting (57P03), too many clients (53300). */
const UNAVAILABLE_STATES = new Set(["57P01", "57P02", "57P03", "53300"]);

/** What `pg` 8 throws as a plain Error, without a code, when a connection is lost or not to be had. */
const CONNECTION_MESSAGES = [
  "Connection terminated",
  "Client has encountered a connection error",
  "timeout exceeded when trying to connect",
  "Client was closed",
];

const SQL_STATE = /^[0-9A-Z]{5}$/;

/** The SQLSTATE of an error that came from Postgres; undefined for every other error. */
export function sqlState(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  const { code } = error;
  if (typeof code !== "string" || !SQL_STATE.test(code)) return undefined;
  // Node's own codes (EPIPE) can look like a state; only Postgres's errors carry a severity.
  return "severity" in error ? code : undefined;
}

/** True when the database was not reached or went away: trying again later may help. */
export function isConnectionFailure(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const state = sqlState(error);
  if (state !== undefined) return UNAVAILABLE_STATES.has(state) || state.startsWith("08");
  const code = (error as { code?: unknown }).code;
  if (typeof code === "string" && NETWORK_CODES.has(code)) return true;
  if (error instanceof AggregateError) return error.errors.some(isConnectionFailure);
  return CONNECTION_MESSAGES.some((text) => error.message.startsWith(text));
}

/** True for a serialization failure or a deadlock: the same transaction may succeed now. */
export function isRetryableConflict(error: unknown): boolean {
  const state = sqlState(error);
  return state === "40001" || state === "40P01";
}

/** True when a unique constraint refused the row; with a name, only that constraint. */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  if (sqlState(error) !== "23505") return false;
  return constraint === undefined || (error as { constraint?: string }).constraint === constraint;
}
