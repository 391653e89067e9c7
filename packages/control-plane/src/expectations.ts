import type { Job } from "./jobs/model.ts";
import type { JobExpectation } from "./jobs/view.ts";
import type { ProfilesService } from "./profiles/service.ts";
import type { Scheduler } from "./scheduler/scheduler.ts";

const MS_PER_SECOND = 1_000;

/** What is expected of these jobs, by their ids: from their profiles, the queue and the fleet. */
export async function expectationsOf(
  jobs: readonly Job[],
  profiles: Pick<ProfilesService, "typicalMs">,
  scheduler: Pick<Scheduler, "etas">,
): Promise<ReadonlyMap<string, JobExpectation>> {
  const known = jobs.flatMap(({ id, plan, costKey }) => {
    // A graph that recovery has changed costs something else.
    const ms = plan === null ? profiles.typicalMs(costKey) : null;
    return ms === null ? [] : [{ id, ms }];
  });
  if (known.length === 0) return new Map();
  const etas = await scheduler.etas();
  return new Map(
    known.map(({ id, ms }) => {
      const eta = etas.get(id);
      const etaSeconds = eta === undefined ? null : Math.ceil(eta / MS_PER_SECOND);
      return [id, { expectedMs: Math.round(ms), etaSeconds }];
    }),
  );
}
