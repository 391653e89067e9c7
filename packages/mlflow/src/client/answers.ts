/** MLflow's answers, read as what they are: text of a stranger. Shapes seen on MLflow 3.17.2. */
import { z } from "zod";
import type { Answer } from "./http.ts";
import type { MlflowResult, MlflowTrouble } from "./trouble.ts";

/** How much of an unexpected body is told. */
const MESSAGE_MAX = 300;
/** A refusal names the value that it is about. */
const REFUSAL_MAX = 1_000;
const RETRY_AFTER_MAX_MS = 10 * 60_000;

const PASSING_STATUSES: ReadonlySet<number> = new Set([408, 409, 425, 429, 499]);
/**
 * BAD_REQUEST is what MLflow says (with HTTP 400) of any trouble of its database that is no
 * `OperationalError`, such as no connection free in its pool (`store/db/utils.py`, 3.17.2): what it does
 * not like in a request is INVALID_PARAMETER_VALUE.
 */
const PASSING_CODES: ReadonlySet<string> = new Set(["BAD_REQUEST", "ABORTED", "RESOURCE_CONFLICT"]);

/** Ids go into paths: nothing else may be in them. */
const id = z.string().regex(/^[A-Za-z0-9_-]{1,256}$/);

export const experimentCreated = z.object({ experiment_id: id });
export const experimentFound = z.object({
  experiment: z.object({ experiment_id: id, lifecycle_stage: z.string().max(100).optional() }),
});
const run = z.object({
  info: z.object({
    run_id: id,
    status: z.string().max(100).optional(),
    artifact_uri: z.string().max(4_000).optional(),
  }),
  data: z
    .object({
      metrics: z.array(z.unknown()).optional(),
      params: z.array(z.unknown()).optional(),
      tags: z.array(z.unknown()).optional(),
    })
    .optional(),
});
export const runCreated = z.object({ run });
export const runsFound = z.object({ runs: z.array(run).max(1_000).optional() });
/**
 * Of an answer that is only a yes: an object, or nothing at all. A page of some proxy, with 200, is no yes:
 * what was sent would count as delivered.
 */
export const yes = z.object({}).optional();

const refusal = z.object({ error_code: z.string().max(200), message: z.string().optional() });

/** A run of MLflow's, as a search or its making tells it. */
export type AnsweredRun = z.infer<typeof run>;

/** Reads an answer: the value of a 2xx, or what kind of trouble it is. `host` is whom we called. */
export function readAnswer<T>(answer: Answer, schema: z.ZodType<T>, host: string): MlflowResult<T> {
  const { status, body } = answer;
  if (status >= 200 && status <= 299) {
    const parsed = schema.safeParse(parseJson(body));
    if (parsed.success) return { kind: "ok", value: parsed.data };
    return { kind: "not_mlflow", status, message: `unexpected answer: ${shorten(body)}` };
  }
  return troubleOf(answer, host);
}

function troubleOf({ status, body, retryAfter }: Answer, host: string): MlflowTrouble {
  const own = refusal.safeParse(parseJson(body));
  if (status === 403 && /invalid host header/i.test(body)) return { kind: "forbidden_host", host };
  const message = own.success ? (own.data.message ?? "").slice(0, REFUSAL_MAX) : shorten(body);
  if (status === 401 || status === 403) return { kind: "unauthorized", status, message };
  const isPassing = PASSING_STATUSES.has(status) || PASSING_CODES.has(codeOf(own.data));
  if (status >= 500 || isPassing) {
    return { kind: "failed", status, message, retryAfterMs: readRetryAfter(retryAfter) };
  }
  if (codeOf(own.data) === "ENDPOINT_NOT_FOUND") return { kind: "not_mlflow", status, message };
  if (own.success) return { kind: "refused", status, code: own.data.error_code, message };
  // Of a proxy in between, and it is about this request alone.
  if (status === 413) return { kind: "refused", status, code: "REQUEST_TOO_LARGE", message };
  return { kind: "not_mlflow", status, message };
}

function codeOf(own: { readonly error_code: string } | undefined): string {
  return own?.error_code ?? "";
}

function readRetryAfter(text: string | null): number | null {
  if (text === null || !/^\d{1,6}$/.test(text)) return null;
  return Math.min(Number(text) * 1_000, RETRY_AFTER_MAX_MS);
}

/** Undefined for an empty body; the text itself where it is no JSON. */
function parseJson(text: string): unknown {
  if (text.trim() === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function shorten(body: string): string {
  const line = body.replace(/\s+/g, " ").trim();
  return line === "" ? "an empty answer" : line.slice(0, MESSAGE_MAX);
}
