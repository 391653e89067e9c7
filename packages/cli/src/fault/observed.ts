import type { AttemptView, BookPageView, JobView } from "@holdfast/contract";
import type { FaultJob } from "./fault-job.ts";
import type { ToldAlert } from "./world/alert-receiver.ts";

/** One output as it was fetched. */
export interface ObservedOutput {
  readonly name: string;
  /** Size and SHA-256 are those that the API says. */
  readonly isWhole: boolean;
  /** See `pictureHash`. */
  readonly picture: string;
}

/** What Holdfast's API says of a job that it had accepted. */
export interface ObservedJob {
  readonly work: FaultJob;
  /** Null: it was accepted and is not there any more. */
  readonly job: JobView | null;
  readonly attempts: readonly AttemptView[];
  /** Types of its events, the oldest first. */
  readonly events: readonly string[];
  readonly outputs: readonly ObservedOutput[];
  /** What an undisturbed ComfyUI renders of its graph; null where that was not asked. */
  readonly reference: readonly string[] | null;
}

/** What was seen of a scenario. */
export interface Observed {
  readonly jobs: readonly ObservedJob[];
  readonly baseline: readonly ObservedJob[];
  readonly pages: readonly BookPageView[];
  /** What the receiver of alerts was told. */
  readonly told: readonly ToldAlert[];
  /** How often the ComfyUIs rendered a picture of ours, by their own count; null where they do not tell. */
  readonly renders: number | null;
  readonly fault: {
    readonly how: string;
    readonly struck: number | null;
    /** While it was in force in mid-render; null where it was so from beginning to end. */
    readonly span: FaultSpan | null;
  };
}

/** Epoch milliseconds of this host, whose clock is also the database's. */
export interface FaultSpan {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** Something that was expected, and whether it is so, in words that show it. */
export interface Finding {
  readonly holds: boolean;
  readonly words: string;
}

/** A finding. */
export function finding(holds: boolean, words: string): Finding {
  return { holds, words };
}
