import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { copyFile, link, open, rm, stat } from "node:fs/promises";
import { constants } from "node:fs";
import { join, resolve } from "node:path";
import type { OutputView } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import { makeFolder } from "@holdfast/runtime/host";
import type { ApiClient } from "../api/api-client.ts";
import { numberedName, planOutputNames } from "./output-names.ts";

/** What became of one output. */
export type Written =
  | { readonly kind: "written"; readonly output: OutputView; readonly path: string }
  | {
      readonly kind: "failed";
      readonly output: OutputView;
      readonly reason: string;
      /** The server's error code, when the server refused. */
      readonly code?: string | undefined;
    };

const AT_ONCE = 4;
const TRIES = 4;
const RETRY_MS = 500;
/** Files of one name in a folder before it is given up. */
const MAX_SAME_NAME = 10_000;

/**
 * Fetches outputs into a folder: each is checked against its SHA-256 before it gets its name, nothing
 * there is ever overwritten, and a file that is there already with the same bytes is left as it is.
 */
export async function downloadOutputs(
  api: ApiClient,
  outputs: readonly OutputView[],
  options: { readonly folder: string; readonly clock: Clock },
): Promise<readonly Written[]> {
  const folder = resolve(options.folder);
  await makeFolder(folder);
  const names = planOutputNames(outputs);
  const results: Written[] = [];
  let nextIndex = 0;
  const work = async (): Promise<void> => {
    for (let i = nextIndex++; i < outputs.length; i = nextIndex++) {
      const output = outputs[i];
      const name = names[i];
      if (output === undefined || name === undefined) return;
      results[i] = await downloadOne(api, output, { folder, name, clock: options.clock });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return results;
}

async function downloadOne(
  api: ApiClient,
  output: OutputView,
  place: { readonly folder: string; readonly name: string; readonly clock: Clock },
): Promise<Written> {
  const { folder, name, clock } = place;
  const partial = join(folder, `.${output.id}.${process.pid}.part`);
  let trouble: { readonly reason: string; readonly code?: string | undefined } = { reason: "" };
  try {
    for (let attempt = 1; attempt <= TRIES; attempt += 1) {
      if (attempt > 1) await clock.sleep(RETRY_MS * 2 ** (attempt - 2));
      const fetched = await fetchTo(api, output, partial);
      if (fetched.kind === "ok") {
        const path = await giveName(partial, folder, name, output.sha256);
        return { kind: "written", output, path };
      }
      const { kind, ...told } = fetched;
      trouble = told;
      if (kind === "hopeless") break;
    }
  } catch (error) {
    trouble = { reason: error instanceof Error ? error.message : String(error) };
  } finally {
    await rm(partial, { force: true });
  }
  return { kind: "failed", output, ...trouble };
}

type Fetched =
  | { readonly kind: "ok" }
  | {
      readonly kind: "again" | "hopeless";
      readonly reason: string;
      readonly code?: string | undefined;
    };

async function fetchTo(api: ApiClient, output: OutputView, path: string): Promise<Fetched> {
  const answer = await api.request(`/api/v1/outputs/${output.id}/content`, {
    headers: { accept: "*/*" },
  });
  if (answer.kind === "unreachable") return { kind: "again", reason: answer.reason };
  if (answer.kind === "refused") {
    const isFinal = answer.status < 500 && answer.status !== 429;
    const { message: reason, code } = answer;
    return { kind: isFinal ? "hopeless" : "again", reason, code };
  }
  const hash = createHash("sha256");
  const file = await open(path, "w");
  let sizeBytes = 0;
  try {
    const body = (answer.response.body ?? []) as AsyncIterable<Uint8Array>;
    const pieces = body[Symbol.asyncIterator]();
    for (;;) {
      // A cut connection is tried again; a disk that takes no more is not.
      const piece = await pieces.next().catch((error: unknown) => ({ error }));
      if ("error" in piece) return { kind: "again", reason: "the connection was cut" };
      if (piece.done === true) break;
      hash.update(piece.value);
      sizeBytes += piece.value.length;
      await file.writeFile(piece.value);
    }
  } finally {
    await file.close();
  }
  if (hash.digest("hex") === output.sha256) return { kind: "ok" };
  return {
    kind: "again",
    reason: `the bytes that came (${sizeBytes}) do not have the SHA-256 that was announced`,
  };
}

/** Moves a file to the first name that is free; one with the same bytes counts as this one. */
async function giveName(
  partial: string,
  folder: string,
  name: string,
  sha256: string,
): Promise<string> {
  for (let n = 1; n <= MAX_SAME_NAME; n += 1) {
    const path = join(folder, numberedName(name, n));
    if (await placeNew(partial, path)) return path;
    if (await hasBytes(path, sha256)) return path;
  }
  throw new Error(`${folder} has too many files called ${name}`);
}

/** Gives a file its name without ever replacing another; false when the name is taken. */
async function placeNew(partial: string, path: string): Promise<boolean> {
  try {
    await link(partial, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
  }
  try {
    // A file system without links (FAT, some network folders).
    await copyFile(partial, path, constants.COPYFILE_EXCL);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function hasBytes(path: string, sha256: string): Promise<boolean> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile() !== true) return false;
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest("hex") === sha256;
}
