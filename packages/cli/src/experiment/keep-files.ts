/** Outputs of a run, from the work folder to where they are kept. */
import { constants } from "node:fs";
import { copyFile, link, rm } from "node:fs/promises";
import { extname, join } from "node:path";
import { IMAGES_FOLDER } from "./folder/results-folder.ts";
import type { RenderedFile } from "./renderer.ts";

/** A file that is kept, as `results.ndjson` tells it. */
export interface KeptFile {
  /** Below the experiment's folder, with `/`. */
  readonly stored: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly nodeId: string;
  readonly mediaType: string;
  /** Where another copy is: `s3://bucket/…`. */
  readonly url?: string;
}

/** Another place for outputs, beside the folder. */
export interface ImageStore {
  /** `s3://bucket/prefix`, for people. */
  readonly description: string;
  /** Brings a file there; its URL, or why not. Tries again by itself for a while. */
  keep(file: {
    readonly path: string;
    readonly sha256: string;
    readonly sizeBytes: number;
  }): Promise<
    | { readonly kind: "kept"; readonly url: string }
    | { readonly kind: "unavailable"; readonly reason: string }
    /** No other file would go there before somebody makes the bucket, or sets another key. */
    | { readonly kind: "refused"; readonly reason: string }
  >;
  close(): Promise<void>;
}

/** What became of a run's files. */
export type KeptFiles =
  | { readonly kind: "kept"; readonly files: readonly KeptFile[] }
  | { readonly kind: "unavailable" | "refused"; readonly reason: string };

/**
 * Keeps files as `images/exp_0042-1.png`, `-2`, … (`exp_0042-try2-1.png` of a second start). The bytes
 * are on the disk already; this gives them their names.
 */
export async function keepFiles(
  run: { readonly name: string; readonly attempt: number },
  files: readonly RenderedFile[],
  to: { readonly folder: string; readonly store: ImageStore | undefined },
): Promise<KeptFiles> {
  const kept: KeptFile[] = [];
  for (const [at, file] of files.entries()) {
    const { nodeId, mediaType, sha256, sizeBytes } = file;
    const stored = `${IMAGES_FOLDER}/${keptName(run, at, file.name)}`;
    await place(file.path, join(to.folder, stored));
    const there = await to.store?.keep(file);
    if (there !== undefined && there.kind !== "kept") return there;
    const url = there === undefined ? {} : { url: there.url };
    kept.push({ stored, sha256, sizeBytes, nodeId, mediaType, ...url });
  }
  return { kind: "kept", files: kept };
}

/** A later attempt has names of its own: MLflow may still have to read those of the first. */
function keptName(
  { name, attempt }: { readonly name: string; readonly attempt: number },
  at: number,
  original: string,
): string {
  const again = attempt > 1 ? `-try${attempt}` : "";
  const extension = /^\.[A-Za-z0-9]{1,10}$/.exec(extname(original))?.[0].toLowerCase() ?? "";
  return `${name}${again}-${at + 1}${extension}`;
}

/** A second name for the same bytes; a copy where the file system has no links. */
async function place(from: string, to: string): Promise<void> {
  // Left by a process that was killed before the result was on the disk.
  await rm(to, { force: true });
  try {
    await link(from, to);
  } catch {
    await copyFile(from, to, constants.COPYFILE_EXCL);
  }
}
