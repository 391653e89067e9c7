/** Looks at something of the server again and again until it is interrupted. */
import type { Clock } from "@holdfast/runtime";
import { failureOf, type ApiClient } from "../api/api-client.ts";

/** Between two looks. */
export const WATCH_EVERY_MS = 2_000;

/** What one look came to. */
export type Sight =
  | { readonly kind: "seen"; readonly body: unknown }
  /** No answer, or none that says anything: a later look may be better. */
  | { readonly kind: "lost"; readonly reason: string };

const SERVER_ERROR = 500;

/** One look. Throws `CommandFailure` for what no later look makes better, such as a missing key. */
export async function lookOnce(api: ApiClient, path: string, signal?: AbortSignal): Promise<Sight> {
  const answer = await api.request(path, signal === undefined ? {} : { signal });
  if (answer.kind === "unreachable") return { kind: "lost", reason: answer.reason };
  if (answer.kind === "refused") {
    if (answer.status < SERVER_ERROR) throw failureOf(answer, api.baseUrl);
    return { kind: "lost", reason: `${answer.code ?? "it fails"}: ${answer.message}` };
  }
  try {
    return { kind: "seen", body: await answer.response.json() };
  } catch (error) {
    if (signal?.aborted === true) throw error;
    return { kind: "lost", reason: "the answer is not JSON, or was cut" };
  }
}

/** What is looked at, and what is done with each look. */
export interface Watching {
  readonly api: ApiClient;
  readonly path: string;
  readonly onSight: (sight: Sight) => void;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Ends when its signal is aborted; a server that goes away is waited for. */
export async function watchServer(watching: Watching): Promise<void> {
  const { api, path, onSight, clock, signal } = watching;
  try {
    for (;;) {
      onSight(await lookOnce(api, path, signal));
      await clock.sleep(WATCH_EVERY_MS, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
