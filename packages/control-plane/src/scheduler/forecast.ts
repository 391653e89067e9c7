/** When jobs will be completed, as far as that can be told. Pure. */

/** An instance that takes work; those of one kind can serve the same and take equally long. */
export interface ForecastInstance {
  readonly id: string;
  readonly kind: string;
}

/** A job that has a lease. */
export interface LiveJob {
  readonly jobId: string;
  readonly instanceId: string;
  /** What is left of its run; null when that is not known. */
  readonly remainingMs: number | null;
}

/** A job that waits. */
export interface WaitingJob {
  readonly jobId: string;
  /** What it takes on instances of a kind; null: not known; undefined: they cannot serve it. */
  readonly msOn: (kind: string) => number | null | undefined;
}

/** The instances of one kind by when they will be free, the soonest last. */
type FreeAt = { readonly ms: number }[];

/**
 * How long it is until each job is completed: live ones in their order on each instance, then waiting
 * ones in the order of the queue, each on the instance that is free first. What comes behind a job of
 * unknown length is unknown too, and left out.
 */
export function forecastJobs(
  instances: readonly ForecastInstance[],
  live: readonly LiveJob[],
  waiting: readonly WaitingJob[],
): ReadonlyMap<string, number> {
  const etas = new Map<string, number>();
  const busyUntil = new Map<string, number | null>();
  for (const { jobId, instanceId, remainingMs } of live) {
    const before = busyUntil.get(instanceId) ?? (busyUntil.has(instanceId) ? null : 0);
    const until = before === null || remainingMs === null ? null : before + remainingMs;
    busyUntil.set(instanceId, until);
    if (until !== null) etas.set(jobId, until);
  }
  const byKind = new Map<string, FreeAt>();
  for (const { id, kind } of instances) {
    const free = byKind.get(kind) ?? [];
    byKind.set(kind, free);
    const until = busyUntil.has(id) ? busyUntil.get(id) : 0;
    if (until !== null && until !== undefined) free.push({ ms: until });
  }
  for (const free of byKind.values()) free.sort((a, b) => b.ms - a.ms);
  for (const { jobId, msOn } of waiting) {
    const eta = placeNext(byKind, msOn);
    if (eta !== null) etas.set(jobId, eta);
  }
  return etas;
}

function placeNext(byKind: ReadonlyMap<string, FreeAt>, msOn: WaitingJob["msOn"]): number | null {
  let best: { readonly free: FreeAt; readonly ms: number; readonly takesMs: number | null } | null =
    null;
  for (const [kind, free] of byKind) {
    const next = free.at(-1);
    if (next === undefined || (best !== null && next.ms >= best.ms)) continue;
    const takesMs = msOn(kind);
    if (takesMs !== undefined) best = { free, ms: next.ms, takesMs };
  }
  if (best === null) return null;
  best.free.pop();
  // Nobody knows when this instance will be free again.
  if (best.takesMs === null) return null;
  const until = best.ms + best.takesMs;
  insert(best.free, until);
  return until;
}

function insert(free: FreeAt, ms: number): void {
  let low = 0;
  let high = free.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((free[middle]?.ms ?? 0) > ms) low = middle + 1;
    else high = middle;
  }
  free.splice(low, 0, { ms });
}
