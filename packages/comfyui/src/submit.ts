import {
  assertNever,
  backoffMs,
  type Abortable,
  type BackoffPolicy,
  type Clock,
  type Random,
} from "@holdfast/runtime";
import { MAX_KEPT_BODY, type Answer, type ClientTrouble } from "./http.ts";
import type { PromptLookup } from "./lookup.ts";
import {
  parseNodeErrors,
  parsePromptRejection,
  type Graph,
  type NodeErrors,
  type PromptRejection,
} from "./protocol/index.ts";

/** A prompt to submit. `extraData` is shown to everybody by `GET /queue`: no secrets in it (F28). */
export interface PromptRequest {
  readonly promptId: string;
  readonly graph: Graph;
  readonly extraData?: Readonly<Record<string, unknown>>;
}

/** What became of a submission. */
export type SubmitOutcome =
  | {
      readonly kind: "accepted";
      /** As ComfyUI answered: versions that take no caller's id answer with their own. */
      readonly promptId: string;
      /** The process's counter; undefined when it was only found in the queue or history. */
      readonly number: number | undefined;
      /** Outputs that were dropped although the prompt was taken (F2). Empty after a look-up. */
      readonly nodeErrors: readonly NodeErrors[];
      /** The output nodes that will run, where a look-up told. */
      readonly outputs: readonly string[] | undefined;
      readonly via: "answer" | "lookup";
    }
  | { readonly kind: "rejected"; readonly rejection: PromptRejection | UnexplainedRejection }
  /** It may be queued, or not: look the id up before anything else (F1, F27). */
  | { readonly kind: "ambiguous"; readonly cause: ClientTrouble }
  /** Certainly not queued: nobody was there to take it. */
  | { readonly kind: "not_sent"; readonly cause: ClientTrouble };

/** The same body was answered 500 twice and is not queued: the body's fault, not an outage (F4). */
export interface UnexplainedRejection {
  readonly kind: "bad_request_500";
  readonly text: string;
}

/** How hard `submitOnce` tries. */
export interface ResubmitPolicy {
  /** POSTs in all, the first included. */
  readonly maxPosts: number;
  /** Look-ups after one ambiguous POST, while ComfyUI cannot be reached. */
  readonly maxLookups: number;
  readonly backoff: BackoffPolicy;
}

/** Outlasts ComfyUI's pauses for garbage collection (F29) several times over. */
export const DEFAULT_RESUBMIT_POLICY: ResubmitPolicy = {
  maxPosts: 3,
  maxLookups: 6,
  backoff: { initialMs: 500, factor: 2, maxMs: 10_000, jitter: 0.2 },
};

/** Reads the answer to `POST /prompt`. */
export function toSubmitOutcome(answer: Answer | ClientTrouble, promptId: string): SubmitOutcome {
  switch (answer.kind) {
    case "unreachable":
      return { kind: answer.sent ? "ambiguous" : "not_sent", cause: answer };
    case "timeout":
    case "http":
    case "malformed":
      return { kind: "ambiguous", cause: answer };
    case "answer":
      return answer.status === 200 ? toAccepted(answer.body, promptId) : toRejected(answer);
    default:
      return assertNever(answer);
  }
}

function toAccepted(body: string, promptId: string): SubmitOutcome {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    // Handled below: a 200 without ComfyUI's answer says nothing.
  }
  if (typeof value !== "object" || value === null || !("prompt_id" in value)) {
    const cause: ClientTrouble = { kind: "malformed", message: "200 without a prompt_id" };
    return { kind: "ambiguous", cause };
  }
  const number = "number" in value ? value.number : undefined;
  return {
    kind: "accepted",
    promptId: typeof value.prompt_id === "string" ? value.prompt_id : promptId,
    number: typeof number === "number" ? number : undefined,
    nodeErrors: parseNodeErrors("node_errors" in value ? value.node_errors : undefined),
    outputs: undefined,
    via: "answer",
  };
}

function toRejected(answer: Answer): SubmitOutcome {
  if (answer.status >= 500) {
    const body = answer.body.slice(0, MAX_KEPT_BODY);
    return { kind: "ambiguous", cause: { kind: "http", status: answer.status, body } };
  }
  return { kind: "rejected", rejection: parsePromptRejection(answer.status, answer.body) };
}

/**
 * Submits so that the prompt is queued at most once by us: before every POST but the first, the id
 * is looked up in queue and history. A POST that may still be on its way is looked up twice, with a
 * pause between, because another connection may overtake it.
 */
export async function submitWithLookup(port: {
  readonly submit: () => Promise<SubmitOutcome>;
  readonly lookUp: () => Promise<PromptLookup>;
  readonly lookFirst: boolean;
  readonly policy: ResubmitPolicy;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: Abortable | undefined;
}): Promise<SubmitOutcome> {
  const { policy, clock, random, signal } = port;
  const pause = (attempt: number): Promise<void> =>
    clock.sleep(backoffMs(policy.backoff, attempt, random), signal);
  if (port.lookFirst) {
    const found = await settle(port, pause, 1);
    if (found.kind !== "absent") return found.outcome;
  }
  let internalErrors = 0;
  let last: SubmitOutcome = { kind: "not_sent", cause: { kind: "timeout", afterMs: 0 } };
  for (let post = 1; post <= policy.maxPosts; post += 1) {
    if (post > 1) await pause(post - 1);
    const outcome = await port.submit();
    if (outcome.kind === "accepted" || outcome.kind === "rejected") return outcome;
    last = outcome;
    // Refused connections are the caller's to judge: the instance is down, and it knows why.
    if (outcome.kind === "not_sent") return outcome;
    const { cause } = outcome;
    const wasAnswered = cause.kind === "http";
    if (wasAnswered && cause.status === 500) internalErrors += 1;
    const found = await settle(port, pause, wasAnswered ? 1 : 2);
    if (found.kind === "found") return found.outcome;
    if (found.kind === "unknown") return { kind: "ambiguous", cause };
    if (internalErrors >= 2 && wasAnswered) {
      return { kind: "rejected", rejection: { kind: "bad_request_500", text: cause.body } };
    }
  }
  return last;
}

type Settled =
  | { readonly kind: "found"; readonly outcome: SubmitOutcome }
  | { readonly kind: "absent" }
  | { readonly kind: "unknown"; readonly outcome: SubmitOutcome };

/** Looks until the id was found once, or was absent `absences` times, or patience ends. */
async function settle(
  port: { readonly lookUp: () => Promise<PromptLookup>; readonly policy: ResubmitPolicy },
  pause: (attempt: number) => Promise<void>,
  absences: number,
): Promise<Settled> {
  let absent = 0;
  let cause: ClientTrouble = { kind: "timeout", afterMs: 0 };
  for (let look = 1; look <= port.policy.maxLookups; look += 1) {
    if (look > 1) await pause(look - 1);
    const found = await port.lookUp();
    switch (found.kind) {
      case "queued":
      case "running":
      case "finished":
        return {
          kind: "found",
          outcome: {
            kind: "accepted",
            promptId: found.promptId,
            number: found.number,
            nodeErrors: [],
            outputs: found.outputs,
            via: "lookup",
          },
        };
      case "absent":
        absent += 1;
        if (absent >= absences) return { kind: "absent" };
        break;
      case "unknown":
        cause = found.cause;
        break;
    }
  }
  return { kind: "unknown", outcome: { kind: "ambiguous", cause } };
}
