/** Asks one health server whether it answers at all: what it says is told by its agent anyway. */
import type { Clock } from "@holdfast/runtime";
import { request } from "undici";

/** A health server answers within milliseconds. */
const PING_LIMIT_MS = 5_000;
const BODY_MAX_BYTES = 64 * 1024;

/** Null when something answered by HTTP, else why nothing did. Rejects only when aborted. */
export async function pingHealthServer(
  url: string,
  token: string | null,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<string | null> {
  const limit = new AbortController();
  const onAbort = (): void => limit.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const done = new AbortController();
  const timer = clock.sleep(PING_LIMIT_MS, done.signal).then(
    () => limit.abort(new Error(`no answer within ${PING_LIMIT_MS / 1_000} s`)),
    () => undefined,
  );
  try {
    const { body } = await request(url, {
      signal: limit.signal,
      headers: token === null ? {} : { authorization: `Bearer ${token}` },
    });
    await body.dump({ limit: BODY_MAX_BYTES, signal: limit.signal });
    return null;
  } catch (error) {
    if (signal.aborted) throw error;
    return error instanceof Error ? error.message : String(error);
  } finally {
    signal.removeEventListener("abort", onAbort);
    done.abort();
    await timer;
  }
}
