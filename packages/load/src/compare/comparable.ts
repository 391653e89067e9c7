/** Whether two runs did the same work: otherwise a difference says nothing. */
import type { LoadSummary } from "../summary/model.ts";

/** What of a run is known before it: enough to say whether it does the work of another one. */
export interface PlannedLoad extends Pick<LoadSummary, "plan" | "scenario"> {
  readonly target: Pick<LoadSummary["target"], "kind">;
}

/** Why two runs cannot be compared; empty where they can. */
export function differencesOf(before: PlannedLoad, now: PlannedLoad): readonly string[] {
  const told: string[] = [];
  const tell = (what: string, one: string, other: string): void => {
    if (one !== other) told.push(`${what}: ${one} before, ${other} now`);
  };
  tell("kind of target", before.target.kind, now.target.kind);
  tell("pace", before.plan.pace, now.plan.pace);
  tell("scenario", before.scenario ?? "none", now.scenario ?? "none");
  tell("workflows", workflowsText(before), workflowsText(now));
  return told;
}

/** Names do not matter: a file that was called otherwise is the same work. */
function workflowsText({ plan }: PlannedLoad): string {
  const sum = plan.workflows.reduce((all, { weight }) => all + weight, 0);
  return plan.workflows
    .map(({ hash, weight }) => `${hash} (${Math.round((weight / sum) * 1_000) / 10}%)`)
    .sort()
    .join(", ");
}
