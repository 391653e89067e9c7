import { createApiClient, failureOf } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import type { RunRequest } from "./request.ts";
import { KEYED_PATH } from "./services.ts";

/** Of what a server says without a key, with a wrong one, and with one that may not use jobs. */
const KEY_STATUSES: ReadonlySet<number> = new Set([401, 403]);

/**
 * Asks a Holdfast one thing that needs its key, for whoever did without `--pre-flight`. Throws
 * {@link CommandFailure} where it refuses the key. A server that is away is no matter of keys: runs and
 * checks tell of it.
 */
export async function requireKey({ target, checkTimeoutMs }: RunRequest): Promise<void> {
  if (target.kind !== "holdfast") return;
  const { address } = target;
  const signal = AbortSignal.timeout(checkTimeoutMs);
  const answer = await createApiClient(address)
    .request(KEYED_PATH, { signal })
    .catch(() => undefined); // It did not answer in time.
  if (answer?.kind !== "refused" || !KEY_STATUSES.has(answer.status)) return;
  const { exitCode, message } = failureOf(answer, address.baseUrl);
  throw new CommandFailure(exitCode, `${address.baseUrl}: ${message}\nNothing was rendered.`);
}
