import type { Clock, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { deleteOldEnrolments } from "./enrolment-store.ts";

/** For how long a token is listed after it could have been used. */
const KEPT_MS = 30 * 24 * 60 * 60 * 1000;
const EVERY_MS = 60 * 60 * 1000;
const AT_ONCE = 500;

/** Forgets one-time tokens that were over a month ago. Their keys go on. */
export function createEnrolmentLoop(options: {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly onRemoved: (count: number) => void;
}): Loop {
  return createLoop({
    ...options,
    name: "access:old-enrolments",
    everyMs: EVERY_MS,
    tick: async () => {
      const removed = await deleteOldEnrolments(options.db, KEPT_MS, AT_ONCE);
      options.onRemoved(removed);
      return removed === AT_ONCE ? "more" : "idle";
    },
  });
}
