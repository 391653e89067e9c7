/** A file server for models: ranges, ETags, tokens, and everything that goes wrong with downloads. */
import { createHash } from "node:crypto";
import { createReadStream, statSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { closeServer, listenOnLoopback } from "./loopback.ts";

/** Bytes that are sent before the server looks at throttle and cut again. */
const PIECE_BYTES = 64 * 1024;

/** How a file is served. */
export interface FileManners {
  /** Answered with 401 without it. */
  readonly token?: string;
  /** Header that carries the token; default `Authorization`, as `Bearer TOKEN`. */
  readonly tokenHeader?: string;
  readonly bytesPerSecond?: number;
  /** Every answer is cut off after so many bytes of its body. */
  readonly cutAfterBytes?: number;
  /** How many answers are cut; default all of them. */
  readonly cuts?: number;
  /** False: a range is not understood, and answered with 200 and the whole file. */
  readonly ranges?: boolean;
  /** Null: none is sent. Default: a hash of the content. */
  readonly etag?: string | null;
  /** Answered instead of the file. */
  readonly status?: number;
  /** 200 with a web page, as a login in the way would answer. */
  readonly html?: boolean;
  readonly redirectTo?: string;
  /** Length that is told, where it is not the true one. */
  readonly contentLength?: number | null;
  /** The answer begins so late. */
  readonly delayMs?: number;
}

/** One answered request. */
export interface FileRequest {
  readonly path: string;
  readonly method: string;
  readonly status: number;
  /** First byte of the answer's body in the file. */
  readonly from: number;
  /** Bytes of the body that went out; grows while it is sent. */
  sent: number;
  readonly headers: IncomingMessage["headers"];
}

/** A running file server. */
export interface FileServer {
  readonly url: string;
  /** Serves bytes, or a file of the disk, under a path; returns its URL and SHA-256. */
  put(
    path: string,
    content: Buffer | { readonly file: string },
    manners?: FileManners,
  ): { readonly url: string; readonly sha256: string; readonly sizeBytes: number };
  /** Other manners for a path, from the next request on. */
  change(path: string, manners: FileManners): void;
  remove(path: string): void;
  requests(path?: string): readonly FileRequest[];
  /** Bytes that went out for a path. */
  bytesSent(path: string): number;
  forgetRequests(): void;
  /** Cuts every connection that is open now. */
  cutAll(): void;
  close(): Promise<void>;
}

interface Served {
  readonly sizeBytes: number;
  readonly sha256: string;
  read(from: number, to: number): Readable;
  manners: FileManners;
  cutsLeft: number;
}

/** Starts an empty one. */
export async function startFileServer(): Promise<FileServer> {
  const files = new Map<string, Served>();
  const requests: FileRequest[] = [];
  const closing = new AbortController();
  const server = createServer((request, response) => {
    void answer(files, requests, request, response, closing.signal).catch(() => response.destroy());
  });
  const url = await listenOnLoopback(server);
  const about = (path: string): Served => {
    const found = files.get(path);
    if (found === undefined) throw new Error(`the file server has no ${path}`);
    return found;
  };
  return {
    url,
    put(path, content, manners = {}) {
      const served = Buffer.isBuffer(content) ? servedBytes(content) : servedFile(content.file);
      files.set(path, { ...served, manners, cutsLeft: manners.cuts ?? Infinity });
      return { url: `${url}${path}`, sha256: served.sha256, sizeBytes: served.sizeBytes };
    },
    change(path, manners) {
      const served = about(path);
      served.manners = manners;
      served.cutsLeft = manners.cuts ?? Infinity;
    },
    remove: (path) => void files.delete(path),
    requests: (path) => requests.filter((each) => path === undefined || each.path === path),
    bytesSent: (path) =>
      requests.filter((each) => each.path === path).reduce((sum, each) => sum + each.sent, 0),
    forgetRequests: () => void requests.splice(0),
    cutAll: () => server.closeAllConnections(),
    close() {
      closing.abort();
      return closeServer(server);
    },
  };
}

function servedBytes(content: Buffer): Omit<Served, "manners" | "cutsLeft"> {
  return {
    sizeBytes: content.length,
    sha256: createHash("sha256").update(content).digest("hex"),
    read: (from, to) => Readable.from(pieces(content.subarray(from, to))),
  };
}

/** Of a file on the disk the caller knows the hash; a large one is not read for it. */
function servedFile(file: string): Omit<Served, "manners" | "cutsLeft"> {
  const { size } = statSync(file);
  return {
    sizeBytes: size,
    sha256: "",
    read: (start, to) =>
      to > start
        ? createReadStream(file, { start, end: to - 1, highWaterMark: PIECE_BYTES })
        : Readable.from([]),
  };
}

function* pieces(content: Buffer): Generator<Buffer> {
  for (let at = 0; at < content.length; at += PIECE_BYTES) {
    yield content.subarray(at, at + PIECE_BYTES);
  }
}

async function answer(
  files: ReadonlyMap<string, Served>,
  requests: FileRequest[],
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const path = decodeURIComponent(new URL(request.url ?? "/", "http://files").pathname);
  const served = files.get(path);
  const note = (status: number, from = 0): FileRequest => {
    const { method = "GET", headers } = request;
    const entry = { path, method, status, from, sent: 0, headers };
    requests.push(entry);
    return entry;
  };
  const refusal = served === undefined ? { status: 404 } : refusalOf(served.manners, request);
  if (served?.manners.delayMs !== undefined) await pause(served.manners.delayMs, signal);
  if (served === undefined || refusal !== undefined) {
    const { status, headers = {}, body = "" } = refusal ?? { status: 404 };
    note(status);
    response.writeHead(status, headers).end(body);
    return;
  }
  const part = partOf(served, request);
  const entry = note(part.status, part.from);
  response.writeHead(part.status, part.headers);
  if (request.method === "HEAD" || part.status === 416) {
    response.end();
    return;
  }
  await send(served, part, entry, response, signal);
}

interface Refusal {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

function refusalOf(manners: FileManners, request: IncomingMessage): Refusal | undefined {
  if (manners.redirectTo !== undefined) {
    return { status: 302, headers: { location: manners.redirectTo } };
  }
  if (manners.token !== undefined) {
    const header = manners.tokenHeader ?? "authorization";
    const wanted = header === "authorization" ? `Bearer ${manners.token}` : manners.token;
    if (request.headers[header.toLowerCase()] !== wanted) {
      return { status: 401, body: "a token is needed" };
    }
  }
  if (manners.html === true) {
    const body = "<!DOCTYPE html><html><body>Please log in.</body></html>";
    return { status: 200, headers: { "content-type": "text/html" }, body };
  }
  if (manners.status !== undefined) return { status: manners.status, body: "not today" };
  return undefined;
}

interface Part {
  readonly status: number;
  readonly from: number;
  readonly to: number;
  readonly headers: Record<string, string>;
}

function partOf(served: Served, request: IncomingMessage): Part {
  const { sizeBytes, manners } = served;
  const etag =
    manners.etag === undefined ? `"${served.sha256.slice(0, 16)}-${sizeBytes}"` : manners.etag;
  const headers: Record<string, string> = { "content-type": "application/octet-stream" };
  if (etag !== null) headers["etag"] = etag;
  if (manners.ranges !== false) headers["accept-ranges"] = "bytes";
  const length = (bytes: number): void => {
    if (manners.contentLength === null) return;
    headers["content-length"] = String(manners.contentLength ?? bytes);
  };
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const condition = request.headers["if-range"];
  const isSame = condition === undefined || condition === etag;
  if (range === null || manners.ranges === false || !isSame) {
    length(sizeBytes);
    return { status: 200, from: 0, to: sizeBytes, headers };
  }
  const from = Number(range[1]);
  const to = range[2] === "" ? sizeBytes : Math.min(sizeBytes, Number(range[2]) + 1);
  if (from >= to) {
    headers["content-range"] = `bytes */${sizeBytes}`;
    return { status: 416, from, to: from, headers };
  }
  headers["content-range"] = `bytes ${from}-${to - 1}/${sizeBytes}`;
  length(to - from);
  return { status: 206, from, to, headers };
}

async function send(
  served: Served,
  part: Part,
  entry: FileRequest,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const { cutAfterBytes, bytesPerSecond } = served.manners;
  const isCut = cutAfterBytes !== undefined && served.cutsLeft > 0;
  if (isCut) served.cutsLeft -= 1;
  const end = isCut ? Math.min(part.to, part.from + cutAfterBytes) : part.to;
  for await (const piece of served.read(part.from, end) as AsyncIterable<Buffer>) {
    if (response.destroyed) return;
    if (!response.write(piece)) await drained(response);
    entry.sent += piece.length;
    if (bytesPerSecond !== undefined) await pause((piece.length / bytesPerSecond) * 1000, signal);
  }
  if (!isCut) {
    response.end();
    return;
  }
  // What was written must go out before the connection is cut, or the client sees less than promised.
  if (response.writableLength > 0) await drained(response);
  await pause(20, signal);
  response.destroy();
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      response.off("drain", end);
      response.off("close", end);
      resolve();
    };
    response.once("drain", end);
    response.once("close", end);
    if (response.destroyed || !response.writableNeedDrain) end();
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end, { once: true });
  });
}
