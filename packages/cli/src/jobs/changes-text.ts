import type { JobChanges } from "@holdfast/contract";

/**
 * What recovery changed, in one sentence; empty where the result is what was asked for. Not in the
 * contract, which takes a fifth of a second to load.
 */
export function changesText(changes: JobChanges | null): string {
  if (changes === null || changes.loss === "none") return "";
  return `not as submitted (${changes.loss}): ${changes.steps.join(" ")}`;
}

/** The same for whoever looks at one job: also changes after which the result is the same. */
export function allChangesText(changes: JobChanges | null): string {
  if (changes?.loss !== "none") return changesText(changes);
  return `the result is as submitted: ${changes.steps.join(" ")}`;
}
