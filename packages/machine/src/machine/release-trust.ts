/**
 * Which release an agent may leave by itself when an instance does not become healthy. Pure.
 *
 * Only one that has just taken the place of another is left, for that very one, and only until it has
 * proved itself: a fault that comes later (a wrong flag, a full disk) is not the release's, and an older
 * one would not mend it. What was left is never gone back to by itself. Of a damaged release and the one
 * that replaced it neither is a way back from the other: what was before the damaged one is, if anything.
 *
 * Whose failure counts: an instance's that was healthy when the release came, for then the release is
 * what has changed. One that was ill before (its card, its memory, its port) says nothing of it: it is
 * passed over, and the others have their turn. Where none was healthy the healthy ones cannot tell: then
 * each counts that was not known to be ill: those that were on their way at the start of an agent, and
 * those of other cards when the healthy ones are planned no more.
 * The release has proved itself when all that count are healthy on it; where none counts, when all are.
 * One that cannot run for its card's sake, or because somebody has its card or port, is not waited for.
 */
import { hasSameInputs } from "../install/release/release-target.ts";

/** How the instances were when another release came; those that were on their way are in neither. */
export interface SeenInstances {
  readonly healthy: ReadonlySet<string>;
  readonly ill: ReadonlySet<string>;
}

/** What is remembered of the releases that have served while this program has run. */
export interface ReleaseTrust {
  /** Served before the one that serves now; null once the new one has proved itself. */
  readonly before: string | null;
  /** At the time of the last change. */
  readonly seen: SeenInstances;
  /** Were left: they do not work here. */
  readonly left: ReadonlySet<string>;
}

/** Nobody has been looked at. */
export const NONE_SEEN: SeenInstances = { healthy: new Set(), ill: new Set() };

/** Of a program that has just begun. */
export const NO_TRUST: ReleaseTrust = { before: null, seen: NONE_SEEN, left: new Set() };

/** After another release began to serve: by somebody's word, who may mean one that was left. */
export function afterSwitch(
  trust: ReleaseTrust,
  {
    from,
    to,
    seen,
  }: { readonly from: string | null; readonly to: string; readonly seen: SeenInstances },
): ReleaseTrust {
  return { before: from, seen, left: without(trust.left, to) };
}

/**
 * Where the way back from a release leads that has taken the place of `from`; null for nowhere.
 * `previous` is the link of that name, which a replacement of a damaged release leaves as it was.
 */
export function wayBack(from: string | null, to: string, previous: string | null): string | null {
  if (from === null || !hasSameInputs(from, to)) return from;
  return previous === null || hasSameInputs(previous, to) ? null : previous;
}

/** After instances were planned: those that are planned no more say nothing of a release by having been healthy. */
export function afterPlan(trust: ReleaseTrust, planned: readonly string[]): ReleaseTrust {
  const { healthy, ill } = trust.seen;
  const left = new Set(planned.filter((name) => healthy.has(name)));
  return left.size === healthy.size ? trust : { ...trust, seen: { healthy: left, ill } };
}

/** An instance on the release that serves. */
export interface LookedInstance {
  readonly name: string;
  readonly isHealthy: boolean;
  /** It cannot run, and not for the release's sake. */
  readonly isHindered: boolean;
}

/** After a look at all instances. */
export function afterLook(trust: ReleaseTrust, instances: readonly LookedInstance[]): ReleaseTrust {
  if (trust.before === null) return trust;
  const able = instances.filter(({ isHindered }) => !isHindered);
  const counting = able.filter(({ name }) => counts(trust, name));
  const asked = counting.length === 0 ? able : counting;
  const isProof = asked.length > 0 && asked.every(({ isHealthy }) => isHealthy);
  return isProof ? { ...trust, before: null } : trust;
}

/** After a release was left for the one before it. */
export function afterLeaving(trust: ReleaseTrust, release: string): ReleaseTrust {
  return { ...trust, before: null, left: new Set([...trust.left, release]) };
}

/** What becomes of a release on which an instance did not become healthy. */
export type LeaveDecision =
  | { readonly kind: "leave"; readonly to: string }
  /** The instance was ill, on its way or not there before: others are to show what the release is worth. */
  | { readonly kind: "pass_over"; readonly wasIll: boolean }
  | { readonly kind: "keep" };

/** Decides for the release that serves. */
export function decideLeave(trust: ReleaseTrust, release: string, instance: string): LeaveDecision {
  const { before, left } = trust;
  if (before === null || before === release || left.has(before)) return { kind: "keep" };
  if (counts(trust, instance)) return { kind: "leave", to: before };
  return { kind: "pass_over", wasIll: trust.seen.ill.has(instance) };
}

function counts({ seen: { healthy, ill } }: ReleaseTrust, name: string): boolean {
  return healthy.size > 0 ? healthy.has(name) : !ill.has(name);
}

function without(all: ReadonlySet<string>, one: string): ReadonlySet<string> {
  return new Set([...all].filter((each) => each !== one));
}
