import { quoteBigIntegers } from "@holdfast/comfyui/protocol";
import type { IncomingMessage } from "node:http";

/** A request, its path without `/api`. */
export interface SimRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

/** A body that is larger than `--max-upload-size` allows. */
export class BodyTooLargeError extends Error {}

/** Reads a whole body; throws {@link BodyTooLargeError} beyond `limitBytes`. */
export async function readBody(request: IncomingMessage, limitBytes: number): Promise<Buffer> {
  const announced = Number(request.headers["content-length"] ?? 0);
  if (announced > limitBytes) throw new BodyTooLargeError(`actual body size ${String(announced)}`);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limitBytes) throw new BodyTooLargeError(`actual body size ${String(size)}`);
    chunks.push(chunk);
  }
  return chunks.length === 1 ? (chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(chunks);
}

/** The body as JSON. Throws what `JSON.parse` throws: ComfyUI answers that with a bare 500 (F4). */
export function parseJson(request: SimRequest): unknown {
  const text = request.body.toString("utf8");
  // Seeds above 2^53 stay exact as text; the search spares bodies without one the walk.
  return JSON.parse(/\d{16}/.test(text) ? quoteBigIntegers(text) : text);
}

/** The body as a JSON object; `{}` when it is none. */
export function parseObject(request: SimRequest): Readonly<Record<string, unknown>> {
  const value = parseJson(request);
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}

/**
 * ComfyUI's guard against other web pages: on a loopback Host, an Origin of another host or port is
 * refused (server.py, 0.3.64).
 */
export function isForeignOrigin(headers: IncomingMessage["headers"]): boolean {
  const { host, origin } = headers;
  if (host === undefined || origin === undefined) return false;
  const hostUrl = parseUrl(`http://${host}`);
  const originUrl = parseUrl(origin);
  if (hostUrl === null || originUrl === null) return false;
  const isLoopback =
    hostUrl.hostname === "localhost" ||
    hostUrl.hostname === "[::1]" ||
    /^127\.\d+\.\d+\.\d+$/.test(hostUrl.hostname);
  if (!isLoopback) return false;
  const comparesPorts = hostUrl.port !== "" && originUrl.port !== "";
  return comparesPorts ? hostUrl.host !== originUrl.host : hostUrl.hostname !== originUrl.hostname;
}

function parseUrl(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null;
}
