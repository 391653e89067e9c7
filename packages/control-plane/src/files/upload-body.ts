import type { IncomingMessage } from "node:http";
import { HoldfastError, parseJsonKeepingIntegers } from "@holdfast/contract";
import type { FastifyRequest } from "fastify";

/**
 * The bytes of a request, read once. A sender that goes away ends it with `invalid_request` (which
 * nobody will read). Leaving the loop early leaves the connection open, so that an answer gets out.
 */
export async function* uploadBody(
  request: FastifyRequest,
): AsyncGenerator<Uint8Array, void, undefined> {
  const body = request.body as IncomingMessage | null | undefined;
  if (body === null || body === undefined) return; // No body at all: an empty file.
  try {
    yield* body.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw new HoldfastError("invalid_request", "the upload was cut off", { cause: error });
  }
}

/** A small JSON body on a route whose bodies are streams. Throws `invalid_json`, `body_too_large`. */
export async function readJsonBody(request: FastifyRequest, limitBytes: number): Promise<unknown> {
  const parts: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const part of uploadBody(request)) {
    sizeBytes += part.byteLength;
    if (sizeBytes > limitBytes) {
      throw new HoldfastError("body_too_large", `JSON may have at most ${limitBytes} bytes here`);
    }
    parts.push(part);
  }
  try {
    return parseJsonKeepingIntegers(Buffer.concat(parts).toString("utf8"));
  } catch (error) {
    throw new HoldfastError("invalid_json", "the body is not JSON", { cause: error });
  }
}
