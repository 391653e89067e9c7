import type { Clock, Random } from "@holdfast/runtime";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import type { PatternService } from "./pattern-service.ts";

/** How long another replica's change may go unseen when its notification was lost. */
const REFRESH_EVERY_MS = 5_000;

/** Keeps the patterns of this replica as the table has them. */
export function createPatternLoop(deps: {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly patterns: Pick<PatternService, "refresh">;
}): Loop {
  return createLoop({
    ...deps,
    name: "recovery:patterns",
    everyMs: REFRESH_EVERY_MS,
    tick: async () => {
      await deps.patterns.refresh();
      return "idle";
    },
  });
}
