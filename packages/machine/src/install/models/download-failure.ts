/** Why a model is not there, as data: each kind is something that an operator sees on a normal day. */

/** What went wrong, told apart by what has to be done. */
export type DownloadFailureKind =
  /** No connection, or it broke. */
  | "unreachable"
  /** Connected, and then no byte for too long. */
  | "stalled"
  /** The answer ended before the file did. */
  | "truncated"
  /** 5xx, 408, 425, 429. */
  | "server_trouble"
  /** 401 or 403: a licence to accept, or a token to send. */
  | "gated"
  | "not_found"
  /** Another status, or an answer that makes no sense. */
  | "bad_answer"
  /** Bytes from elsewhere in the file than asked for. */
  | "wrong_range"
  | "redirect_refused"
  /** A page of HTML in the place of the file. */
  | "web_page"
  | "wrong_size"
  | "wrong_hash"
  | "disk_full"
  | "disk_trouble"
  /** Another file is there, and it is not ours to replace. */
  | "target_taken"
  | "target_refused"
  | "licence"
  | "token_file"
  | "bad_url";

/** A failure in words: what was expected, what was found, and what to do. */
export interface DownloadFailure {
  readonly kind: DownloadFailureKind;
  readonly message: string;
  /** What to do, as a sentence. */
  readonly advice: string;
  /** Worth another try without anybody's doing. */
  readonly isTransient: boolean;
  /** The server asked to be left alone for so long. */
  readonly retryAfterMs?: number;
}

const TRANSIENT: ReadonlySet<DownloadFailureKind> = new Set([
  "unreachable",
  "stalled",
  "truncated",
  "server_trouble",
]);

/** A disk that refused, told apart from a connection that broke. */
export class DiskRefusal extends Error {
  constructor(cause: unknown) {
    super("the disk refused", { cause });
    this.name = "DiskRefusal";
  }
}

/** Makes a failure; whether it is transient follows from its kind. */
export function downloadFailure(
  kind: DownloadFailureKind,
  message: string,
  advice: string,
  retryAfterMs?: number,
): DownloadFailure {
  return {
    kind,
    message,
    advice,
    isTransient: TRANSIENT.has(kind),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
}

/** The disk refused: full, forbidden, or something else. Throws an error that is not the disk's. */
export function diskFailure(error: unknown, path: string): DownloadFailure {
  const cause = error instanceof DiskRefusal ? error.cause : error;
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === undefined && !(error instanceof DiskRefusal)) throw error;
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return downloadFailure(
        "disk_full",
        `no space is left for ${path} (${code})`,
        "Free space on that disk, then run it again: what was fetched is kept and goes on from there.",
      );
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return downloadFailure(
        "disk_trouble",
        `${path} may not be written to (${code})`,
        "Let the user that Holdfast runs as write to the model folder.",
      );
    default:
      return downloadFailure(
        "disk_trouble",
        `${path} could not be written: ${message}`,
        "Look at that folder and its disk, then run it again.",
      );
  }
}
