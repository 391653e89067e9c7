/**
 * What to ask a server for, given what is kept of a file, and what to do with its answer. Pure.
 *
 * I1. Bytes are appended to the kept part only when they begin exactly where it ends.
 * I2. Bytes of another version of the file are never joined with those that are kept, as far as the
 *     server's validators can tell; what they cannot, the SHA-256 of the whole does.
 * I3. Whatever the answers are, the kept part is never longer than the file.
 */
import { downloadFailure, type DownloadFailure } from "./download-failure.ts";

/** What is written beside a kept part: where its bytes came from. */
export interface PartRecord {
  readonly url: string;
  readonly etag: string | null;
  readonly lastModified: string | null;
  readonly totalBytes: number | null;
}

/** What is kept of a file. */
export interface KeptPart {
  readonly sizeBytes: number;
  readonly record: PartRecord | null;
}

/** What is wanted. */
export interface WantedFile {
  readonly url: string;
  /** Null where nobody said. */
  readonly sizeBytes: number | null;
}

/** What to ask for. `verify`: nothing, all of it is there. */
export type RequestPlan =
  | { readonly kind: "verify" }
  | { readonly kind: "whole" }
  | { readonly kind: "rest"; readonly from: number; readonly ifRange: string | null };

/** The part of an answer that decides. Header names in lower case. */
export interface AnswerFacts {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
}

/** What to do with an answer. */
export type AnswerVerdict =
  /** Its body goes on where the kept part ends. */
  | { readonly kind: "append"; readonly totalBytes: number | null; readonly record: PartRecord }
  /** Its body is the file from the beginning: what is kept goes, and the hash begins anew. */
  | { readonly kind: "restart"; readonly totalBytes: number | null; readonly record: PartRecord }
  /** The kept part is the whole file already. */
  | { readonly kind: "verify" }
  /** It cannot be joined with what is kept: ask for the whole file. */
  | { readonly kind: "ask_whole"; readonly failure: DownloadFailure }
  | { readonly kind: "failed"; readonly failure: DownloadFailure };

/** Decides what to ask for. `wholeOnly`: going on from the kept part failed before. */
export function planRequest(part: KeptPart, wanted: WantedFile, wholeOnly = false): RequestPlan {
  if (part.sizeBytes === 0 || wholeOnly) return { kind: "whole" };
  const record = part.record?.url === wanted.url ? part.record : null;
  const total = wanted.sizeBytes ?? record?.totalBytes ?? null;
  if (total !== null && part.sizeBytes === total) return { kind: "verify" };
  if (total !== null && part.sizeBytes > total) return { kind: "whole" };
  return {
    kind: "rest",
    from: part.sizeBytes,
    ifRange: record === null ? null : validator(record),
  };
}

/** What `If-Range` takes: a strong entity tag, or else a date. */
function validator(record: PartRecord): string | null {
  return isStrong(record.etag) ? record.etag : record.lastModified;
}

function isStrong(etag: string | null): etag is string {
  return etag !== null && /^"[^"]*"$/.test(etag);
}

/** A parsed `Content-Range`; `first` is null in the answer to a range that cannot be served. */
export interface ContentRange {
  readonly first: number | null;
  readonly last: number | null;
  readonly total: number | null;
}

/** Reads `bytes 5-9/10`, `bytes 5-9/*`, and `bytes *\/10`; null for what is none of these. */
export function parseContentRange(text: string | undefined): ContentRange | null {
  const match = /^\s*bytes\s+(?:(\d{1,15})-(\d{1,15})|\*)\s*\/\s*(\d{1,15}|\*)\s*$/i.exec(
    text ?? "",
  );
  if (match === null) return null;
  const range = { first: toCount(match[1]), last: toCount(match[2]), total: toCount(match[3]) };
  if (range.first === null) return range.total === null ? null : range;
  if (range.last === null || range.last < range.first) return null;
  if (range.total !== null && range.last >= range.total) return null;
  return range;
}

function toCount(digits: string | undefined): number | null {
  return digits === undefined || digits === "*" ? null : Number(digits);
}

/** Decides what to do with an answer of 200, 206 or 416; other statuses are judged before. */
export function judgeAnswer(
  plan: Exclude<RequestPlan, { kind: "verify" }>,
  answer: AnswerFacts,
  part: KeptPart,
  wanted: WantedFile,
): AnswerVerdict {
  const encoding = answer.headers["content-encoding"]?.trim().toLowerCase() ?? "";
  if (answer.status !== 416 && encoding !== "" && encoding !== "identity") {
    return failed(
      "bad_answer",
      `the server sent the file encoded as ${encoding.slice(0, 40)}, though it was asked not to`,
      "Have the server, or the proxy before it, send model files as they are.",
    );
  }
  switch (answer.status) {
    case 200:
      return judgeWhole(answer, wanted);
    case 206:
      return plan.kind === "rest"
        ? judgeRest(plan.from, answer, part, wanted)
        : failed(
            "wrong_range",
            `the whole file was asked for, and the server sent a part of it (${rangeText(answer)})`,
            "The server does not keep to HTTP: fetch the file from another one.",
          );
    default:
      return judgeUnsatisfiable(plan, answer, part, wanted);
  }
}

