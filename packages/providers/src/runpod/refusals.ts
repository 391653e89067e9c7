/**
 * What RunPod's answers mean. Statuses and their meaning are from the description of its API (see the
 * head of `provider.ts`); texts are matched where it has nothing else to go by.
 */
import type { ProviderTrouble } from "@holdfast/fleet";
import { assertNever } from "@holdfast/runtime";
import { trouble } from "../provided.ts";
import type { ApiAnswer } from "./http.ts";
import { readRetryAfter } from "./retry-after.ts";

type Kind = ProviderTrouble["kind"];

/**
 * The API says "no room" by no code of its own, only in words, with 400 (version 1: with 500). Each row
 * names where its sample was seen. A text that no row knows is a wrong request by a 4xx, and RunPod's
 * own failure by a 5xx.
 */
const WORDS: readonly { readonly kind: Kind; readonly pattern: RegExp; readonly sample: string }[] =
  [
    {
      kind: "capacity",
      pattern: /\bno (?:longer any )?instances?(?: are)?(?: currently)? available\b/i,
      // v2, 400, recorded live in August 2026 (runpod-plugins-official, breaking-changes.md); v1, 500;
      // GraphQL: dstack issue 1740, runpod-python issue 297 ("… with enough disk space"), runpodctl issue 189.
      sample:
        "There are no longer any instances available with the requested specifications. Please refresh and try again.",
    },
    {
      kind: "capacity",
      pattern: /\bdoes not have the resources to deploy\b/i,
      // v1, 500; TheLastBen/fast-stable-diffusion issue 2484.
      sample:
        "This machine does not have the resources to deploy your pod. Please try a different machine",
    },
    {
      kind: "capacity",
      pattern: /\b(?:not enough|no)(?: free| available)? GPUs?\b/i,
      // GraphQL, for a pod that is started on a host that has since become full.
      sample: "There are not enough free GPUs on the host machine to start this pod",
    },
    {
      kind: "unavailable",
      pattern: /\bsomething went wrong\b/i,
      // GraphQL, INTERNAL_SERVER_ERROR: runpod-python issue 239.
      sample: "Something went wrong. Please try again later or contact support.",
    },
  ];

/** Samples of the table above, with what they mean: for its test and for the stand-in. */
export const REFUSAL_SAMPLES = WORDS.map(({ kind, sample }) => ({ kind, sample }));

/** What is kept of a text that RunPod sent. */
const DETAIL_MAX = 300;

/** What an answer is looked at with. */
export interface AnswerContext {
  /** What was tried, for the message: `a pod could not be made`. */
  readonly what: string;
  /** True for a call that makes something: whether it has is unknown after a lost answer. */
  readonly isCreate: boolean;
  /** Texts that no message may hold. */
  readonly secrets: readonly string[];
  readonly nowMs: number;
}

/** The trouble behind a call that brought nothing useful. */
export function troubleOf(answer: ApiAnswer, context: AnswerContext): ReturnType<typeof trouble> {
  const { what, isCreate } = context;
  switch (answer.kind) {
    case "answer":
      return statusTrouble(answer, context);
    case "unreachable":
      return trouble("unavailable", `${what}: RunPod cannot be reached (${answer.code})`, {
        mayHaveHappened: isCreate && answer.isSent,
      });
    case "timeout":
      return trouble(
        "unavailable",
        `${what}: RunPod has not answered within ${answer.afterMs / 1_000} s`,
        { mayHaveHappened: isCreate },
      );
    case "too_large":
      return trouble(
        "unavailable",
        `${what}: RunPod's answer (status ${answer.status}) is larger than ${answer.maxBytes} bytes`,
        { mayHaveHappened: isCreate && isPossiblyDone(answer.status) },
      );
    default:
      return assertNever(answer);
  }
}

/** Trouble with an answer of a good status whose body is not what the API's description says. */
export function brokenAnswer(context: AnswerContext): ReturnType<typeof trouble> {
  const message = `${context.what}: RunPod's answer could not be read; expected what version 2 of its API sends`;
  return trouble("unavailable", message, { mayHaveHappened: context.isCreate });
}

function statusTrouble(
  answer: Extract<ApiAnswer, { kind: "answer" }>,
  context: AnswerContext,
): ReturnType<typeof trouble> {
  const { status } = answer;
  const detail = withoutSecrets(detailOf(answer.body), context.secrets);
  const retryAfterMs = readRetryAfter(answer.retryAfter, context.nowMs);
  const kind = kindOf(status, detail);
  const isRedirect = status >= 300 && status < 400;
  const advice = isRedirect ? "that is a redirect: check `baseUrl`" : ADVICE[status];
  const words = [detail, advice].filter((part) => part !== undefined && part !== "").join("; ");
  return trouble(kind, `${context.what}: status ${status}${words === "" ? "" : `, ${words}`}`, {
    ...(retryAfterMs === null ? {} : { retryAfterMs }),
    mayHaveHappened: context.isCreate && isPossiblyDone(status),
  });
}

/** A refusal made nothing; behind a 5xx or a proxy's time-out a pod may have been made. */
function isPossiblyDone(status: number): boolean {
  return status < 300 || status >= 500 || status === 408;
}

function kindOf(status: number, detail: string): Kind {
  // 402: the balance does not suffice, which the key's owner has to put right.
  if (status === 401 || status === 402 || status === 403) return "unauthorized";
  if (status === 429) return "rate_limited";
  const known = WORDS.find(({ pattern }) => pattern.test(detail));
  if (known !== undefined) return known.kind;
  // 409 is no verdict on the request: something else is under way.
  if (status >= 500 || status < 300 || status === 408 || status === 409) return "unavailable";
  return "invalid";
}

const ADVICE: Readonly<Partial<Record<number, string>>> = {
  401: "check the key: it may be mistyped, revoked or expired",
  402: "the account's balance does not suffice: add to it",
  403: "the key may not do this, or the account has no access to what was asked for",
};

/**
 * What a body says for a person: `detail` and `errors` of a problem (RFC 9457), else the `error` or
 * `message` of older versions, else its beginning.
 */
function detailOf(body: string): string {
  let parts: readonly unknown[] = [body.replace(/<[^>]*>/g, " ")];
  try {
    const problem: unknown = JSON.parse(body);
    if (typeof problem === "object" && problem !== null) {
      const { detail, errors, error, message } = problem as Record<string, unknown>;
      parts = [detail ?? error ?? message, ...(Array.isArray(errors) ? errors : [])];
    }
  } catch {
    // A proxy's page.
  }
  const text = parts.filter((part) => typeof part === "string").join("; ");
  return text.replace(/\s+/g, " ").trim();
}

/** A shorter one would also blot out words that only look like it. */
const SECRET_MIN = 6;

/** Takes out what must not be seen, then cuts to what is kept. */
function withoutSecrets(text: string, secrets: readonly string[]): string {
  let clean = text;
  for (const secret of secrets) {
    if (secret.length >= SECRET_MIN) clean = clean.replaceAll(secret, "…");
  }
  return clean.length > DETAIL_MAX ? `${clean.slice(0, DETAIL_MAX)}…` : clean;
}
