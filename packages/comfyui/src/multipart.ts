import { randomBytes } from "node:crypto";

/** A body of `multipart/form-data` that is never in memory as a whole. */
export interface Multipart {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array>;
}

/** A file for a form: its bytes, or a stream of them (whose size may be known). */
export type FileContent =
  | { readonly bytes: Uint8Array }
  | { readonly stream: AsyncIterable<Uint8Array>; readonly sizeBytes?: number };

/**
 * Builds a form of plain fields and one file, which comes last. With a known size it has a
 * `content-length`; a stream that turns out longer or shorter breaks the request off.
 */
export function multipartForm(
  fields: Readonly<Record<string, string>>,
  file: { readonly field: string; readonly filename: string; readonly content: FileContent },
): Multipart {
  const boundary = `----holdfast-${randomBytes(18).toString("hex")}`;
  const head = [
    ...Object.entries(fields).map(
      ([name, value]) =>
        `--${boundary}\r\nContent-Disposition: form-data; name="${escape(name)}"\r\n\r\n${value}\r\n`,
    ),
    `--${boundary}\r\nContent-Disposition: form-data; name="${escape(file.field)}"; ` +
      `filename="${escape(file.filename)}"\r\nContent-Type: application/octet-stream\r\n\r\n`,
  ].join("");
  const headBytes = Buffer.from(head, "utf8");
  const tailBytes = Buffer.from(`\r\n--${boundary}--\r\n`, "utf8");
  const { content } = file;
  const sizeBytes = "bytes" in content ? content.bytes.length : content.sizeBytes;
  const length =
    sizeBytes === undefined ? undefined : headBytes.length + sizeBytes + tailBytes.length;
  return {
    headers: {
      "content-type": `multipart/form-data; boundary=${boundary}`,
      ...(length !== undefined && { "content-length": String(length) }),
    },
    body: (async function* parts() {
      yield headBytes;
      if ("bytes" in content) yield content.bytes;
      else yield* content.stream;
      yield tailBytes;
    })(),
  };
}

/** Quotes as browsers do (WHATWG "multipart/form-data encoding algorithm"). */
function escape(text: string): string {
  return text.replaceAll("\r", "%0D").replaceAll("\n", "%0A").replaceAll('"', "%22");
}
