/**
 * When a run began, and as the how many-th start of it.
 *
 * I1  The last line of `starts.ndjson` with a prompt's id is the start that posted it: a process that
 *     finds the prompt still there adds none.
 */
import type { RunStanding, StartRecord } from "@holdfast/experiments";
import type { Clock } from "@holdfast/runtime";
import type { EarlierStart, Renderer, RenderFacts } from "./renderer.ts";

/** A start, and what it goes on from. */
export interface RunStart {
  readonly record: StartRecord;
  readonly earlier: EarlierStart | undefined;
  /** It was begun by a process that was killed, and is on the disk already. */
  readonly isFound: boolean;
}

/** The start of a run that stands so: the same as before where its prompt is the same. */
export async function startOfRun(
  index: number,
  standing: RunStanding,
  deps: { readonly renderer: Renderer; readonly clock: Clock },
): Promise<RunStart> {
  const { renderer, clock } = deps;
  const { last, hasEnded, starts } = standing;
  const earlier = last && { promptId: last.promptId, hasEnded };
  const promptId = renderer.nextPromptId(earlier);
  const isSame = last?.promptId === promptId && !hasEnded;
  if (isSame && (await renderer.isThere({ promptId, hasEnded }))) {
    return { record: last, earlier, isFound: true };
  }
  // Not posted before the process was killed, or lost by ComfyUI: rendered once for all we know.
  const attempt = isSame ? last.attempt : starts + 1;
  const startedAt = new Date(clock.now()).toISOString();
  return { record: { index, attempt, promptId, startedAt }, earlier, isFound: false };
}

/** When a run began and ended, and how long it took. */
export interface RunTimes {
  readonly startedAt: string;
  readonly endedAt: string;
  readonly durationMs: number;
}

/** The times of a run that has ended now; `elapsedMs` since this process began with it. */
export function timesOf(
  { record, isFound }: RunStart,
  facts: Pick<RenderFacts, "executeMs" | "span">,
  now: { readonly at: number; readonly elapsedMs: number },
): RunTimes {
  const iso = (at: number): string => new Date(at).toISOString();
  if (!isFound) {
    const durationMs = Math.max(0, Math.round(now.elapsedMs));
    return { startedAt: record.startedAt, endedAt: iso(now.at), durationMs };
  }
  const noted = Date.parse(record.startedAt);
  // A job may have been submitted later than its start was noted. Another clock tells, so within ours.
  const startedAt = within(facts.span?.startedAt ?? noted, noted, now.at);
  const earliestEnd = startedAt + (facts.executeMs ?? 0);
  const endedAt = within(Math.max(facts.span?.endedAt ?? now.at, earliestEnd), startedAt, now.at);
  return { startedAt: iso(startedAt), endedAt: iso(endedAt), durationMs: endedAt - startedAt };
}

function within(value: number, from: number, to: number): number {
  return Math.max(from, Math.min(to, Math.round(value)));
}
