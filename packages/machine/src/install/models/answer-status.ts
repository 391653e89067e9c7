/** What a status other than 200, 206 and 416 means for a download. Pure. */
import { downloadFailure, type DownloadFailure } from "./download-failure.ts";
import { parseLength, type AnswerFacts } from "./resume-plan.ts";

/** Longest that a server's `Retry-After` is obeyed. */
const RETRY_AFTER_MAX_MS = 5 * 60_000;
const FAIR: ReadonlySet<number> = new Set([200, 206, 416]);
/** Statuses below 500 that another try may end. */
const BUSY: ReadonlySet<number> = new Set([408, 421, 425, 429]);

/** What is known of the request that was answered. */
export interface AskedOf {
  /** Without user, query and fragment: fit for a log. */
  readonly url: string;
  readonly host: string;
  /** The secret that was sent; null when none was. */
  readonly tokenFile: string | null;
  /** In words, where the model has a licence to accept. */
  readonly licence: string | null;
}

/** Null when the body may be looked at. */
export function statusFailure(answer: AnswerFacts, asked: AskedOf): DownloadFailure | null {
  const { status } = answer;
  if (FAIR.has(status)) return null;
  const said = `${asked.url} answered ${status}`;
  if (status === 401 || status === 403) {
    return downloadFailure("gated", `${said}: access is refused`, gatedAdvice(asked));
  }
  if (status === 404 || status === 410) {
    return downloadFailure(
      "not_found",
      `${said}: there is no such file (some hosts say so too when a token is missing)`,
      "Correct the model's url in machine.yaml.",
    );
  }
  if (status >= 500 || BUSY.has(status)) {
    return downloadFailure(
      "server_trouble",
      said,
      `Look whether ${asked.host} works; what was fetched is kept.`,
      retryAfter(answer),
    );
  }
  return downloadFailure("bad_answer", said, "Correct the model's url in machine.yaml.");
}

function gatedAdvice({ host, tokenFile, licence }: AskedOf): string {
  const token =
    tokenFile === null
      ? `name a token file for ${host} under downloads.auth in machine.yaml`
      : `see that the token in ${tokenFile} is valid and may read this file`;
  const terms = licence === null ? "the model's licence, if it has one," : `the licence ${licence}`;
  return `Accept ${terms} with that account at ${host}, and ${token}.`;
}

function retryAfter(answer: AnswerFacts): number | undefined {
  const seconds = parseLength(answer.headers["retry-after"]);
  return seconds === null ? undefined : Math.min(seconds * 1000, RETRY_AFTER_MAX_MS);
}

/** True for the beginning of a page of HTML, which no model file has. */
export function looksLikeWebPage(head: Uint8Array): boolean {
  const text = Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, 512))
    .toString("latin1")
    .replace(/^\u00ef\u00bb\u00bf/, "")
    .trimStart()
    .toLowerCase();
  return /^(?:<!doctype\s+html|<html[\s>]|<head[\s>]|<!--[^]*<html[\s>])/.test(text);
}
