import { readFile } from "node:fs/promises";

/** What a channel's file of a secret holds now, or in words why it cannot be used. */
export type FileSecret =
  | { readonly kind: "ok"; readonly text: string }
  | { readonly kind: "failed"; readonly reason: string };

const SECRET_MAX = 8_192;

/** Reads a secret each time it is used, so that a changed one counts at once. */
export async function readSecretFile(path: string): Promise<FileSecret> {
  try {
    const text = (await readFile(path, "utf8")).trim();
    if (text !== "" && text.length <= SECRET_MAX) return { kind: "ok", text };
    return { kind: "failed", reason: `${path} is ${text === "" ? "empty" : "too large"}` };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "an error";
    return { kind: "failed", reason: `${path} cannot be read (${code})` };
  }
}
