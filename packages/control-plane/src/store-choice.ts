import type { Clock, IdSource } from "@holdfast/runtime";
import { join } from "node:path";
import { openFolderStore } from "./files/folder-store.ts";
import type { BlobStore } from "./files/model.ts";
import { openS3Store } from "./files/s3-store.ts";
import { readSecret } from "./platform/config.ts";
import type { ControlPlaneSettings } from "./platform/settings.ts";

/** Opens the store that `HOLDFAST_STORE` names: a folder (by default in the home), or S3. */
export async function openStore(
  settings: ControlPlaneSettings,
  deps: { readonly clock: Clock; readonly ids: IdSource },
): Promise<BlobStore> {
  const where = settings.store ?? join(settings.home, "store");
  if (!where.startsWith("s3://")) return await openFolderStore({ path: where, ...deps });
  const { s3Endpoint, s3AccessKeyId, s3SecretAccessKey } = settings;
  return await openS3Store({
    url: where,
    region: settings.s3Region,
    clock: deps.clock,
    forcePathStyle: settings.s3ForcePathStyle,
    ...(s3Endpoint !== undefined && { endpoint: s3Endpoint }),
    ...(s3AccessKeyId !== undefined && { accessKeyId: readSecret(s3AccessKeyId) }),
    ...(s3SecretAccessKey !== undefined && { secretAccessKey: readSecret(s3SecretAccessKey) }),
  });
}
