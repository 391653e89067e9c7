/**
 * Looks at the cards while a run goes on: `nvidia-smi` where the server is on this host, which alone tells
 * how busy they are; else what the target tells of their memory; else nothing.
 */
import { createGpuQuery, type GpuQuery } from "@holdfast/gpu";
import type { Clock } from "@holdfast/runtime";
import { isLoopbackName } from "@holdfast/runtime/host";
import type { CardReading, LoadTarget } from "./load-target.ts";

/** Cards that can be looked at. */
export interface Cards {
  /** In words, for whoever runs it; null where nothing tells of any card. */
  readonly source: string | null;
  readonly isUseKnown: boolean;
  /** Empty where nothing was told this time. */
  look(signal: AbortSignal): Promise<readonly CardReading[]>;
}

const NONE: Cards = { source: null, isUseKnown: false, look: async () => [] };
const MIB = 1024 * 1024;

/** Finds out what tells of the cards; none where it is stopped. `query` takes the place of `nvidia-smi`. */
export async function findCards(
  target: LoadTarget,
  deps: { readonly clock: Clock; readonly signal: AbortSignal; readonly query?: GpuQuery },
): Promise<Cards> {
  try {
    return await lookAround(target, deps);
  } catch (error) {
    // A Ctrl-C: the run that this is for ends in its own way, and tells what was measured before.
    if (deps.signal.aborted) return NONE;
    throw error;
  }
}

async function lookAround(
  target: LoadTarget,
  { clock, signal, query }: Parameters<typeof findCards>[1],
): Promise<Cards> {
  const { hostname } = new URL(target.url);
  // A simulated ComfyUI leaves the host's cards alone: their use would say nothing of it.
  const isSimulated = target.version?.includes("simulated") === true;
  if (isLoopbackName(hostname) && !isSimulated) {
    const cards = ofNvidiaSmi(query ?? createGpuQuery({ clock }));
    if ((await cards.look(signal)).length > 0) return cards;
  }
  const ofTarget = target.cards?.bind(target);
  if (ofTarget === undefined) return NONE;
  if ((await ofTarget(signal)).length === 0) return NONE;
  return { source: "ComfyUI's system_stats", isUseKnown: false, look: ofTarget };
}

function ofNvidiaSmi(query: GpuQuery): Cards {
  return {
    source: "nvidia-smi",
    isUseKnown: true,
    async look(signal) {
      const { readings } = await query.sample(signal);
      return readings.map(({ index, utilizationPercent, memoryUsedBytes }) => ({
        gpu: index,
        utilisationPercent: utilizationPercent,
        memoryUsedMb: memoryUsedBytes === null ? null : Math.round(memoryUsedBytes / MIB),
        source: "nvidia-smi" as const,
      }));
    },
  };
}
