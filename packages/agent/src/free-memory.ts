import type { ComfyClient } from "@holdfast/comfyui";
import type { Abortable, Clock } from "@holdfast/runtime";

const LOOK_EVERY_MS = 200;
/** Equal readings after which nothing more is expected to be freed. */
const STEADY_LOOKS = 5;

/**
 * Asks ComfyUI to unload its models and waits until `/system_stats` shows it (F14). To be called
 * when nothing of ours is in its queue, for the request acts only between prompts. Resolves with the
 * bytes of VRAM that were freed: 0 when there was nothing to free, or when it never showed.
 */
export async function freeMemory(deps: {
  readonly client: Pick<ComfyClient, "free" | "systemStats">;
  readonly clock: Clock;
  readonly withinMs: number;
  readonly signal: Abortable;
}): Promise<number> {
  const { client, clock, signal } = deps;
  const readFree = async (): Promise<number> => {
    const reply = await client.systemStats(signal);
    return reply.kind === "ok" ? (reply.stats.devices[0]?.vramFreeBytes ?? 0) : 0;
  };
  const before = await readFree();
  await client.free({ unloadModels: true, freeMemory: true }, signal);
  const deadline = clock.elapsed() + deps.withinMs;
  let last = before;
  let steady = 0;
  while (clock.elapsed() < deadline && steady < STEADY_LOOKS) {
    await clock.sleep(LOOK_EVERY_MS, signal);
    const now = await readFree();
    steady = now <= last ? steady + 1 : 0;
    last = Math.max(last, now);
  }
  return Math.max(0, last - before);
}
