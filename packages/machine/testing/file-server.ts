/** A file server on loopback that behaves as badly as a test asks it to. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createHash } from "node:crypto";

/** A request as it came. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** Bytes of the body that were sent. */
  sentBytes: number;
}

/** Answers one request; what it returns is not waited for. */
export type Answerer = (
  request: IncomingMessage,
  response: ServerResponse,
  seen: SeenRequest,
) => void | Promise<void>;

/** A running server. */
export interface FileServer {
  readonly port: number;
  readonly host: string;
  readonly seen: SeenRequest[];
  url(path: string): string;
  /** Answers a path; without an answerer it is unknown again. */
  on(path: string, answer: Answerer | undefined): void;
  close(): Promise<void>;
}

/** Starts it on a port of its own. */
export async function startFileServer(): Promise<FileServer> {
  const answers = new Map<string, Answerer>();
  const seen: SeenRequest[] = [];
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://x").pathname;
    const one = { method: request.method ?? "", path, headers: request.headers, sentBytes: 0 };
    seen.push(one);
    response.on("error", () => undefined);
    const answer = answers.get(path);
    if (answer === undefined) response.writeHead(404).end("no such file");
    else void answer(request, response, one);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    port,
    host: `127.0.0.1:${port}`,
    seen,
    url: (path) => `http://127.0.0.1:${port}${path}`,
    on: (path, answer) => {
      if (answer === undefined) answers.delete(path);
      else answers.set(path, answer);
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** How a well-behaved file is served. */
export interface ServedFile {
  readonly etag?: string;
  readonly lastModified?: string;
  /** Ends the connection after so many bytes of this answer. */
  readonly cutAfter?: () => number | undefined;
  /** Sends so many bytes at a time, each after the other was taken and `pause` is over. */
  readonly pieceBytes?: number;
  readonly pause?: () => Promise<void>;
}

/** Serves a file as HTTP says: `Range`, `If-Range`, `HEAD`, `416`. */
export function serveFile(content: Buffer, served: ServedFile = {}): Answerer {
  return async (request, response, seen) => {
    const headers = {
      "accept-ranges": "bytes",
      "content-type": "application/octet-stream",
      ...(served.etag === undefined ? {} : { etag: served.etag }),
      ...(served.lastModified === undefined ? {} : { "last-modified": served.lastModified }),
    };
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const condition = request.headers["if-range"];
    const isCurrent =
      condition === undefined || condition === served.etag || condition === served.lastModified;
    const from = range !== null && isCurrent ? Number(range[1]) : 0;
    const end = range?.[2] ? Math.min(Number(range[2]) + 1, content.length) : content.length;
    if (range !== null && isCurrent && from >= content.length) {
      response.writeHead(416, { ...headers, "content-range": `bytes */${content.length}` }).end();
      return;
    }
    const body = range !== null && isCurrent ? content.subarray(from, end) : content;
    response.writeHead(range !== null && isCurrent ? 206 : 200, {
      ...headers,
      "content-length": body.length,
      ...(range !== null && isCurrent
        ? { "content-range": `bytes ${from}-${end - 1}/${content.length}` }
        : {}),
    });
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    await sendBody(response, body, served, seen);
  };
}

async function sendBody(
  response: ServerResponse,
  body: Buffer,
  { cutAfter, pieceBytes = 64 * 1024, pause }: ServedFile,
  seen: SeenRequest,
): Promise<void> {
  const cut = cutAfter?.() ?? body.length;
  let isGone = false;
  response.once("close", () => {
    isGone = true;
  });
  for (let at = 0; at < cut; at += pieceBytes) {
    await pause?.();
    if (isGone || response.destroyed) return;
    const piece = body.subarray(at, Math.min(at + pieceBytes, cut));
    seen.sentBytes += piece.length;
    await new Promise<void>((resolve) => {
      response.once("close", resolve);
      response.write(piece, () => {
        response.off("close", resolve);
        resolve();
      });
    });
  }
  if (cut < body.length) response.destroy();
  else response.end();
}

/** Bytes that are the same for the same seed, and a hash of them. */
export function content(
  sizeBytes: number,
  seed = 1,
): { readonly bytes: Buffer; readonly sha256: string } {
  const bytes = Buffer.alloc(sizeBytes);
  let state = seed;
  for (let at = 0; at + 4 <= sizeBytes; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeUInt32LE(state, at);
  }
  return { bytes, sha256: sha256Of(bytes) };
}

/** The SHA-256 of bytes. */
export function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
