/** Whether a release is left again because an instance does not become healthy on it. Pure. */

/** What decides; releases by their ids. */
export interface LeaveFacts {
  /** On which an instance did not become healthy. */
  readonly failed: string;
  /** That serves by now. */
  readonly serving: string | null;
  /** That would serve after going back. */
  readonly before: string | null;
  /** On which instances of this machine have been healthy. */
  readonly proven: ReadonlySet<string>;
  /** That were left for this reason. */
  readonly left: ReadonlySet<string>;
}

/** What to do, with the reason in words. */
export type LeaveDecision =
  | { readonly kind: "leave"; readonly to: string }
  | { readonly kind: "stay"; readonly reason: string };

/**
 * Only a release that has never worked here is at fault: where it has, something else has changed
 * (settings, the card), and an older release would only be another change. One that was left is never
 * gone back to by itself, so two that do not work cannot take turns for ever.
 */
export function decideLeave(facts: LeaveFacts): LeaveDecision {
  const { failed, serving, before, proven, left } = facts;
  if (serving !== failed) return stay("another release serves by now");
  if (proven.has(failed)) {
    return stay("instances have been healthy on it: look at settings and cards");
  }
  if (before === null || before === failed) return stay("there is no release before it");
  if (left.has(before)) return stay(`the release before it, ${before}, did not work either`);
  return { kind: "leave", to: before };
}

function stay(reason: string): LeaveDecision {
  return { kind: "stay", reason };
}
