import type { Clock, Random } from "@holdfast/runtime";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import type { ProfilesService } from "./service.ts";

/** Between two writes of what was learned; a crash loses no more. */
const FLUSH_EVERY_MS = 5_000;
/** Between two looks whether there are too many. */
const PRUNE_EVERY_MS = 10 * 60_000;

/** Writes what was learned of graphs' costs, and reads what others have learned. */
export function createProfileLoop(deps: {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly profiles: Pick<ProfilesService, "flush" | "prune" | "refresh">;
}): Loop {
  const { clock, profiles } = deps;
  let prunedAt = -Infinity;
  return createLoop({
    ...deps,
    name: "profiles",
    everyMs: FLUSH_EVERY_MS,
    tick: async () => {
      await profiles.flush();
      if (clock.elapsed() - prunedAt >= PRUNE_EVERY_MS) {
        if ((await profiles.prune()) > 0) return "more";
        prunedAt = clock.elapsed();
      }
      await profiles.refresh();
      return "idle";
    },
  });
}
