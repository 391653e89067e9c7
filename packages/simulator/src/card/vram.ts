/** What the simulated card holds. Sizes in bytes; the numbers are a model, not a measurement. */
export interface VramPreset {
  readonly totalBytes: number;
  readonly deviceName: string;
  /** How many times as long its work takes as `DURATIONS` and the families say. Default 1. */
  readonly slowness?: number;
}

const GIB = 1024 ** 3;

/**
 * Cards by their nominal gigabytes, and one by its name; `totalBytes` is what the driver shows of them.
 *
 * `rtx5060ti`: from public figures, written down on 2026-11-28 before anything was measured on it. An RTX 4060
 * Ti 16 GB samples four SDXL pictures of 832 × 1216 in ComfyUI at 1.86 s a step (github.com/chengzeyi/stable-fast,
 * issue 63), which is 460 ms a step and megapixel; the RTX 5060 Ti has 24 instead of 22 TFLOPS (club386.com's
 * comparison of both), so 422 ms, against 220 here. Its larger bandwidth (448 against 288 GB/s) is left out.
 */
export const VRAM_PRESETS = {
  "8gb": { totalBytes: Math.round(7.79 * GIB), deviceName: "simulated RTX 8GB" },
  "12gb": { totalBytes: Math.round(11.76 * GIB), deviceName: "simulated RTX 12GB" },
  "16gb": { totalBytes: Math.round(15.77 * GIB), deviceName: "simulated RTX 16GB" },
  "24gb": { totalBytes: Math.round(23.64 * GIB), deviceName: "simulated RTX 24GB" },
  rtx5060ti: {
    totalBytes: Math.round(15.48 * GIB),
    deviceName: "simulated RTX 5060 Ti 16GB",
    slowness: 1.92,
  },
  "80gb": { totalBytes: Math.round(79.1 * GIB), deviceName: "simulated A100 80GB" },
} as const satisfies Record<string, VramPreset>;

/** What the CUDA context itself takes. */
const CONTEXT_BYTES = Math.round(0.45 * GIB);
/** What ComfyUI leaves free for others (comfy/model_management.py, EXTRA_RESERVED_VRAM on Linux). */
const RESERVED_BYTES = Math.round(0.4 * GIB);
/** The part of a model that must be on the card while it works, however much is offloaded. */
const MIN_RESIDENT_BYTES = Math.round(0.125 * GIB);

/** What keeps leaked memory: the process itself, or its node cache, which `/free` drops. */
export type LeakHolder = "process" | "cache";

/** A model on the card. */
interface ResidentModel {
  readonly key: string;
  readonly bytes: number;
}

/** What a node wants to do on the card. */
export interface VramDemand {
  readonly models: readonly ResidentModel[];
  /** Memory for the work itself, beyond the weights. */
  readonly workBytes: number;
}

/** What became of a demand. */
export type VramOutcome =
  | {
      readonly kind: "granted";
      /** Weights that had to be brought to the card. */
      readonly loadedBytes: number;
      /** Weights that did not fit and stay in host memory: the work is slower for it. */
      readonly offloadedBytes: number;
    }
  | { readonly kind: "out_of_memory"; readonly message: string };

/** The card's memory: loaded models, what leaked, what another process took. */
export interface Vram {
  /** Loads models and takes work memory; the least recently used models make room first. */
  demand(demand: VramDemand): VramOutcome;
  /** True when work of this size would fit with nothing else loaded. */
  wouldFit(workBytes: number): boolean;
  unloadAll(): void;
  /** Takes memory that nothing unloads: until the process ends, or until the node cache is dropped. */
  leak(bytes: number, heldBy?: LeakHolder): void;
  /** The node cache was dropped: what it held comes back. */
  dropCached(): void;
  holdByOthers(bytes: number): void;
  stats(): VramStats;
}

/** The card's numbers as `/system_stats` shows them. */
interface VramStats {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly torchTotalBytes: number;
  readonly torchFreeBytes: number;
  readonly loaded: readonly string[];
  readonly leakedBytes: number;
  readonly otherBytes: number;
  /** Demands that were answered with "out of memory". */
  readonly refused: number;
}

