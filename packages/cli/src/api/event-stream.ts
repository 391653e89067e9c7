import type { Clock } from "@holdfast/runtime";
import type { ApiClient } from "./api-client.ts";

/** One message of a server-sent event stream. */
export interface StreamMessage {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: string;
}

/** Longest message kept while it is incomplete: a stream that never ends a line is not one of ours. */
const MAX_BUFFERED_CHARS = 4 * 1024 * 1024;

/**
 * Reads the text of an event stream in any pieces; hands out whole messages. Fields as the WHATWG
 * standard has them; comments (heartbeats) are dropped.
 */
export function createStreamParser(): (chunk: string) => readonly StreamMessage[] {
  let rest = "";
  return (chunk) => {
    // A carriage return at the end may be half of a line break whose other half is still to come.
    rest += chunk;
    const messages: StreamMessage[] = [];
    for (;;) {
      const end = /\r\n\r\n|\n\n|\r\r(?!\n)/.exec(rest);
      if (end === null) break;
      const message = parseMessage(rest.slice(0, end.index));
      rest = rest.slice(end.index + end[0].length);
      if (message !== undefined) messages.push(message);
    }
    if (rest.length > MAX_BUFFERED_CHARS) rest = "";
    return messages;
  };
}

function parseMessage(block: string): StreamMessage | undefined {
  let id: string | undefined;
  let event = "message";
  const data: string[] = [];
  for (const line of block.split(/\r\n|\n|\r/)) {
    const colon = line.indexOf(":");
    if (colon === 0) continue;
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") data.push(value);
    else if (name === "event") event = value;
    else if (name === "id") id = value;
  }
  return data.length === 0 ? undefined : { id, event, data: data.join("\n") };
}

const RECONNECT_FIRST_MS = 500;
const RECONNECT_MAX_MS = 10_000;

/**
 * Follows an event stream until the signal is aborted: comes back after every cut, naming the last
 * event seen. Never throws: events only make a watcher look sooner, they are not the truth.
 */
export async function followEvents(
  api: ApiClient,
  path: string,
  options: {
    readonly clock: Clock;
    readonly signal: AbortSignal;
    readonly onMessage: (message: StreamMessage) => void;
    /** The stream stands: what happens from now on is told. */
    readonly onOpen?: () => void;
  },
): Promise<void> {
  const { clock, signal, onMessage, onOpen } = options;
  let lastId: string | undefined;
  let pauseMs = RECONNECT_FIRST_MS;
  while (!signal.aborted) {
    try {
      const headers = {
        accept: "text/event-stream",
        ...(lastId === undefined ? {} : { "last-event-id": lastId }),
      };
      const answer = await api.request(path, { headers, signal });
      if (answer.kind === "refused" && answer.status < 500) return;
      if (answer.kind === "answered") {
        pauseMs = RECONNECT_FIRST_MS;
        onOpen?.();
        const parse = createStreamParser();
        const decoder = new TextDecoder();
        for await (const chunk of answer.response.body ?? []) {
          for (const message of parse(decoder.decode(chunk as Uint8Array, { stream: true }))) {
            lastId = message.id ?? lastId;
            onMessage(message);
          }
        }
      }
    } catch {
      // A cut stream, or our own end: the loop's condition tells them apart.
    }
    await clock.sleep(pauseMs, signal).catch(() => undefined);
    pauseMs = Math.min(pauseMs * 2, RECONNECT_MAX_MS);
  }
}
