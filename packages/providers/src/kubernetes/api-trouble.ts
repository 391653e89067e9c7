/** What an API server's refusal means to whoever asked for a machine. Pure. */
import type { ProviderTrouble } from "@holdfast/fleet";

/** Longest message that is passed on. */
const MESSAGE_MAX = 500;
const MS_PER_SEC = 1_000;
/** Longest wait that a server's word is taken for. */
const RETRY_AFTER_MS_MAX = 15 * 60 * MS_PER_SEC;

/** An answer that is none of success. */
export interface ApiRefusal {
  readonly status: number;
  /** As it came: a `Status` in JSON, or what a proxy before the server says. */
  readonly body: unknown;
  readonly headers: Readonly<Record<string, string>>;
}

/** The part of a `Status` that says why. */
export interface ApiStatus {
  /** `AlreadyExists`, `Forbidden`, …; null where the answer is no `Status`. */
  readonly reason: string | null;
  readonly message: string;
}

/** What trouble an answer means. */
export function troubleOfRefusal(refusal: ApiRefusal): ProviderTrouble {
  const { status } = refusal;
  const { message } = statusOf(refusal);
  const kind = kindOf(refusal);
  return {
    kind,
    message: shortened(`the cluster answered ${status}: ${message}`),
    retryAfterMs: retryAfterMs(refusal.headers),
    // A server or proxy that broke down may have done so after the deed.
    mayHaveHappened: status === 408 || status >= 500 || status < 400,
  };
}

/** Why an answer refuses. */
export function statusOf({ status, body }: ApiRefusal): ApiStatus {
  const said = typeof body === "string" ? parsed(body) : body;
  if (typeof said !== "object" || said === null) {
    return {
      reason: null,
      message: typeof body === "string" && body !== "" ? body : words(status),
    };
  }
  const { reason, message } = said as { readonly reason?: unknown; readonly message?: unknown };
  return {
    reason: typeof reason === "string" ? reason : null,
    message: typeof message === "string" && message !== "" ? message : words(status),
  };
}

function kindOf(refusal: ApiRefusal): ProviderTrouble["kind"] {
  const { status } = refusal;
  if (status === 401) return "unauthorized";
  if (status === 403) return kindOfForbidden(statusOf(refusal));
  if (status === 429) return "rate_limited";
  // 409: somebody else wrote at the same time (a quota); 410: a page of a list that is gone.
  if (status === 408 || status === 409 || status === 410 || status >= 500) return "unavailable";
  return status >= 400 ? "invalid" : "unavailable";
}

/** 403 is said by whoever may not, and by everything that looks at a pod before it is taken. */
function kindOfForbidden({ reason, message }: ApiStatus): ProviderTrouble["kind"] {
  if (/exceeded quota/.test(message)) return "capacity";
  // The quota was made just now, and nobody has counted yet.
  if (/status unknown for quota/.test(message)) return "unavailable";
  // RBAC: `pods is forbidden: User "x" cannot create resource "pods" in API group …`.
  if (reason === null || /\bcannot \w+ resource\b/.test(message)) return "unauthorized";
  return "invalid";
}

function retryAfterMs(headers: Readonly<Record<string, string>>): number | null {
  const value = headers["retry-after"];
  if (value === undefined || !/^\d{1,6}$/.test(value)) return null;
  return Math.min(Number(value) * MS_PER_SEC, RETRY_AFTER_MS_MAX);
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined; // What a proxy says is shown as it is.
  }
}

function words(status: number): string {
  if (status === 401) return "it does not take the key";
  return "without a reason";
}

/** In one line, and no longer than a person reads. */
export function shortened(message: string): string {
  const line = message.replace(/\s+/g, " ").trim();
  return line.length > MESSAGE_MAX ? `${line.slice(0, MESSAGE_MAX)}…` : line;
}