/** Makes the memory of one simulated card. */
export function createVram(totalBytes: number): Vram {
  // Insertion order is the order of use: the first key is the least recently used.
  const loaded = new Map<string, number>();
  const leaked: Record<LeakHolder, number> = { process: 0, cache: 0 };
  let otherBytes = 0;
  let peakWorkBytes = 0;
  let refused = 0;

  const weights = (): number => [...loaded.values()].reduce((sum, bytes) => sum + bytes, 0);
  const leakedBytes = (): number => leaked.process + leaked.cache;
  const ceiling = (): number => totalBytes - CONTEXT_BYTES - otherBytes - leakedBytes();
  const freeNow = (): number => Math.max(0, ceiling() - weights());

  const demand = ({ models, workBytes }: VramDemand): VramOutcome => {
    const wanted = new Set(models.map((model) => model.key));
    const wantedBytes = models.reduce((sum, model) => sum + model.bytes, 0);
    const room = ceiling();
    if (workBytes + Math.min(wantedBytes, MIN_RESIDENT_BYTES) > room) {
      const message = outOfMemoryMessage({
        triedBytes: workBytes,
        totalBytes,
        freeBytes: freeNow(),
        otherBytes,
        allocatedBytes: weights() + leakedBytes(),
      });
      refused += 1;
      return { kind: "out_of_memory", message };
    }
    for (const key of loaded.keys()) {
      if (wanted.has(key)) continue;
      const missing = models.reduce((sum, m) => sum + (loaded.has(m.key) ? 0 : m.bytes), 0);
      if (freeNow() - RESERVED_BYTES >= missing + workBytes) break;
      loaded.delete(key);
    }
    let loadedBytes = 0;
    let offloadedBytes = 0;
    let budget =
      room -
      workBytes -
      [...loaded].reduce((sum, [key, bytes]) => sum + (wanted.has(key) ? 0 : bytes), 0);
    for (const model of models) {
      const was = loaded.get(model.key) ?? 0;
      const fits = Math.max(Math.min(model.bytes, budget), 0);
      loaded.delete(model.key);
      loaded.set(model.key, fits);
      budget -= fits;
      loadedBytes += Math.max(0, fits - was);
      offloadedBytes += model.bytes - fits;
    }
    peakWorkBytes = Math.max(peakWorkBytes, workBytes);
    return { kind: "granted", loadedBytes, offloadedBytes };
  };

  return {
    demand,
    wouldFit: (workBytes) => workBytes <= ceiling(),
    unloadAll: () => loaded.clear(),
    leak: (bytes, heldBy = "process") => {
      leaked[heldBy] = Math.min(totalBytes, leaked[heldBy] + bytes);
    },
    dropCached: () => {
      leaked.cache = 0;
    },
    holdByOthers: (bytes) => {
      otherBytes = Math.min(totalBytes, bytes);
    },
    stats: () => ({
      totalBytes,
      freeBytes: freeNow(),
      torchTotalBytes: weights() + leakedBytes(),
      torchFreeBytes: 0,
      loaded: [...loaded.keys()],
      leakedBytes: leakedBytes(),
      otherBytes,
      refused,
    }),
  };
}

interface OutOfMemoryFacts {
  readonly triedBytes: number;
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly otherBytes: number;
  readonly allocatedBytes: number;
}

/** Torch's words for it (2.4 and later), with the numbers of this card. */
export function outOfMemoryMessage(facts: OutOfMemoryFacts): string {
  const other =
    facts.otherBytes > 0 ? ` Process 4242 has ${gib(facts.otherBytes)} memory in use.` : "";
  return (
    `CUDA out of memory. Tried to allocate ${gib(facts.triedBytes)}. GPU 0 has a total capacity of ` +
    `${gib(facts.totalBytes)} of which ${gib(facts.freeBytes)} is free.${other} Including non-PyTorch memory, ` +
    `this process has ${gib(facts.allocatedBytes + CONTEXT_BYTES)} memory in use. Of the allocated memory ` +
    `${gib(facts.allocatedBytes)} is allocated by PyTorch, and ${gib(Math.round(facts.allocatedBytes * 0.04))} is reserved by ` +
    "PyTorch but unallocated. If reserved but unallocated memory is large try setting " +
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for Memory " +
    "Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
  );
}

function gib(bytes: number): string {
  return bytes >= GIB ? `${(bytes / GIB).toFixed(2)} GiB` : `${(bytes / 1024 ** 2).toFixed(2)} MiB`;
}
