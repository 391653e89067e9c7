import { Readable } from "node:stream";
import { HoldfastError } from "@holdfast/contract";
import type { FastifyReply, FastifyRequest } from "fastify";
import { errorBody } from "../platform/http/http-error.ts";
import { unavailable, type BlobKeeper } from "./blob-service.ts";
import {
  cleanMediaType,
  contentDisposition,
  decideRange,
  DOWNLOAD_HEADERS,
  matchesEtag,
} from "./download-headers.ts";
import type { ByteRange, OpenResult } from "./model.ts";

/** What is sent: bytes, and how they are to be called. */
export interface Download {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly name: string;
  readonly mediaType: string;
}

/**
 * Answers with the bytes of a blob, or the part that was asked for. Throws `output_gone` when the
 * store has them no more, `store_unavailable`.
 */
export async function sendBlob(
  request: FastifyRequest,
  reply: FastifyReply,
  blobs: Pick<BlobKeeper, "open" | "has">,
  blob: Download,
): Promise<FastifyReply> {
  const etag = `"${blob.sha256}"`;
  const mediaType = cleanMediaType(blob.mediaType);
  if (matchesEtag(request.headers["if-none-match"], etag)) {
    return reply.code(304).header("etag", etag).send();
  }
  // A range is only good for the bytes that it was asked of.
  const ifRange = request.headers["if-range"];
  const wanted = ifRange === undefined || ifRange === etag ? request.headers.range : undefined;
  const decision = decideRange(wanted, blob.sizeBytes);
  if (decision.kind === "unsatisfiable") {
    const error = new HoldfastError("invalid_request", `the file has ${blob.sizeBytes} bytes`);
    return reply
      .code(416)
      .header("content-range", `bytes */${blob.sizeBytes}`)
      .serializer((body: unknown) => JSON.stringify(body))
      .send(errorBody(error, request.id));
  }
  const range = decision.kind === "part" ? decision.range : undefined;
  const opened = await openUnlessHead(request, blobs, blob.sha256, range);
  if (opened.kind === "unavailable") throw unavailable(opened);
  if (opened.kind === "missing" || opened.sizeBytes !== blob.sizeBytes) {
    throw new HoldfastError("output_gone", "the bytes are no longer in the store");
  }
  const length = range === undefined ? blob.sizeBytes : range.end - range.start + 1;
  void reply
    .headers(DOWNLOAD_HEADERS)
    .header("etag", etag)
    .header("content-type", mediaType)
    .header("content-disposition", contentDisposition(blob.name, mediaType))
    .header("content-length", length);
  if (range !== undefined) {
    const place = `bytes ${range.start}-${range.end}/${blob.sizeBytes}`;
    void reply.code(206).header("content-range", place);
  }
  const { body } = opened;
  return reply.send(body instanceof Uint8Array ? body : Readable.from(body, { objectMode: false }));
}

/** A HEAD gets an empty stream: an empty text would set the length to 0. */
async function openUnlessHead(
  request: FastifyRequest,
  blobs: Pick<BlobKeeper, "open" | "has">,
  sha256: string,
  range: ByteRange | undefined,
): Promise<OpenResult> {
  if (request.method !== "HEAD") return blobs.open(sha256, range);
  const found = await blobs.has(sha256);
  return found.kind === "found" ? { ...found, body: Readable.from([]) } : found;
}
