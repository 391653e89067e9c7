/** What a release takes on the disk, before anything of it is there. */

const MB = 1024 ** 2;
const GB = 1024 ** 3;

/**
 * Of a Python environment, by torch backend: measured for CUDA (7.0 GB compiled, with torch 2.8; 5.9 GB
 * before that with torch 2.15: torch 1.2, NVIDIA's libraries 3.0, triton 1.0); the others from the sizes
 * of their wheels.
 */
const ENVIRONMENT_BYTES = {
  cuda: 7 * GB,
  rocm: 14 * GB,
  cpu: 1.8 * GB,
  none: 0.2 * GB,
} as const;
const COMFYUI_BYTES = 100 * MB;
const PACK_BYTES = 20 * MB;

/** Estimated size of a release. */
export function releaseBytes(torchBackend: string, packs: number): number {
  return Math.round(environmentBytes(torchBackend) + COMFYUI_BYTES + packs * PACK_BYTES);
}

function environmentBytes(backend: string): number {
  if (backend === "cpu") return ENVIRONMENT_BYTES.cpu;
  // Left to the requirements, so nobody knows: what is sure to be needed.
  if (backend === "none") return ENVIRONMENT_BYTES.none;
  return backend.startsWith("rocm") ? ENVIRONMENT_BYTES.rocm : ENVIRONMENT_BYTES.cuda;
}

/** What the estimate leaves out; null when it leaves nothing out. */
export function estimateNote(torchBackend: string, isIndexUsed: boolean): string | null {
  if (torchBackend !== "none" || !isIndexUsed) return null;
  return `without PyTorch, because torch.backend is none: with the one that PyPI has for Linux a release takes about ${bytesText(ENVIRONMENT_BYTES.cuda)}`;
}

/** A number of bytes for people. */
export function bytesText(bytes: number): string {
  if (bytes >= GB) return `${(bytes / GB).toFixed(1)} GB`;
  return `${Math.ceil(bytes / MB)} MB`;
}
