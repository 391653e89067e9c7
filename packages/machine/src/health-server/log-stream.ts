/** Sends what is written into logs to one client, for as long as it listens. */
import type { ServerResponse } from "node:http";
import type { Clock } from "@holdfast/runtime";
import type { FastifyReply } from "fastify";
import { SECURITY_HEADERS } from "./error-answer.ts";

/** How long, and how patiently. */
export interface LogStreamOptions {
  readonly clock: Clock;
  readonly contentType: string;
  /** Ends the stream from our side. */
  readonly closing: AbortSignal;
  /** A client that reads nothing for this long is let go. */
  readonly stallMs?: number;
  /** A stream that somebody forgot ends after this. */
  readonly maxMs?: number;
  /** Gives the bytes; has to end soon after the signal is aborted. */
  readonly source: (signal: AbortSignal) => AsyncIterable<Buffer>;
}

const DEFAULT_STALL_MS = 30_000;
const DEFAULT_MAX_MS = 60 * 60_000;
/** The system asks a silent client this often whether it is still there. */
const KEEP_ALIVE_MS = 30_000;

/** Takes over a reply. Resolves when the client has gone, has stalled, or we have ended it. */
export async function sendLogStream(reply: FastifyReply, options: LogStreamOptions): Promise<void> {
  const { raw } = reply;
  const { clock, closing } = options;
  const gone = new AbortController();
  const end = (): void => gone.abort(new Error("stream ended"));
  reply.hijack();
  raw.once("close", end);
  raw.on("error", end);
  closing.addEventListener("abort", end, { once: true });
  if (closing.aborted || raw.destroyed) end();
  raw.socket?.setKeepAlive(true, KEEP_ALIVE_MS);
  raw.writeHead(200, {
    ...SECURITY_HEADERS,
    "content-type": options.contentType,
    "x-accel-buffering": "no",
    "x-request-id": reply.request.id,
  });
  // Without it a client of a silent log would wait for the head.
  raw.flushHeaders();
  const limit = clock
    .sleep(options.maxMs ?? DEFAULT_MAX_MS, gone.signal)
    .then(end, () => undefined);
  try {
    for await (const bytes of options.source(gone.signal)) {
      if (gone.signal.aborted) break;
      if (bytes.length > 0) await write(raw, bytes, gone, options);
    }
  } finally {
    closing.removeEventListener("abort", end);
    end();
    raw.end();
    await limit;
  }
}

/** Writes, and waits while the client's connection is full. */
async function write(
  raw: ServerResponse,
  bytes: Buffer,
  gone: AbortController,
  { clock, stallMs }: LogStreamOptions,
): Promise<void> {
  if (raw.write(bytes) || gone.signal.aborted) return;
  const drained = new AbortController();
  const wake = (): void => drained.abort();
  raw.once("drain", wake);
  gone.signal.addEventListener("abort", wake, { once: true });
  try {
    await clock.sleep(stallMs ?? DEFAULT_STALL_MS, drained.signal);
    gone.abort(new Error("client reads nothing"));
    raw.destroy();
  } catch {
    // Drained, or gone: either way the caller goes on.
  } finally {
    raw.off("drain", wake);
    gone.signal.removeEventListener("abort", wake);
  }
}
