/** Which requirements nobody can serve, since when, and what is done about them. */
import type { LossLevel } from "@holdfast/recovery";
import type { Clock } from "@holdfast/runtime";
import type { ActiveRequirement } from "./active-requirements.ts";
import { replanWaiting, type ReplanDeps } from "./replan-service.ts";
import type { Servers } from "../machines/servers.ts";

/** Pause between two looks at the jobs of one requirement: those that came since are looked at then. */
const LOOK_AGAIN_MS = 5_000;
/** Times longer that jobs wait while an instance has the model, but takes no work now. */
const UNHEALTHY_FACTOR = 10;
/** Requirements whose jobs are looked at in one tick. */
const REQUIREMENTS_AT_ONCE = 10;

/** Remembers what is unserved; a restart of the process begins the wait anew. */
export interface UnservedWatch {
  /** One look at a requirement: why nobody can serve it, or null. */
  note(requirement: ActiveRequirement, reason: string | null): void;
  /**
   * Gives other models to the jobs whose time of waiting is over; those whose own model is being
   * fetched wait for it.
   */
  replan(servers: Servers, isFetched: (requirementId: number) => boolean): Promise<void>;
}

/** A requirement that was not seen unserved for this long begins its wait anew. */
const FORGOTTEN_MS = 30_000;

interface Unserved {
  readonly requirement: ActiveRequirement;
  readonly sinceMs: number;
  notedMs: number;
  lookAtMs: number;
  afterId: string;
}

/** Makes an {@link UnservedWatch}. */
export function createUnservedWatch(
  deps: ReplanDeps & {
    readonly clock: Clock;
    readonly onQueued: (requirementIds: readonly number[]) => void;
  },
): UnservedWatch {
  const { clock, settings } = deps;
  const unserved = new Map<number, Unserved>();
  return {
    note(requirement, reason) {
      const now = clock.elapsed();
      const before = unserved.get(requirement.id);
      if (reason === null) {
        unserved.delete(requirement.id);
      } else if (before !== undefined && now - before.notedMs < FORGOTTEN_MS) {
        before.notedMs = now;
      } else {
        const fresh = { requirement, sinceMs: now, notedMs: now, lookAtMs: 0, afterId: "" };
        unserved.set(requirement.id, fresh);
      }
    },
    async replan(servers, isFetched) {
      const now = clock.elapsed();
      // More requirements than one look takes come by in turns: one that was not seen now may wait still.
      for (const [id, { notedMs }] of unserved) {
        if (now - notedMs >= FORGOTTEN_MS) unserved.delete(id);
      }
      const due = [...unserved.values()].filter(
        (one) =>
          now >= one.lookAtMs &&
          now - one.sinceMs >= settings.modelWaitMs &&
          !isFetched(one.requirement.id),
      );
      for (const one of due.slice(0, REQUIREMENTS_AT_ONCE)) {
        const { id, needs } = one.requirement;
        // While an instance that has it may come back, only what costs nothing is done.
        const isLong = now - one.sinceMs >= settings.modelWaitMs * UNHEALTHY_FACTOR;
        const maxLoss: LossLevel = !isLong && servers.couldBeServed(needs) ? "none" : "content";
        const waiting = { requirementId: id, needs, afterId: one.afterId, maxLoss };
        const done = await replanWaiting(deps, waiting, servers);
        one.afterId = done.nextAfterId;
        one.lookAtMs = one.afterId === "" ? now + LOOK_AGAIN_MS : now;
        if (done.requirementIds.length > 0) deps.onQueued(done.requirementIds);
      }
    },
  };
}
