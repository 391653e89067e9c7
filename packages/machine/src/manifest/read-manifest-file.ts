import { open } from "node:fs/promises";
import { MANIFEST_BYTES_MAX, readManifest, type ManifestReading } from "./read-manifest.ts";

/** The text of a manifest, or why it cannot be read. */
export type ManifestText =
  | { readonly kind: "text"; readonly text: string }
  | Extract<ManifestReading, { readonly kind: "refused" }>;

/** Reads a manifest from a file. One that cannot be read is refused in words; nothing is thrown. */
export async function readManifestFile(path: string): Promise<ManifestReading> {
  const read = await readManifestText(path);
  return read.kind === "refused" ? read : readManifest(read.text);
}

/** The text alone, for whoever keeps exactly what was read. Nothing is thrown. */
export async function readManifestText(path: string): Promise<ManifestText> {
  try {
    return { kind: "text", text: await readBounded(path) };
  } catch (error) {
    const problem = { path: "", line: 1, column: 1, message: fileWords(path, error) };
    return { kind: "refused", problems: [problem] };
  }
}

async function readBounded(path: string): Promise<string> {
  const file = await open(path, "r");
  try {
    // One byte over the limit is enough to be refused by it.
    const buffer = Buffer.alloc(MANIFEST_BYTES_MAX + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
      length += bytesRead;
      if (bytesRead === 0 || length === buffer.length) break;
    }
    return new TextDecoder("utf-8", { fatal: length <= MANIFEST_BYTES_MAX }).decode(
      buffer.subarray(0, length),
    );
  } finally {
    await file.close();
  }
}

function fileWords(path: string, error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") {
    return `there is no file ${path}: \`holdfast machine init\` writes one to begin with`;
  }
  if (code === "EISDIR") return `${path} is a folder: name the file itself`;
  if (error instanceof TypeError) return `${path} is not a text in UTF-8`;
  return `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`;
}
