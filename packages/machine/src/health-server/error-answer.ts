/** Errors in the one shape that all of Holdfast's HTTP has (`docs/errors.md`). */
import { ERROR_CODES, HoldfastError, isHoldfastError, type ErrorCode } from "@holdfast/contract";
import type { AgentLog } from "@holdfast/agent";
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";

/** Headers that say: this answer is nobody else's. */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
};

/** The body of an error answer. */
export interface ErrorBody {
  readonly error: {
    readonly code: ErrorCode;
    readonly message: string;
    readonly details?: Readonly<Record<string, unknown>>;
    readonly requestId: string;
  };
}

/** Answers an error. What is nobody's expected answer is logged and told as `internal`. */
export function sendError(
  thrown: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  log: AgentLog,
): FastifyReply {
  const error = toHoldfastError(thrown);
  if (error.code === "internal") {
    const route = request.routeOptions?.url ?? "unknown";
    log.error({ requestId: request.id, route, err: thrown }, "health request failed");
  }
  if (error.retryAfterSeconds !== undefined) {
    void reply.header("retry-after", String(Math.ceil(error.retryAfterSeconds)));
  }
  if (error.code === "unauthorized") void reply.header("www-authenticate", "Bearer");
  return reply
    .code(ERROR_CODES[error.code].status)
    .headers({ ...SECURITY_HEADERS, "x-request-id": request.id })
    .header("content-type", "application/json; charset=utf-8")
    .send(JSON.stringify(errorBody(error, request.id)));
}

function toHoldfastError(error: unknown): HoldfastError {
  if (isHoldfastError(error)) return error;
  const { code, statusCode, message } = (error ?? {}) as Partial<FastifyError>;
  // Fastify's own refusals speak of the request alone.
  if (code?.startsWith("FST_") === true && statusCode !== undefined && statusCode < 500) {
    return new HoldfastError("invalid_request", message ?? "the request is not valid");
  }
  return new HoldfastError(
    "internal",
    "something broke here; the log has it under this request id",
    { cause: error },
  );
}

function errorBody(error: HoldfastError, requestId: string): ErrorBody {
  const { code, message, details } = error;
  return { error: { code, message, ...(details === undefined ? {} : { details }), requestId } };
}
