import { createHash } from "node:crypto";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { SPEC_FILE } from "./folder/read-folder.ts";
import type { ImageStore } from "./keep-files.ts";
import type { RunRequest } from "./request.ts";
import { openS3Copy } from "./s3-copy.ts";

/**
 * The store of `--store`, if there is one. The copy of the experiment's file goes there first: a store
 * that does not take it would take no picture either, and a look at the bucket alone does not tell a key
 * that may only read. Throws {@link CommandFailure} with why it takes nothing.
 */
export async function openStore({
  storeUrl,
  settings,
  folder,
  experiment,
}: RunRequest): Promise<ImageStore | undefined> {
  if (storeUrl === undefined) return undefined;
  const store = await openS3Copy(storeUrl, settings, systemClock);
  const bytes = Buffer.from(experiment.specText, "utf8");
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const path = join(folder, SPEC_FILE);
  const kept = await store.keep({ path, sha256, sizeBytes: bytes.length });
  if (kept.kind === "kept") return store;
  await store.close();
  throw new CommandFailure(EXIT.refused, `--store: ${kept.reason}. Nothing was rendered.`);
}
