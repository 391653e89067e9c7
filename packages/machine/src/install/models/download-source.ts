/** Where bytes come from: what is asked for, and what is answered. HTTP and `file://` alike. */
import type { DownloadFailure } from "./download-failure.ts";
import type { AskedOf } from "./answer-status.ts";
import type { AnswerFacts, RequestPlan } from "./resume-plan.ts";

/** What to ask for. */
export interface Asked {
  readonly plan: Exclude<RequestPlan, { kind: "verify" }>;
  readonly signal: AbortSignal;
}

/** An answer with its body still to come, or why there is none. */
export type Opened =
  | ({
      readonly kind: "answered";
      readonly body: AsyncIterable<Uint8Array>;
      /** Gives the body up, read or not. Safe to call twice. */
      cancel(): Promise<void>;
      readonly asked: Omit<AskedOf, "licence">;
    } & AnswerFacts)
  | { readonly kind: "failed"; readonly failure: DownloadFailure };

/** What is told of a file without fetching it. */
export interface Probed {
  /** Null where the server does not say. */
  readonly sizeBytes: number | null;
  readonly failure: DownloadFailure | null;
}

/** Fetches by URL. */
export interface DownloadSource {
  /** Opens a URL. Throws the signal's reason when aborted, and nothing else. */
  open(url: string, asked: Asked): Promise<Opened>;
  /** Asks for the size of a file, and whether it may be had. */
  probe(url: string, licence: string | null, signal: AbortSignal): Promise<Probed>;
  /** Ends its connections. */
  close(): Promise<void>;
}
