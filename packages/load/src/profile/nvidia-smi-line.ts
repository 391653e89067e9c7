/**
 * Lines of `nvidia-smi --query-gpu=timestamp,utilization.gpu,memory.used --format=csv,noheader,nounits`: one
 * a card, in the order of their indices, which the line does not name.
 */
import type { GpuSample } from "../sample/gpu-sample.ts";

/** What profiling asks nvidia-smi for. */
export const NVIDIA_SMI_ARGS: readonly string[] = [
  "--query-gpu=timestamp,utilization.gpu,memory.used",
  "--format=csv,noheader,nounits",
];

/** An answer read: its lines as they came, and what each says. */
export interface SmiLook {
  readonly lines: readonly string[];
  readonly cards: readonly Pick<GpuSample, "gpu" | "utilisationPercent" | "memoryUsedMb">[];
}

const LINE = /^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d(?:\.\d+)?, *([^,]+), *([^,]+)$/;
const CARDS_MAX = 64;

/** Reads one answer. Lines of another shape (a warning, a failure) are left out. */
export function readSmiLook(text: string): SmiLook {
  const lines = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => LINE.test(line))
    .slice(0, CARDS_MAX);
  return {
    lines,
    cards: lines.map((line, gpu) => {
      const [, use = "", memory = ""] = LINE.exec(line) ?? [];
      return { gpu, utilisationPercent: amountOf(use), memoryUsedMb: amountOf(memory) };
    }),
  };
}

/** `[N/A]`, `[Not Supported]` and the like are unknown. */
function amountOf(text: string): number | null {
  const trimmed = text.trim();
  return /^\d+(?:\.\d+)?$/.test(trimmed) ? Number(trimmed) : null;
}
