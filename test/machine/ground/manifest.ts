/** Manifests for machines whose ComfyUI is the stand-in. */
import type { LocalInternet } from "./local-internet.ts";
import type { Python } from "./python.ts";

/** Parts of a manifest, as `machine.yaml` has them. */
export type ManifestParts = Readonly<Record<string, unknown>>;

/**
 * A machine with the stand-in at `v1`, packages from the local index, no torch, and two CPU instances
 * from `basePort` on. `more` takes the place of whole keys.
 */
export function standInManifest(
  internet: LocalInternet,
  python: Python,
  basePort: number,
  more: ManifestParts = {},
): ManifestParts {
  return {
    comfyui: { repo: internet.comfyui.url, ref: "v1" },
    python: { version: python.path, indexUrl: internet.packages.url },
    torch: { backend: "none" },
    instances: { gpus: "none", cpu: 2, basePort, startTimeoutSec: 60, stopTimeoutSec: 5 },
    downloads: { keepFreeBytes: 0 },
    ...more,
  };
}
