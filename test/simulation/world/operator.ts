import type { Random } from "@holdfast/runtime";
import type { World } from "./faults.ts";

const LOOK_EVERY_MS = 10_000;
/** Somebody restarts a ComfyUI that has been called unhealthy for so long. */
const PATIENCE_MS = 40_000;

/** The person who restarts what says for some time that it does not work: attached ComfyUIs. */
export function createOperator(world: World, random: Random): void {
  const since = new Map<string, number>();
  const look = (): void => {
    const now = world.timeline.now();
    for (const machine of world.machines) {
      const running = machine.agent();
      if (running?.process.isAlive() !== true) continue;
      for (const { key, state } of running.agent.status().instances) {
        if (state !== "unhealthy") {
          since.delete(key);
          continue;
        }
        const first = since.get(key) ?? now;
        since.set(key, first);
        if (now - first < PATIENCE_MS) continue;
        since.delete(key);
        world.trace.note("operator", "restart", key, "");
        world.comfyWorld.all.find(({ url }) => url === key)?.simulator.restart();
      }
    }
    world.timeline.after(LOOK_EVERY_MS * (0.8 + 0.4 * random.next()), look);
  };
  look();
}
