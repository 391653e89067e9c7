/** What every client of somebody else's server needs: a deadline, an answer that ends, words for why not. */
import { abortReason, type Abortable, type Clock } from "../clock.ts";

/** Why an exchange brought no answer. */
export type ExchangeTrouble =
  /** No connection, or one that broke; `isSent`: the server may have got the request all the same. */
  | {
      readonly kind: "unreachable";
      readonly code: string;
      readonly message: string;
      readonly isSent: boolean;
    }
  /** Nothing came in time, or not all of it: it may have been done, or may still be. */
  | { readonly kind: "timeout"; readonly afterMs: number };

/** Codes that mean: no byte of the request has reached anybody. */
const NOT_SENT: ReadonlySet<string> = new Set([
  "EAI_AGAIN",
  "ECONNREFUSED",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "UND_ERR_CONNECT_TIMEOUT",
  "CERT_HAS_EXPIRED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** Reason of our own signals; never seen by anybody. */
const CUT = new Error("the exchange was cut off");

/**
 * Runs one exchange under a deadline of the injected clock and the caller's signal, which both abort the
 * signal it is given. Rejects only when the caller's signal is aborted.
 */
export async function exchangeUntil<T>(
  limits: { readonly clock: Clock; readonly timeoutMs: number; readonly signal: Abortable },
  exchange: (abort: AbortSignal) => Promise<T>,
): Promise<T | ExchangeTrouble> {
  const { clock, timeoutMs, signal } = limits;
  if (isAborted(signal)) throw abortReason(signal);
  const abort = new AbortController();
  const timer = new AbortController();
  let isLate = false;
  const onAbort = (): void => abort.abort(CUT);
  signal.addEventListener("abort", onAbort, { once: true });
  clock.sleep(timeoutMs, timer.signal).then(
    () => {
      isLate = true;
      abort.abort(CUT);
    },
    // The exchange ended first.
    () => undefined,
  );
  try {
    return await exchange(abort.signal);
  } catch (error) {
    if (isAborted(signal)) throw abortReason(signal);
    if (isLate) return { kind: "timeout", afterMs: timeoutMs };
    const code = codeOf(error) ?? "UNKNOWN";
    const message = error instanceof Error && error.message !== "" ? error.message : code;
    return { kind: "unreachable", code, message, isSent: !NOT_SENT.has(code) };
  } finally {
    timer.abort(CUT);
    signal.removeEventListener("abort", onAbort);
  }
}

/** All of a body as text; undefined where it is larger, and then its connection is ended. */
export async function readText(
  body: AsyncIterable<Uint8Array>,
  bytesMax: number,
): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body) {
    sizeBytes += chunk.length;
    // Leaving the loop destroys the body, and with it the connection.
    if (sizeBytes > bytesMax) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** A call, so that the compiler does not take an earlier look for the state after a wait. */
function isAborted(signal: Abortable): boolean {
  return signal.aborted;
}

/** The system's code, looked for in causes and in the parts of an aggregate too. */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  return codeOf(error.cause);
}
