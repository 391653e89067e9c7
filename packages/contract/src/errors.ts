/**
 * Every error code that Holdfast answers with, the HTTP status it goes out under and what it means.
 * Codes are documented in `docs/errors.md` (a test holds the two together) and never reused.
 */
export const ERROR_CODES = {
  // The request itself.
  invalid_json: { status: 400, meaning: "The body is not JSON." },
  invalid_request: {
    status: 400,
    meaning: "A field of the request is missing or has a wrong value.",
  },
  unsupported_media_type: { status: 415, meaning: "The body's content type is not taken here." },
  body_too_large: { status: 413, meaning: "The body is larger than the limit." },
  not_found: { status: 404, meaning: "No such route, or no such thing." },
  method_not_allowed: { status: 405, meaning: "The route exists, this method does not." },
  unauthorized: { status: 401, meaning: "An API key is needed, or the one given is not valid." },
  forbidden: { status: 403, meaning: "The key's role may not do this." },
  rate_limited: {
    status: 429,
    meaning: "Too many requests from this caller; wait as Retry-After says.",
  },
  invalid_cursor: { status: 400, meaning: "The page cursor was not made by this server." },
  // Graphs.
  graph_not_object: { status: 422, meaning: "The graph is not an object of nodes." },
  graph_empty: { status: 422, meaning: "The graph has no nodes." },
  graph_editor_format: {
    status: 422,
    meaning: "The workflow was saved in the editor's format; export it in the API format.",
  },
  graph_too_large: { status: 422, meaning: "The graph has too many nodes or bytes." },
  graph_too_deep: { status: 422, meaning: "A value in the graph is nested too deeply." },
  graph_cyclic: { status: 422, meaning: "Nodes of the graph depend on each other in a circle." },
  graph_dangling_link: {
    status: 422,
    meaning: "A link points to a node that is not in the graph.",
  },
  graph_bad_link: { status: 422, meaning: "A link is not [node id, output index]." },
  graph_bad_node: { status: 422, meaning: "A node has no class_type or no inputs object." },
  graph_no_outputs: { status: 422, meaning: "No node of the graph saves or shows anything." },
  graph_invalid: {
    status: 422,
    meaning: "Strict validation found that no known machine would accept the graph.",
  },
  node_class_forbidden: {
    status: 403,
    meaning: "The key's allow-list does not name this node class.",
  },
  // Files.
  input_missing: { status: 422, meaning: "The graph reads an input file that was not uploaded." },
  invalid_file_name: {
    status: 400,
    meaning: "The file name would leave its folder, or is not a name.",
  },
  file_too_large: { status: 413, meaning: "The file is larger than the limit." },
  url_forbidden: {
    status: 422,
    meaning: "The URL points into a private network or is not http(s).",
  },
  url_unreachable: { status: 422, meaning: "The URL could not be fetched." },
  checksum_mismatch: {
    status: 422,
    meaning: "The bytes do not have the SHA-256 that was announced.",
  },
  store_unavailable: { status: 503, meaning: "The file store does not answer; try again later." },
  // Jobs.
  idempotency_conflict: {
    status: 409,
    meaning: "This idempotency key was used with another body.",
  },
  queue_full: { status: 429, meaning: "The queue is at its limit; wait as Retry-After says." },
  job_ended: { status: 409, meaning: "The job has ended; that cannot be done any more." },
  job_not_ended: { status: 409, meaning: "The job has not ended yet." },
  job_removed: {
    status: 410,
    meaning: "The job ended, and was removed when the time was over that ended jobs are kept.",
  },
  retry_limit_reached: {
    status: 409,
    meaning:
      "The job was retried by hand as often as MAX_RETRY_ATTEMPTS allows; only by force again.",
  },
  model_unavailable: {
    status: 422,
    meaning: "No machine has a checkpoint model for the built-in graph; send a graph of your own.",
  },
  output_gone: { status: 410, meaning: "The output's bytes are no longer in the store." },
  override_unmatched: {
    status: 422,
    meaning: "An override names a node or input that is not there.",
  },
  // Books.
  batch_ended: { status: 409, meaning: "The batch has ended; that cannot be done any more." },
  batch_not_ended: { status: 409, meaning: "The batch has not ended yet." },
  page_busy: {
    status: 409,
    meaning: "A page is rendering, or is done: it is rendered anew only by force.",
  },
  // Error recovery.
  error_pattern_invalid: {
    status: 422,
    meaning: "The custom error pattern is not one; `details.problems` says why, field by field.",
  },
  error_pattern_exists: { status: 409, meaning: "There is a custom error pattern of this name." },
  error_pattern_in_file: {
    status: 409,
    meaning: "The custom error pattern stands in the configured file, and is changed there.",
  },
  // Alerts.
  alert_rule_invalid: {
    status: 422,
    meaning: "The alert rule is not one; `details.problems` says why, field by field.",
  },
  alert_rule_fixed: {
    status: 409,
    meaning:
      "The alert rule is built in or stands in the configured file: put one of its name in its place.",
  },
  alert_channels_missing: {
    status: 409,
    meaning: "No channel for alerts is configured: set HOLDFAST_ALERT_CHANNELS.",
  },
  // Agents.
  admin_key_missing: {
    status: 409,
    meaning: "No API key exists, so no agent needs one: make an admin key first.",
  },
  spawning_blocked: {
    status: 409,
    meaning: "Machines are not to be started now: wait, or force it and say why.",
  },
  enrolment_used: {
    status: 409,
    meaning: "The one-time token was used already: ask for a new one.",
  },
  enrolment_expired: {
    status: 410,
    meaning: "The one-time token has expired or was revoked: ask for a new one.",
  },
  lease_lost: { status: 409, meaning: "The lease is held by somebody else now; write nothing." },
  machine_unknown: { status: 409, meaning: "The machine is not registered; register again." },
  agent_superseded: {
    status: 409,
    meaning: "A newer agent process of this machine has registered.",
  },
  version_unsupported: { status: 426, meaning: "The agent's protocol version is not supported." },
  // Us.
  overloaded: { status: 503, meaning: "Too much work waits inside; try again shortly." },
  database_unavailable: {
    status: 503,
    meaning: "The database does not answer; try again shortly.",
  },
  shutting_down: { status: 503, meaning: "This replica is stopping." },
  internal: {
    status: 500,
    meaning: "A bug or a broken part; the log has it under the request id.",
  },
} as const satisfies Record<string, { status: number; meaning: string }>;

/** One of {@link ERROR_CODES}. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** A failure that is answered or logged by its code. Compare codes, never classes or messages. */
export class HoldfastError extends Error {
  override readonly name = "HoldfastError";
  readonly code: ErrorCode;
  /** Facts for the caller: fields, limits, ids. Never secrets. */
  readonly details: Readonly<Record<string, unknown>> | undefined;
  /** Seconds after which a retry makes sense; goes out as `Retry-After`. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: {
      readonly details?: Readonly<Record<string, unknown>>;
      readonly retryAfterSeconds?: number;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** Whether a thrown value is a {@link HoldfastError}, of one code when given. */
export function isHoldfastError(error: unknown, code?: ErrorCode): error is HoldfastError {
  return error instanceof HoldfastError && (code === undefined || error.code === code);
}
