import type { ServerResponse } from "node:http";
import type { Clock } from "@holdfast/runtime";
import type { FastifyReply, FastifyRequest } from "fastify";
import { securityHeaders } from "./server.ts";

/** One message of an event stream. `data` goes out as JSON. */
export interface StreamEvent {
  /** What the client names as `Last-Event-ID` when it comes back. */
  readonly id?: string;
  readonly event?: string;
  readonly data: unknown;
}

/** How to stream. */
export interface EventStreamOptions {
  readonly clock: Clock;
  /** Silence is broken by a comment this often, so that proxies and clients know the stream lives. */
  readonly heartbeatMs: number;
  /** Ends the stream from our side: the server's `closing`. */
  readonly closing: AbortSignal;
  /** A client that reads nothing for this long is let go; it may come back with `Last-Event-ID`. */
  readonly stallLimitMs?: number;
  /**
   * Gives the events, pulled one by one as fast as the client reads. Must end soon after `signal`
   * is aborted (client gone, server closing).
   */
  readonly source: (signal: AbortSignal) => AsyncIterable<StreamEvent>;
}

const DEFAULT_STALL_LIMIT_MS = 30_000;
/** Clients wait this long before they come back. */
const RETRY_MS = 2_000;
const MAX_EVENT_ID_LENGTH = 128;
const HEARTBEAT = ": still here\n\n";

/** The id of the last event a returning client saw: header (browsers) or `lastEventId` in the query. */
export function lastEventId(request: FastifyRequest): string | undefined {
  const header = request.headers["last-event-id"];
  const query = (request.query as Record<string, unknown> | null)?.["lastEventId"];
  const id = typeof header === "string" ? header : query;
  return typeof id === "string" && id !== "" && id.length <= MAX_EVENT_ID_LENGTH ? id : undefined;
}

/** One message as it stands on the wire. */
export function formatStreamEvent(event: StreamEvent): string {
  const id = event.id === undefined ? "" : `id: ${oneLine(event.id)}\n`;
  const type = event.event === undefined ? "" : `event: ${oneLine(event.event)}\n`;
  // JSON has no raw line breaks, so one data line holds it.
  return `${id}${type}data: ${JSON.stringify(event.data)}\n\n`;
}

function oneLine(text: string): string {
  return text.replaceAll(/[\r\n]/g, " ");
}

/**
 * Takes over a reply and streams events until the source ends, the client goes, stalls, or the
 * server closes. Resolves then; throws nothing but what the source throws.
 */
export async function sendEventStream(
  reply: FastifyReply,
  options: EventStreamOptions,
): Promise<void> {
  const { raw } = reply;
  reply.hijack();
  const gone = new AbortController();
  const end = (): void => gone.abort(new Error("stream ended"));
  raw.once("close", end);
  raw.on("error", end);
  options.closing.addEventListener("abort", end, { once: true });
  if (options.closing.aborted || raw.destroyed) end();
  raw.writeHead(200, {
    ...securityHeaders(),
    "content-type": "text/event-stream; charset=utf-8",
    "x-accel-buffering": "no",
    "x-request-id": reply.request.id,
  });
  const write = (text: string): Promise<void> => writeOrStall(raw, text, options, gone);
  const beating = heartbeat(raw, options, gone.signal);
  try {
    if (reply.request.method === "HEAD") return; // What a stream would say of itself; it has no end.
    await write(`retry: ${RETRY_MS}\n\n`);
    for await (const event of options.source(gone.signal)) {
      if (gone.signal.aborted) break;
      await write(formatStreamEvent(event));
    }
  } catch (error) {
    if (!gone.signal.aborted) throw error; // Once the stream has ended, its source may fail as it likes.
  } finally {
    options.closing.removeEventListener("abort", end);
    end();
    raw.end();
    await beating;
  }
}

/** Writes, and waits while the client's connection is full. */
async function writeOrStall(
  raw: ServerResponse,
  text: string,
  options: EventStreamOptions,
  gone: AbortController,
): Promise<void> {
  if (gone.signal.aborted || raw.write(text)) return;
  const drained = new AbortController();
  const wake = (): void => drained.abort();
  raw.once("drain", wake);
  gone.signal.addEventListener("abort", wake, { once: true });
  const limitMs = options.stallLimitMs ?? DEFAULT_STALL_LIMIT_MS;
  try {
    await options.clock.sleep(limitMs, drained.signal);
    gone.abort(new Error("client reads nothing"));
    raw.destroy();
  } catch {
    // Drained, or gone: either way the caller goes on.
  } finally {
    raw.off("drain", wake);
    gone.signal.removeEventListener("abort", wake);
  }
}

async function heartbeat(
  raw: ServerResponse,
  options: EventStreamOptions,
  gone: AbortSignal,
): Promise<void> {
  try {
    for (;;) {
      await options.clock.sleep(options.heartbeatMs, gone);
      // A full connection needs no sign of life, and must not grow.
      if (!raw.writableNeedDrain) raw.write(HEARTBEAT);
    }
  } catch {
    // The stream has ended.
  }
}
