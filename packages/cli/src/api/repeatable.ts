/** Requests that may be sent again when nobody knows whether they arrived. */
import type { Clock } from "@holdfast/runtime";
import type { ApiAnswer, ApiClient, ApiRequest } from "./api-client.ts";

/** Tries of a request whose connection is cut; the idempotency key makes them one. */
const TRIES = 4;
const RETRY_MS = 1_000;

/** Sends a request under a key; a connection that is cut in between is tried again under the same key. */
export async function requestUnderKey(
  api: ApiClient,
  path: string,
  { key, clock, ...request }: ApiRequest & { readonly key: string; readonly clock: SleepingClock },
): Promise<ApiAnswer> {
  const headers = { ...request.headers, "idempotency-key": key };
  for (let attempt = 1; ; attempt += 1) {
    const answer = await api.request(path, { ...request, headers });
    const isCut = answer.kind === "unreachable" && (answer.mayHaveArrived || attempt > 1);
    if (!isCut || attempt === TRIES) return answer;
    await clock.sleep(RETRY_MS);
  }
}

/** What waiting between two tries takes. */
export type SleepingClock = Pick<Clock, "sleep">;
