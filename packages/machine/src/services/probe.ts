/** One look at an HTTP address, and what came of it in words. */
import { Agent, errors, request, type Dispatcher } from "undici";
import type { Clock } from "@holdfast/runtime";
import type { ProbeOutcome } from "./check-decision.ts";

/** What to ask, and which answer is well. */
export interface ProbeTarget {
  readonly url: string;
  /** Statuses that are well; without it any of 200 to 299. */
  readonly expectStatus?: readonly number[] | undefined;
  readonly timeoutMs: number;
}

/** Looks once. Never throws: what goes wrong is the outcome. */
export type Probe = (target: ProbeTarget, signal: AbortSignal) => Promise<ProbeOutcome>;

/** Bytes of an answer that are read, to end the exchange in an orderly way. */
const BODY_MAX_BYTES = 64 * 1024;
const HEADERS_MAX_BYTES = 16 * 1024;
const TIMED_OUT = new Error("timed out");

/**
 * Makes the probe that goes over the network. A connection of its own for each look: one that is kept
 * open would pass although nothing listens any more. Redirects are not followed, proxies not used.
 */
export function createHttpProbe(clock: Clock): Probe {
  return async (target, signal) => {
    const limit = new AbortController();
    const end = (): void => limit.abort(signal.reason);
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
    const done = new AbortController();
    const timer = clock.sleep(target.timeoutMs, done.signal).then(
      () => limit.abort(TIMED_OUT),
      () => undefined,
    );
    const dispatcher = new Agent({
      connections: 1,
      pipelining: 0,
      maxHeaderSize: HEADERS_MAX_BYTES,
      // The one time limit is ours.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: { timeout: 0 },
    });
    try {
      return await ask(target, dispatcher, limit.signal);
    } catch (error) {
      return { kind: "failed", detail: tellFailure(error, target) };
    } finally {
      signal.removeEventListener("abort", end);
      done.abort();
      await timer;
      await dispatcher.destroy();
    }
  };
}

async function ask(
  target: ProbeTarget,
  dispatcher: Dispatcher,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  const { statusCode, headers, body } = await request(target.url, {
    dispatcher,
    signal,
    headers: { "user-agent": "holdfast-health-check", accept: "*/*" },
  });
  // The status alone decides; a body that breaks off or never ends changes nothing.
  await body.dump({ limit: BODY_MAX_BYTES, signal }).catch(() => undefined);
  return judgeStatus(statusCode, headers["location"], target.expectStatus);
}

/** Whether a status is well, and how that is told. */
export function judgeStatus(
  status: number,
  location: string | string[] | undefined,
  expectStatus: readonly number[] | undefined,
): ProbeOutcome {
  const isWell =
    expectStatus === undefined ? status >= 200 && status <= 299 : expectStatus.includes(status);
  if (isWell) return { kind: "passed", detail: `HTTP ${status}` };
  const expected = expectStatus === undefined ? "200 to 299" : expectStatus.join(", ");
  const redirect = location === undefined ? "" : "; it points elsewhere, and that is not followed";
  return { kind: "failed", detail: `HTTP ${status} (expected ${expected}${redirect})` };
}

/** System and library codes, and what they mean to a person. */
const FAILURES: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused: nothing listens there",
  ECONNRESET: "the connection was reset before an answer came",
  EPIPE: "the connection was reset before an answer came",
  UND_ERR_SOCKET: "the connection was closed before an answer came",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "no route to the network",
  EHOSTDOWN: "the host is down",
  ETIMEDOUT: "the system gave up connecting",
  ENOTFOUND: "its name cannot be resolved",
  EAI_AGAIN: "its name cannot be resolved now (the name server does not answer)",
  EPROTO: "it does not speak TLS",
  UND_ERR_HEADERS_OVERFLOW: "its answer has too large headers",
};

/** A failure in words, with whom it was about; of the URL only host and port, for it may hold a key. */
export function tellFailure(error: unknown, target: ProbeTarget): string {
  const where = hostOf(target.url);
  if (error === TIMED_OUT || causes(error).includes(TIMED_OUT)) {
    return `timed out after ${target.timeoutMs / 1000} s (${where})`;
  }
  for (const cause of causes(error)) {
    // undici gives it a code only at times.
    if (cause instanceof errors.HTTPParserError) return `its answer is not HTTP (${where})`;
    const code = (cause as { code?: unknown } | null)?.code;
    if (typeof code !== "string") continue;
    const known = FAILURES[code];
    if (known !== undefined) return `${known} (${where})`;
    if (/CERT|SIGNATURE|ISSUER/.test(code))
      return `its certificate is not trusted: ${code} (${where})`;
    if (code.startsWith("ERR_SSL") || code.startsWith("ERR_TLS")) {
      return `no TLS connection: ${code} (${where})`;
    }
  }
  const message = error instanceof Error ? error.message : String(error);
  return `${message} (${where})`;
}

/** An error, what it stands for, and what caused it; of several addresses that were tried, each. */
function causes(error: unknown): readonly unknown[] {
  const found: unknown[] = [];
  let next: unknown[] = [error];
  // Three levels: undici's own error, Node's, and the attempts on single addresses.
  for (let depth = 0; depth < 3; depth += 1) {
    found.push(...next);
    next = next.flatMap((one) => {
      if (!(one instanceof Error)) return [];
      const several = one instanceof AggregateError ? (one.errors as unknown[]) : [];
      return one.cause === undefined ? several : [one.cause, ...several];
    });
  }
  return found;
}

function hostOf(url: string): string {
  try {
    return new URL(url).host;
  } catch {
    return "not a URL";
  }
}
