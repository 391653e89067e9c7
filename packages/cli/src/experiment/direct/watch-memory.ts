import type { ComfyClient } from "@holdfast/comfyui";
import type { Clock } from "@holdfast/runtime";

const LOOK_EVERY_MS = 1_000;

/** Looks at how much memory of the card is in use while a run goes on. */
export interface MemoryWatch {
  /** The most that was seen; undefined where there is no card, or it was never seen. */
  end(): Promise<number | undefined>;
}

/** Begins to look, once a second and once at the end: ComfyUI tells no peak of its own. */
export function watchMemory(client: Pick<ComfyClient, "systemStats">, clock: Clock): MemoryWatch {
  const over = new AbortController();
  let peak: number | undefined;
  const look = async (): Promise<void> => {
    const stats = await client.systemStats();
    const device = stats.kind === "ok" ? stats.stats.devices[0] : undefined;
    if (device === undefined || device.type === "cpu") return;
    const { vramTotalBytes, vramFreeBytes } = device;
    if (vramTotalBytes === undefined || vramFreeBytes === undefined) return;
    peak = Math.max(peak ?? 0, vramTotalBytes - vramFreeBytes);
  };
  const run = async (): Promise<void> => {
    while (!over.signal.aborted) {
      await clock.sleep(LOOK_EVERY_MS, over.signal).catch(() => undefined);
      await look();
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
