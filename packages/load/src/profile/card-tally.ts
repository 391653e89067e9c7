/** What a workflow took of the cards: how much more memory than was in use before it, and how busy they were. */
import type { GpuSample } from "../sample/gpu-sample.ts";
import type { ProfiledCards } from "./model.ts";

/** Looks at the cards while one workflow runs, of one source. */
export interface CardTally {
  /** Before its first run. */
  before(sample: GpuSample): void;
  add(sample: GpuSample): void;
  /** Empty where nothing told. */
  cards(): readonly ProfiledCards[];
}

interface Seen {
  beforeMb: number | null;
  peakMb: number | null;
  useSum: number;
  uses: number;
  useMax: number | null;
}

const MIB = 1024 * 1024;

/** Nothing seen yet. */
export function createCardTally(): CardTally {
  const cards = new Map<string, Seen & Pick<GpuSample, "gpu" | "source">>();
  const of = ({ gpu, source }: GpuSample): Seen => {
    const key = `${source} ${gpu}`;
    const known = cards.get(key);
    if (known !== undefined) return known;
    const made = { gpu, source, beforeMb: null, peakMb: null, useSum: 0, uses: 0, useMax: null };
    cards.set(key, made);
    return made;
  };
  return {
    before(sample) {
      of(sample).beforeMb = sample.memoryUsedMb;
    },
    add(sample) {
      const seen = of(sample);
      const { memoryUsedMb, utilisationPercent } = sample;
      if (memoryUsedMb !== null) seen.peakMb = Math.max(memoryUsedMb, seen.peakMb ?? 0);
      if (utilisationPercent === null) return;
      seen.useSum += utilisationPercent;
      seen.uses += 1;
      seen.useMax = Math.max(utilisationPercent, seen.useMax ?? 0);
    },
    cards: () =>
      [...cards.values()].map(({ gpu, source, beforeMb, peakMb, useSum, uses, useMax }) => ({
        gpu,
        source,
        beforeMb,
        peakMb,
        aboveMb: beforeMb === null || peakMb === null ? null : Math.max(0, peakMb - beforeMb),
        utilisationMeanPercent: uses === 0 ? null : useSum / uses,
        utilisationMaxPercent: useMax,
      })),
  };
}

/**
 * The most memory that a workflow took, in bytes: of the card on which it rose most, as nvidia-smi tells it,
 * else as ComfyUI does. Null where neither told.
 */
export function vramPeakBytes(cards: readonly ProfiledCards[]): number | null {
  for (const source of ["nvidia-smi", "system_stats"] as const) {
    const rises = cards
      .filter((one) => one.source === source)
      .flatMap(({ aboveMb }) => (aboveMb === null ? [] : [aboveMb]));
    if (rises.length > 0) return Math.round(Math.max(...rises) * MIB);
  }
  return null;
}
