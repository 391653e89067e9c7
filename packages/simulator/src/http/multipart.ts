/** One field of a form. */
export interface FormPart {
  readonly name: string;
  readonly fileName: string | null;
  readonly bytes: Buffer;
}

/** Reads a `multipart/form-data` body; an unreadable one has no parts. */
export function parseMultipart(contentType: string | undefined, body: Buffer): readonly FormPart[] {
  const boundary = /boundary=(?:"([^"]+)"|([^;]+))/i.exec(contentType ?? "");
  const mark = boundary?.[1] ?? boundary?.[2];
  if (mark === undefined) return [];
  const delimiter = Buffer.from(`--${mark.trim()}`);
  const parts: FormPart[] = [];
  let start = body.indexOf(delimiter);
  while (start >= 0) {
    const from = start + delimiter.length + 2;
    const next = body.indexOf(delimiter, from);
    if (next < 0) break;
    const part = parsePart(body.subarray(from, next - 2));
    if (part !== null) parts.push(part);
    start = next;
  }
  return parts;
}

function parsePart(bytes: Buffer): FormPart | null {
  const split = bytes.indexOf("\r\n\r\n");
  if (split < 0) return null;
  const head = bytes.toString("utf8", 0, split);
  const name = /[;\s]name="([^"]*)"/i.exec(head)?.[1];
  if (name === undefined) return null;
  const fileName = /filename="([^"]*)"/i.exec(head)?.[1] ?? null;
  return { name, fileName, bytes: bytes.subarray(split + 4) };
}
