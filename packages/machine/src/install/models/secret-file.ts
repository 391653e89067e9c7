/** Tokens from files, read each time they are used: a renewed one counts at once. */
import { readFile } from "node:fs/promises";
import { downloadFailure, type DownloadFailure } from "./download-failure.ts";

const SECRET_MAX = 16 * 1024;

/** A secret, or why it cannot be had. The secret itself is in no message. */
export type SecretRead =
  | { readonly kind: "secret"; readonly text: string }
  | { readonly kind: "failed"; readonly failure: DownloadFailure };

/** Reads a file that holds one line of printable text. */
export async function readSecret(path: string): Promise<SecretRead> {
  let text: string;
  try {
    text = (await readFile(path, "utf8")).trim();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return failed(`the token file ${path} cannot be read (${code ?? message})`);
  }
  if (text === "") return failed(`the token file ${path} is empty`);
  if (text.length > SECRET_MAX || !/^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/.test(text)) {
    return failed(`the token file ${path} holds something else than one token`);
  }
  return { kind: "secret", text };
}

function failed(message: string): SecretRead {
  const advice = "Write the token, and nothing else, into the file that downloads.auth names.";
  return { kind: "failed", failure: downloadFailure("token_file", message, advice) };
}
