/** One POST of JSON, with limits, and what came of it. */
import { cleanText } from "@holdfast/alerts";
import type { GuardedFetch } from "../../access/guarded-fetch.ts";
import { TRY_TIMEOUT_MS, type SendOutcome } from "../model.ts";

const USER_AGENT = "holdfast-alerts/1";
/** Most of an answer that is read. */
const MAX_ANSWER_BYTES = 16 * 1024;
/** How much of a refusal's words is kept. */
const WORDS_MAX = 200;
/** Answers that ask for another try, beside all from 500 on. */
const TRY_AGAIN = new Set([408, 425, 429]);

/** Sends JSON. The address, which may be a secret, stands in no outcome. */
export async function postJson(
  fetcher: Pick<GuardedFetch, "fetch">,
  url: string,
  body: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<SendOutcome> {
  const outcome = await fetcher.fetch(url, {
    method: "POST",
    body,
    headers: { "content-type": "application/json", "user-agent": USER_AGENT, ...headers },
    timeoutMs: TRY_TIMEOUT_MS,
    maxBytes: MAX_ANSWER_BYTES,
    // What was meant for one place, secrets included, goes nowhere else.
    maxRedirects: 0,
    signal,
  });
  if (outcome.kind === "forbidden") return { kind: "refused", reason: outcome.reason };
  if (outcome.kind === "unreachable") return { kind: "unknown", reason: outcome.reason };
  if (outcome.status >= 200 && outcome.status < 300) {
    outcome.discard();
    return { kind: "sent" };
  }
  const words = await readWords(outcome.body);
  const reason = `the target answered ${outcome.status}${words === "" ? "" : `: ${words}`}`;
  const isLater = outcome.status >= 500 || TRY_AGAIN.has(outcome.status);
  return { kind: isLater ? "failed" : "refused", reason };
}

/** The beginning of an answer, for whoever has to find out what is wrong. */
async function readWords(body: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const part of body) {
      parts.push(part);
      size += part.byteLength;
      if (size >= WORDS_MAX) break;
    }
  } catch {
    // The status says enough.
  }
  return cleanText(Buffer.concat(parts).toString("utf8"), WORDS_MAX);
}
