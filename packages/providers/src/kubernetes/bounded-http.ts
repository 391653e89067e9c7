/**
 * How the client's requests travel. The client's own way reads an answer of any size and does not tell
 * whether a request left, which decides whether a machine may have been made.
 */
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import type * as client from "@kubernetes/client-node";
import type { HttpLibrary, RequestContext, ResponseContext } from "@kubernetes/client-node";

/** Largest answer: 250 pods with their histories are some megabytes. */
const BODY_BYTES_MAX = 32 * 1024 * 1024;

type Client = typeof client;

/** One call's way to the server, and what was seen on it. */
export interface WatchedHttp {
  readonly library: HttpLibrary;
  /** Whether it was tried at all: what failed before (a key's program) asked for nothing. */
  wasSent(): boolean;
  /** The server's clock when it answered, epoch ms; null where it did not say. */
  serverNow(): number | null;
}

/** A way for one call. It is given up when the signal is aborted. */
export function watchedHttp(client: Client, signal: AbortSignal): WatchedHttp {
  let isSent = false;
  let date: string | undefined;
  const send = async (context: RequestContext): Promise<ResponseContext> => {
    isSent = true;
    const response = await sendOnce(context, signal);
    date = response.headers.date;
    const body = await boundedBody(response);
    return new client.ResponseContext(response.statusCode ?? 0, plainHeaders(response), {
      text: () => Promise.resolve(body.toString("utf8")),
      binary: () => Promise.resolve(body),
    });
  };
  return {
    library: client.wrapHttpLibrary({ send }),
    wasSent: () => isSent,
    serverNow() {
      const at = Date.parse(date ?? "");
      return Number.isNaN(at) ? null : at;
    },
  };
}

function sendOnce(context: RequestContext, signal: AbortSignal): Promise<IncomingMessage> {
  const url = new URL(context.getUrl());
  const body = context.getBody();
  const text = typeof body === "string" ? body : "";
  const agent = context.getAgent();
  const send = url.protocol === "http:" ? httpRequest : httpsRequest;
  return new Promise((resolve, reject) => {
    const request = send(url, {
      method: context.getHttpMethod(),
      // Node sends the body of a DELETE without saying where it ends, and servers read none then.
      headers: { ...context.getHeaders(), "content-length": String(Buffer.byteLength(text)) },
      signal,
      ...(agent === undefined ? {} : { agent }),
    });
    request.once("response", resolve);
    request.once("error", reject);
    request.end(text);
  });
}

async function boundedBody(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    // Leaving the loop ends the connection.
    if (length > BODY_BYTES_MAX)
      throw new Error(`the answer has more than ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function plainHeaders({ headers }: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, typeof value === "string" ? value : value.join(", ")]],
    ),
  );
}
