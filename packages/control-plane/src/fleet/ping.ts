/** Asks one health server whether it answers at all: what it says is told by its agent anyway. */
import type { Clock } from "@holdfast/runtime";
import { request } from "undici";
import { withinTime } from "./provider-calls.ts";

/** A health server answers within milliseconds. */
const PING_LIMIT_MS = 5_000;
const BODY_MAX_BYTES = 64 * 1024;

/** Null when something answered by HTTP, else why nothing did. Rejects only when aborted. */
export async function pingHealthServer(
  url: string,
  token: string | null,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<string | null> {
  const late = new Error(`no answer within ${PING_LIMIT_MS / 1_000} s`);
  const ask = async (limited: AbortSignal): Promise<void> => {
    const headers = token === null ? {} : { authorization: `Bearer ${token}` };
    const { body } = await request(url, { signal: limited, headers });
    await body.dump({ limit: BODY_MAX_BYTES, signal: limited });
  };
  try {
    await withinTime(ask, { clock, signal, ms: PING_LIMIT_MS, late });
    return null;
  } catch (error) {
    if (signal.aborted) throw error;
    return error instanceof Error ? error.message : String(error);
  }
}
