/** The environment that a machine is started with. */
import { open } from "node:fs/promises";

/** What a pool says of the environment of its machines. */
export interface PoolEnvironment {
  readonly env: Readonly<Record<string, string>>;
  /** Names to files: secrets, read when a machine is made, so that a new one is taken at once. */
  readonly envFiles: Readonly<Record<string, string>>;
}

/** Largest secret. */
const FILE_BYTES_MAX = 64 * 1024;

/** All variables, or what is wrong with the files. */
export type MachineEnvironment =
  | { readonly kind: "ok"; readonly env: Readonly<Record<string, string>> }
  | { readonly kind: "invalid"; readonly problems: readonly string[] };

/** The pool's own, and over it what this machine is given. Line ends at the end of a file are none of it. */
export async function machineEnvironment(
  { env, envFiles }: PoolEnvironment,
  ofMachine: Readonly<Record<string, string>>,
): Promise<MachineEnvironment> {
  const read: Record<string, string> = {};
  const problems: string[] = [];
  for (const [name, path] of Object.entries(envFiles)) {
    const secret = await readSecret(path);
    if (secret.kind === "ok") read[name] = secret.text;
    else problems.push(`envFiles.${name}: ${path} ${secret.why}`);
  }
  if (problems.length > 0) return { kind: "invalid", problems };
  return { kind: "ok", env: { ...env, ...read, ...ofMachine } };
}

/** Shorter values are words that a message may use by chance. */
const HIDDEN_LENGTH_MIN = 6;

/** A message without the values of an environment: whoever refuses them may repeat them. */
export function withoutValues(message: string, env: Readonly<Record<string, string>>): string {
  let text = message;
  for (const value of Object.values(env)) {
    if (value.length >= HIDDEN_LENGTH_MIN) text = text.replaceAll(value, "…");
  }
  return text;
}

async function readSecret(
  path: string,
): Promise<
  | { readonly kind: "ok"; readonly text: string }
  | { readonly kind: "unreadable"; readonly why: string }
> {
  try {
    const file = await open(path, "r");
    try {
      const buffer = Buffer.alloc(FILE_BYTES_MAX + 1);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      if (bytesRead > FILE_BYTES_MAX) {
        return { kind: "unreadable", why: `has more than ${FILE_BYTES_MAX} bytes` };
      }
      const text = buffer.toString("utf8", 0, bytesRead).replace(/[\r\n]+$/, "");
      if (text === "") return { kind: "unreadable", why: "is empty" };
      return { kind: "ok", text };
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return { kind: "unreadable", why: "is not there" };
    return { kind: "unreadable", why: `cannot be read: ${(error as Error).message}` };
  }
}
