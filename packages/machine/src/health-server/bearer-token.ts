import { createHash, timingSafeEqual } from "node:crypto";
import { open } from "node:fs/promises";
import type { AgentLog } from "@holdfast/agent";
import type { Clock } from "@holdfast/runtime";
import type { TokenVerdict } from "./access-rules.ts";

/** What a token file came to. */
export type TokenFileContent =
  | { readonly kind: "token"; readonly token: string; readonly isReadableByOthers: boolean }
  | { readonly kind: "unusable"; readonly reason: string };

/** Shorter ones could be guessed over the network. */
const TOKEN_MIN_CHARS = 16;
const TOKEN_MAX_CHARS = 4_096;
/** What was read is good for so long: a flood of wrong tokens must not become a flood of reads. */
const FRESH_MS = 1_000;
const OTHERS_MAY_READ = 0o044;
const BEARER = /^bearer +(\S+) *$/i;

/** Reads a token file: one token, blanks around it not counted. Never throws. */
export async function readTokenFile(file: string): Promise<TokenFileContent> {
  try {
    const handle = await open(file, "r");
    try {
      const { mode } = await handle.stat();
      // One byte more than fits, to tell one that is too long. A device or pipe ends there too.
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(TOKEN_MAX_CHARS + 1));
      return judge(file, buffer.toString("utf8", 0, bytesRead), mode);
    } finally {
      await handle.close();
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { kind: "unusable", reason: `the token file cannot be read: ${why}` };
  }
}

function judge(file: string, text: string, mode: number): TokenFileContent {
  const token = text.trim();
  const unusable = (what: string): TokenFileContent => ({
    kind: "unusable",
    reason: `${file} ${what}: expected one token of ${TOKEN_MIN_CHARS} to ${TOKEN_MAX_CHARS} characters (openssl rand -hex 24)`,
  });
  if (token === "") return unusable("is empty");
  if (text.length > TOKEN_MAX_CHARS) return unusable("is too long");
  if (/\s/.test(token)) return unusable("holds more than one word");
  if (token.length < TOKEN_MIN_CHARS) return unusable(`holds only ${token.length} characters`);
  const isReadableByOthers = process.platform !== "win32" && (mode & OTHERS_MAY_READ) !== 0;
  return { kind: "token", token, isReadableByOthers };
}

/** Judges `Authorization` headers by a token file. */
export interface TokenJudge {
  judge(authorization: string | undefined): Promise<TokenVerdict>;
}

/**
 * Makes a judge. The file is read when it is needed (at most once a second), so that a token is changed
 * by writing the file. While it cannot be read, or holds none, every token is wrong.
 */
export function createTokenJudge(
  file: string | undefined,
  { clock, log }: { readonly clock: Clock; readonly log: AgentLog },
): TokenJudge {
  let last: { readonly at: number; readonly content: Promise<TokenFileContent> } | undefined;
  let told: string | undefined;
  const read = async (tokenFile: string): Promise<TokenFileContent> => {
    const now = clock.elapsed();
    if (last === undefined || now - last.at >= FRESH_MS) {
      last = { at: now, content: readTokenFile(tokenFile) };
    }
    const content = await last.content;
    const reason = content.kind === "unusable" ? content.reason : undefined;
    if (reason !== undefined && reason !== told) {
      log.error({ file: tokenFile, reason }, "health token cannot be read, nobody is let in by it");
    }
    told = reason;
    return content;
  };
  return {
    async judge(authorization) {
      if (file === undefined || authorization === undefined) return "none";
      const given = BEARER.exec(authorization)?.[1];
      if (given === undefined) return "wrong";
      const content = await read(file);
      if (content.kind === "unusable") return "wrong";
      return isSameSecret(given, content.token) ? "valid" : "wrong";
    },
  };
}

/** In a time that tells nothing of where two texts differ, nor of their lengths. */
function isSameSecret(one: string, other: string): boolean {
  return timingSafeEqual(digest(one), digest(other));
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
