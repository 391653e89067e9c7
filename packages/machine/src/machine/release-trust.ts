/**
 * Which release an agent may leave by itself when an instance does not become healthy. Pure.
 *
 * Only one that has just taken the place of another is left, for that one, and only until all instances
 * are healthy on it: a fault that comes later (a wrong flag, a full disk) is not the release's, and an
 * older one would not mend it. What was left is never gone back to by itself.
 */

/** What is remembered of the releases that have served while this program has run. */
export interface ReleaseTrust {
  /** Served before the one that serves now; null once the new one has proved itself. */
  readonly before: string | null;
  /** Were left: they do not work here. */
  readonly left: ReadonlySet<string>;
}

/** Of a program that has just begun. */
export const NO_TRUST: ReleaseTrust = { before: null, left: new Set() };

/** After another release began to serve: by somebody's word, who may mean one that was left. */
export function afterSwitch(trust: ReleaseTrust, from: string | null, to: string): ReleaseTrust {
  return { before: from, left: without(trust.left, to) };
}

/** After all instances were healthy on the release that serves. */
export function afterProof(trust: ReleaseTrust): ReleaseTrust {
  return trust.before === null ? trust : { ...trust, before: null };
}

/** After a release was left for the one before it. */
export function afterLeaving(trust: ReleaseTrust, release: string): ReleaseTrust {
  return { before: null, left: new Set([...trust.left, release]) };
}

/** Whether a release that does not work is to be left. */
export function mayLeave({ before, left }: ReleaseTrust, release: string): boolean {
  return before !== null && before !== release && !left.has(before);
}

function without(all: ReadonlySet<string>, one: string): ReadonlySet<string> {
  return new Set([...all].filter((each) => each !== one));
}
