/**
 * Tells a Holdfast what graphs cost on a bare ComfyUI: `PUT /api/v1/profiles`. What ran through a Holdfast it
 * has learned by itself, from the same runs.
 */
import { MAX_PROFILES_PER_PUT } from "@holdfast/contract";
import type { FedProfile } from "@holdfast/load";
import type { Clock } from "@holdfast/runtime";
import { failureOf, type ApiAnswer, type ApiClient, type ApiRequest } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { shownUrl } from "../experiment/shown-url.ts";

/** The Holdfast that is told. */
export interface FeedTo {
  readonly api: Pick<ApiClient, "baseUrl" | "request">;
  readonly clock: Clock;
}

const PATH = "/api/v1/profiles";
/** A server that answers nothing for so long is taken for gone. */
const ANSWER_MS = 30_000;

/** Before anything is measured: throws {@link CommandFailure} where it would not take profiles. */
export async function checkFeed(to: FeedTo): Promise<void> {
  const answer = await ask(to, `${PATH}?limit=1`);
  if (answer.kind === "answered") {
    await answer.response.body?.cancel();
    return;
  }
  const { exitCode, words } = troubleOf(answer, to);
  throw new CommandFailure(exitCode, `--feed: ${words}. Nothing was sent.`);
}

/** What became of it, in words; `isDone` is false where something was left untold. */
export async function feedProfiles(
  to: FeedTo,
  profiles: readonly FedProfile[],
): Promise<{ readonly isDone: boolean; readonly words: string }> {
  const url = shownUrl(to.api.baseUrl);
  if (profiles.length === 0) {
    return { isDone: true, words: `nothing to tell ${url}: no workflow has a warm time` };
  }
  for (let from = 0; from < profiles.length; from += MAX_PROFILES_PER_PUT) {
    const some = profiles.slice(from, from + MAX_PROFILES_PER_PUT);
    const answer = await ask(to, PATH, { method: "PUT", json: { profiles: some } });
    if (answer.kind !== "answered") {
      const { words } = troubleOf(answer, to);
      const untold = `${profiles.length - from} of ${profiles.length} profiles were not told`;
      return { isDone: false, words: `${untold}: ${words}` };
    }
    await answer.response.body?.cancel();
  }
  const told = profiles.length === 1 ? "1 profile" : `${profiles.length} profiles`;
  return { isDone: true, words: `told ${url} of ${told}` };
}

async function ask({ api, clock }: FeedTo, path: string, request?: ApiRequest): Promise<ApiAnswer> {
  const over = new AbortController();
  const late = new AbortController();
  clock.sleep(ANSWER_MS, over.signal).then(
    () => late.abort(),
    () => undefined, // It has answered.
  );
  try {
    return await api.request(path, { ...request, signal: late.signal });
  } catch (error) {
    if (!late.signal.aborted) throw error;
    const reason = `no answer within ${ANSWER_MS / 1_000} s`;
    return { kind: "unreachable", reason, mayHaveArrived: true };
  } finally {
    over.abort();
  }
}

function troubleOf(
  answer: Exclude<ApiAnswer, { kind: "answered" }>,
  { api }: FeedTo,
): Pick<CommandFailure, "exitCode"> & { readonly words: string } {
  const url = shownUrl(api.baseUrl);
  if (answer.kind === "unreachable") {
    return { exitCode: EXIT.unavailable, words: `cannot reach ${url}: ${answer.reason}` };
  }
  if (answer.status === 404) {
    const words = `${url} takes no profiles: expected a Holdfast that has ${PATH}, found an older one or something else`;
    return { exitCode: EXIT.refused, words };
  }
  const { exitCode, message } = failureOf(answer, url);
  return { exitCode, words: `${url}: ${message.replace(/\.$/, "")}` };
}
