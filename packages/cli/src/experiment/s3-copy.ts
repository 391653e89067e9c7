import { createReadStream } from "node:fs";
import {
  isS3Refusal,
  openS3Store,
  parseS3Url,
  readSecret,
  type BlobStore,
  type ControlPlaneSettings,
} from "@holdfast/control-plane/process";
import type { Clock } from "@holdfast/runtime";
import type { ImageStore } from "./keep-files.ts";

const TRIES = 4;
const FIRST_PAUSE_MS = 1_000;
/** A refusal is asked once more: it may have been something on the way. */
const REFUSED_TRIES = 2;

/** A bucket as the place of a second copy of every output, by content as Holdfast's own store has it. */
export async function openS3Copy(
  url: string,
  settings: ControlPlaneSettings,
  clock: Clock,
): Promise<ImageStore> {
  const { s3Endpoint, s3AccessKeyId, s3SecretAccessKey } = settings;
  const store = await openS3Store({
    url,
    region: settings.s3Region,
    clock,
    forcePathStyle: settings.s3ForcePathStyle,
    ...(s3Endpoint !== undefined && { endpoint: s3Endpoint }),
    ...(s3AccessKeyId !== undefined && { accessKeyId: readSecret(s3AccessKeyId) }),
    ...(s3SecretAccessKey !== undefined && { secretAccessKey: readSecret(s3SecretAccessKey) }),
  });
  return imageStoreOf(store, url, clock);
}

/** Any store of blobs as one of images. */
export function imageStoreOf(
  store: Pick<BlobStore, "put" | "close">,
  url: string,
  clock: Clock,
): ImageStore {
  const { bucket, prefix } = parseS3Url(url);
  return {
    description: `s3://${bucket}/${prefix}`,
    async keep({ path, sha256, sizeBytes }) {
      let reason = "";
      for (let tried = 1; tried <= TRIES; tried += 1) {
        if (tried > 1) await clock.sleep(FIRST_PAUSE_MS * 2 ** (tried - 2));
        const put = await store.put({ sha256, sizeBytes, body: createReadStream(path) });
        if (put.kind === "stored") {
          const key = `${prefix}${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`;
          return { kind: "kept", url: `s3://${bucket}/${key}` };
        }
        reason = put.kind === "mismatch" ? "other bytes arrived there" : put.reason;
        const isRefused = put.kind === "unavailable" && isS3Refusal(put.cause);
        if (isRefused && tried >= REFUSED_TRIES) return { kind: "refused", reason };
      }
      return { kind: "unavailable", reason };
    },
    close: () => store.close(),
  };
}
