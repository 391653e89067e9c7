import type { Graph } from "@holdfast/comfyui/protocol";
import type { FaultJob } from "./fault-job.ts";
import type { Finding, Observed } from "./observed.ts";
import type { WorldPlan } from "./world/world-plan.ts";
import type { World } from "./world/world.ts";

/** What jobs are made from. */
export interface WorkFacts {
  readonly count: number;
  /** A picture that takes about so long, with nodes that the ComfyUI at hand has. */
  readonly picture: (index: number, seconds: number) => Graph;
  /** Of {@link Scenario.baseline}; null without one. */
  readonly baselineP95Ms: number | null;
}

/** A fault in force. */
export interface ActiveFault {
  /** What was done, in words. */
  readonly how: string;
  /** What happens while the first job renders; resolves when it has been done, and undone if it is to be. */
  strike?(): Promise<void>;
  /** How often it struck; null where nobody can count it. 0 proves nothing. */
  struck(): Promise<number | null>;
  /** Undoes what is left of it. */
  end(): Promise<void>;
}

/** Whether a scenario can be had in some place. */
export type Possibility = "possible" | { readonly notHere: string };

/** One fault, and what has to come of it. */
export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** What must happen, in plain words. */
  readonly expectation: string;
  /** Of C4's two for every week. */
  readonly isQuick?: boolean;
  readonly plan: WorldPlan;
  /** With a bare client, and on a ComfyUI that is not simulated. */
  readonly bare: Possibility;
  readonly real: Possibility;
  /** Pages of one book instead of jobs by themselves. */
  readonly isBook?: boolean;
  /** Jobs that are rendered before the fault, to compare with. */
  baseline?(facts: WorkFacts): readonly FaultJob[];
  work(facts: WorkFacts): readonly FaultJob[];
  begin(world: World): Promise<ActiveFault>;
  /** Whether everything was seen that comes some time after the last job's end, such as an alert. */
  isAllSeen?(world: World): boolean;
  /** What is expected of this fault beyond the promises that hold for all. */
  check(observed: Observed): readonly Finding[];
}

/** So many pictures that can all be rendered. */
export function pictures(facts: WorkFacts, seconds: number): readonly FaultJob[] {
  return Array.from({ length: facts.count }, (_, index) => ({
    index,
    graph: facts.picture(index, seconds),
    expected: "completed",
  }));
}
