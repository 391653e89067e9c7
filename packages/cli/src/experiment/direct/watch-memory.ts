import type { ComfyClient } from "@holdfast/comfyui";
import type { Clock } from "@holdfast/runtime";

const LOOK_EVERY_MS = 1_000;
/** A look costs a short run on a CPU a third of its time; the next process may have a card. */
const WITHOUT_CARD_MS = 60_000;

/** Looks at how much memory of the card is in use while a run goes on. */
export interface MemoryWatch {
  /** The most that was seen; undefined where there is no card, or it was never seen. */
  end(): Promise<number | undefined>;
}

/**
 * Begins to look whenever it is called, once a second and once at the end: ComfyUI tells no peak of its
 * own. One that has no card is left in peace.
 */
export function createMemoryLooks(
  client: Pick<ComfyClient, "systemStats">,
  clock: Clock,
): () => MemoryWatch {
  let withoutCardUntil = -Infinity;
  const usedBytes = async (): Promise<number | undefined> => {
    if (clock.elapsed() < withoutCardUntil) return undefined;
    const stats = await client.systemStats();
    const device = stats.kind === "ok" ? stats.stats.devices[0] : undefined;
    if (device === undefined) return undefined;
    if (device.type === "cpu") {
      withoutCardUntil = clock.elapsed() + WITHOUT_CARD_MS;
      return undefined;
    }
    const { vramTotalBytes, vramFreeBytes } = device;
    if (vramTotalBytes === undefined || vramFreeBytes === undefined) return undefined;
    return vramTotalBytes - vramFreeBytes;
  };
  return () => watch(usedBytes, clock);
}

function watch(usedBytes: () => Promise<number | undefined>, clock: Clock): MemoryWatch {
  const over = new AbortController();
  let peak: number | undefined;
  const run = async (): Promise<void> => {
    while (!over.signal.aborted) {
      await clock.sleep(LOOK_EVERY_MS, over.signal).catch(() => undefined);
      const used = await usedBytes();
      if (used !== undefined) peak = Math.max(peak ?? 0, used);
    }
  };
  const running = run();
  return {
    async end() {
      over.abort(new Error("the run has ended"));
      await running;
      return peak;
    },
  };
}
