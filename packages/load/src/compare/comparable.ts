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
  tell("warm-up", warmUpOf(before), warmUpOf(now));
  tell("scenario", before.scenario ?? "none", now.scenario ?? "none");
  if (workOf(before) !== workOf(now)) tell("workflows", wordsOf(before), wordsOf(now));
  return told;
}

function warmUpOf({ plan: { warmUp } }: PlannedLoad): string {
  return `${warmUp.jobs} jobs and ${warmUp.forMs} ms`;
}

/** Digits of a hash that are told: enough to tell two apart. */
const HASH_SHOWN = 12;

/** Names do not matter: a file that was called otherwise is the same work. */
function workOf({ plan }: PlannedLoad): string {
  return plan.workflows
    .map((one) => `${one.hash} ${shareOf(one, plan)}`)
    .sort()
    .join();
}

function wordsOf({ plan }: PlannedLoad): string {
  return plan.workflows
    .map((one) => `${one.name} (${one.hash.slice(0, HASH_SHOWN)}, ${shareOf(one, plan)} %)`)
    .join(", ");
}

function shareOf({ weight }: { readonly weight: number }, plan: LoadSummary["plan"]): number {
  const sum = plan.workflows.reduce((all, one) => all + one.weight, 0);
  return Math.round((weight / sum) * 1_000) / 10;
}
