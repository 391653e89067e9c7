/** RunPod's key, read each time it is used: a renewed one counts at once. */
import { readFile } from "node:fs/promises";
import type { RunpodSettings } from "./settings.ts";

const KEY_MAX = 500;

/** The key, or why it cannot be had; the key itself is in no message. */
export type ApiKeyRead =
  | { readonly kind: "key"; readonly key: string }
  | { readonly kind: "missing"; readonly message: string };

/** Reads the key from where the settings say it is. */
export async function readApiKey(
  settings: Pick<RunpodSettings, "apiKey" | "apiKeyFile">,
): Promise<ApiKeyRead> {
  const { apiKey, apiKeyFile } = settings;
  if (apiKeyFile === undefined) return checked(apiKey ?? "", "`apiKey`");
  let text: string;
  try {
    text = await readFile(apiKeyFile, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return missing(`the file ${apiKeyFile} cannot be read (${code ?? message})`);
  }
  return checked(text, `the file ${apiKeyFile}`);
}

function checked(text: string, place: string): ApiKeyRead {
  const key = text.trim();
  if (key === "") return missing(`${place} is empty`);
  // Else it could not stand in a header, and the error would show it.
  if (key.length > KEY_MAX || !/^[\x21-\x7e]+$/.test(key)) {
    return missing(`${place} holds something else than one key`);
  }
  return { kind: "key", key };
}

function missing(what: string): ApiKeyRead {
  const advice = "write RunPod's API key, and nothing else, there";
  return { kind: "missing", message: `${what}: ${advice}` };
}