function judgeWhole(answer: AnswerFacts, wanted: WantedFile): AnswerVerdict {
  const declared = parseLength(answer.headers["content-length"]);
  const wrong = wrongSize(declared, wanted);
  if (wrong !== null) return { kind: "failed", failure: wrong };
  const totalBytes = declared ?? wanted.sizeBytes;
  return { kind: "restart", totalBytes, record: recordOf(answer, wanted, totalBytes) };
}

function judgeRest(
  from: number,
  answer: AnswerFacts,
  part: KeptPart,
  wanted: WantedFile,
): AnswerVerdict {
  const range = parseContentRange(answer.headers["content-range"]);
  if (range === null || range.first !== from) {
    return askWhole(
      "wrong_range",
      `bytes from ${from} on were asked for, and the server sent ${rangeText(answer)}`,
    );
  }
  const wrong = wrongSize(range.total, wanted);
  if (wrong !== null) return { kind: "failed", failure: wrong };
  const record = recordOf(answer, wanted, range.total ?? wanted.sizeBytes);
  const before = part.record?.url === wanted.url ? part.record : null;
  if (before !== null && isAnother(before, record)) {
    return askWhole(
      "wrong_range",
      "the file changed on the server since its first part was fetched",
    );
  }
  return { kind: "append", totalBytes: record.totalBytes ?? before?.totalBytes ?? null, record };
}

/** True when validators prove that these are two versions of the file. */
function isAnother(before: PartRecord, now: PartRecord): boolean {
  const bothTell = isStrong(before.etag) && isStrong(now.etag);
  if (bothTell && before.etag !== now.etag) return true;
  return (
    before.totalBytes !== null && now.totalBytes !== null && before.totalBytes !== now.totalBytes
  );
}

function judgeUnsatisfiable(
  plan: Exclude<RequestPlan, { kind: "verify" }>,
  answer: AnswerFacts,
  part: KeptPart,
  wanted: WantedFile,
): AnswerVerdict {
  if (plan.kind === "whole") {
    return failed(
      "bad_answer",
      `the whole file was asked for, and the server said that there is no such range (416)`,
      "The server does not keep to HTTP: fetch the file from another one.",
    );
  }
  const total = parseContentRange(answer.headers["content-range"])?.total ?? null;
  const wrong = wrongSize(total, wanted);
  if (wrong !== null) return { kind: "failed", failure: wrong };
  // Without a total the hash decides: it is the whole file, or has to be fetched anew.
  if (total === null || total === part.sizeBytes) return { kind: "verify" };
  return askWhole(
    "wrong_range",
    `${part.sizeBytes} bytes are kept of a file of ${total}, and the server has none after them`,
  );
}

/** The length that a server declares; null for none. */
export function parseLength(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,15}$/.test(text.trim()) ? Number(text) : null;
}

function wrongSize(found: number | null, wanted: WantedFile): DownloadFailure | null {
  if (found === null || wanted.sizeBytes === null || found === wanted.sizeBytes) return null;
  return downloadFailure(
    "wrong_size",
    `expected ${wanted.sizeBytes} bytes, and the server has ${found}`,
    "Correct sizeBytes, sha256 or url of the model in machine.yaml.",
  );
}

function recordOf(answer: AnswerFacts, wanted: WantedFile, totalBytes: number | null): PartRecord {
  return {
    url: wanted.url,
    etag: answer.headers["etag"]?.trim() ?? null,
    lastModified: answer.headers["last-modified"]?.trim() ?? null,
    totalBytes,
  };
}

function rangeText(answer: AnswerFacts): string {
  const text = answer.headers["content-range"];
  return text === undefined ? "no Content-Range" : `"${text.slice(0, 80)}"`;
}

function askWhole(kind: "wrong_range", message: string): AnswerVerdict {
  const advice = "Fetch the file from a server that serves ranges as HTTP says.";
  return { kind: "ask_whole", failure: downloadFailure(kind, message, advice) };
}

function failed(kind: DownloadFailure["kind"], message: string, advice: string): AnswerVerdict {
  return { kind: "failed", failure: downloadFailure(kind, message, advice) };
}
