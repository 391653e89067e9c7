import { ERROR_CODES, HoldfastError, isHoldfastError, type ErrorCode } from "@holdfast/contract";
import type { FastifyError } from "fastify";
import {
  hasZodFastifySchemaValidationErrors,
  isResponseSerializationError,
} from "fastify-type-provider-zod";
import { fieldWords } from "./field-words.ts";
import { isConnectionFailure, sqlState } from "../db-errors.ts";

/** The one shape of an error answer. */
export interface ErrorBody {
  readonly error: {
    readonly code: ErrorCode;
    readonly message: string;
    readonly details?: Readonly<Record<string, unknown>>;
    readonly requestId: string;
  };
}

/** A wrong field of a request: where it stands (`body.jobs.0.graph`) and what is wrong with it. */
export interface FieldProblem {
  readonly field: string;
  readonly message: string;
}

/** A request may be wrong in thousands of places; this many are told. */
const MAX_FIELD_PROBLEMS = 50;
/** Statement timeout, lock timeout: the database is there, and busy. */
const BUSY_STATES = new Set(["57014", "55P03"]);

/** Postgres takes no NUL in a text, nor half a surrogate pair in JSON: only a caller's text has them. */
const UNSTORABLE_STATES = new Set(["22021", "22P05"]);

/** Fastify's own errors that a caller can cause, as our codes. */
const FASTIFY_CODES: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ["body_too_large", "the body is larger than this route takes"],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    "unsupported_media_type",
    "this content type is not taken here: send application/json",
  ],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [
    "invalid_request",
    "the body's size is not what Content-Length says",
  ],
  FST_ERR_CTP_EMPTY_JSON_BODY: ["invalid_json", "the body is empty: send a JSON object"],
  FST_ERR_CTP_INVALID_JSON_BODY: ["invalid_json", "the body is not JSON"],
  FST_ERR_BAD_URL: ["invalid_request", "the path is not a valid URL"],
};

/** Turns whatever was thrown on a route into the error that is answered. Unknown things are `internal`. */
export function toHoldfastError(error: unknown): HoldfastError {
  if (isHoldfastError(error)) return error;
  if (hasZodFastifySchemaValidationErrors(error)) {
    const where = error.validationContext ?? "body";
    return invalidRequest(
      error.validation.map((problem) => ({
        field: fieldPath(where, problem.instancePath),
        message: fieldWords(problem),
      })),
    );
  }
  if (isConnectionFailure(error)) {
    return new HoldfastError("database_unavailable", "the database does not answer; try again", {
      retryAfterSeconds: 2,
      cause: error,
    });
  }
  if (BUSY_STATES.has(sqlState(error) ?? "")) {
    return new HoldfastError("overloaded", "the database took too long; try again", {
      retryAfterSeconds: 5,
      cause: error,
    });
  }
  if (UNSTORABLE_STATES.has(sqlState(error) ?? "")) {
    return new HoldfastError(
      "invalid_request",
      "a text of the request holds a NUL character or half a surrogate pair, which cannot be stored",
      { cause: error },
    );
  }
  const known = isResponseSerializationError(error)
    ? undefined
    : FASTIFY_CODES[(error as Partial<FastifyError> | null)?.code ?? ""];
  if (known !== undefined) return new HoldfastError(known[0], known[1], { cause: error });
  if (isCallersFault(error)) {
    return new HoldfastError("invalid_request", error.message, { cause: error });
  }
  return new HoldfastError(
    "internal",
    "something broke here; the log has it under this request id",
    { cause: error },
  );
}

/** The error for wrong fields, all of them listed. */
export function invalidRequest(problems: readonly FieldProblem[]): HoldfastError {
  const shown = problems.slice(0, MAX_FIELD_PROBLEMS);
  const first = shown[0];
  const message =
    first === undefined ? "the request is not valid" : `${first.field}: ${first.message}`;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  return new HoldfastError("invalid_request", `${message}${more}`, {
    details: { problems: shown, count: problems.length },
  });
}

/** `/jobs/0/graph` in `body` → `body.jobs.0.graph`. */
/** Fastify's other refusals: their messages speak of the request alone. */
function isCallersFault(error: unknown): error is FastifyError {
  const { code, statusCode } = (error ?? {}) as Partial<FastifyError>;
  return (
    typeof code === "string" &&
    code.startsWith("FST_") &&
    statusCode !== undefined &&
    statusCode >= 400 &&
    statusCode < 500
  );
}

function fieldPath(where: string, instancePath: string): string {
  const inside = instancePath.split("/").filter((part) => part !== "");
  return [where, ...inside].join(".");
}

/** The HTTP status an error goes out under. */
export function errorStatus(error: HoldfastError): number {
  return ERROR_CODES[error.code].status;
}

/** The body an error goes out as. */
export function errorBody(error: HoldfastError, requestId: string): ErrorBody {
  return {
    error: {
      code: error.code,
      message: error.message,
      ...(error.details === undefined ? {} : { details: error.details }),
      requestId,
    },
  };
}
