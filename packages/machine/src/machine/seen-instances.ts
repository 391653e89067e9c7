import type { InstanceStatus } from "../instances/supervisor-status.ts";
import type { SeenInstances } from "./release-trust.ts";

/** How instances are when another release comes: ill are those that failed, not those on their way. */
export function seenInstances(
  statuses: readonly Pick<InstanceStatus, "blocked" | "check" | "exits" | "name" | "runtime">[],
): SeenInstances {
  const healthy = statuses.filter(({ check }) => check.state === "passing");
  const ill = statuses.filter(({ check, runtime, exits, blocked }) => {
    if (check.state === "failing" || runtime.state === "crash_loop" || blocked !== null)
      return true;
    // One that died by itself and waits for its next start, or has not answered since.
    return check.state !== "passing" && exits.at(-1)?.wasAsked === false;
  });
  return {
    healthy: new Set(healthy.map(({ name }) => name)),
    ill: new Set(ill.map(({ name }) => name)),
  };
}
