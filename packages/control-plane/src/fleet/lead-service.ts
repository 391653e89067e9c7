/** Keeps the lead of the fleet, and says whether it may still be believed in. */
import type { Clock, Random, Service } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop } from "../platform/loop.ts";
import { leaveLead, takeLead } from "./lead-store.ts";

/** How long a lead lasts that is not kept up: the next one leads within this and one look. */
export const LEAD_TTL_MS = 6_000;
/** Between two looks, of whoever leads and of whoever would. */
export const LEAD_EVERY_MS = 2_000;
/** A lead is believed in until so long before its end. */
const TRUST_MARGIN_MS = 1_500;

/** The lead of one replica. */
export interface Lead extends Service {
  /** The epoch of this replica's lead; null while somebody else leads, or it may be over. */
  epoch(): number | null;
}

/** Makes it; `holder` is this process. Told after every change of hands, this one's own included. */
export function createLead(deps: {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly holder: string;
  readonly onTaken: () => void;
}): Lead {
  const { db, clock, log, holder } = deps;
  let held: { readonly epoch: number; readonly trustedUntil: number } | null = null;
  const loop = createLoop({
    ...deps,
    name: "fleet:lead",
    everyMs: LEAD_EVERY_MS,
    tick: async () => {
      const begun = clock.elapsed();
      const epoch = await takeLead(db, holder, LEAD_TTL_MS);
      const before = held;
      held = epoch === null ? null : { epoch, trustedUntil: begun + LEAD_TTL_MS - TRUST_MARGIN_MS };
      if (held !== null && before?.epoch !== held.epoch) {
        log.info({ epoch }, "leads the fleet");
        deps.onTaken();
      } else if (held === null && before !== null) log.warn({}, "leads the fleet no more");
    },
  });
  return {
    name: loop.name,
    epoch: () => (held !== null && clock.elapsed() < held.trustedUntil ? held.epoch : null),
    start: () => loop.start(),
    async stop() {
      await loop.stop();
      held = null;
      await leaveLead(db, holder).catch((err: unknown) => {
        log.warn({ err }, "the lead could not be given back; it ends by itself");
      });
    },
  };
}
