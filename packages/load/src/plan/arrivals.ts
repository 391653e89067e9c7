/** When the jobs of an open loop are due: at even distances, or by chance. */
import { seededRandom, type Random } from "@holdfast/runtime";
import { foldedSeed } from "./mix.ts";
import { arrivalsOf, loopOf, type Pace } from "./pace.ts";
import { paceProfile, type PaceProfile } from "./profile.ts";

/** When the job of an index is due, in ms since the run's start; Infinity where none is any more. */
export type Due = (index: number) => number;

/** Null for a closed loop, whose jobs are due when others end. */
export function dueOf(pace: Pace, seed: number): Due | null {
  if (loopOf(pace) === "closed") return null;
  const profile = paceProfile(pace);
  return arrivalsOf(pace) === "constant"
    ? (index) => profile.dueAt(index)
    : poissonDue(profile, foldedSeed(seed));
}

/**
 * Until when the jobs up to an index stand for the pace: the next one is due then, or the pace has ended.
 * N jobs at a rate take N of its intervals; from the first begin to the last end there are N - 1 of them,
 * and five quick jobs at one a second would look like 74 a minute. Null for a closed loop.
 */
export function spanOf(pace: Pace, seed: number): ((lastIndex: number) => number) | null {
  const due = dueOf(pace, seed);
  if (due === null) return null;
  const { endsAtMs } = paceProfile(pace);
  return (lastIndex) => Math.min(due(lastIndex + 1), endsAtMs);
}

/**
 * Arrivals by chance: what lies between two is exponential in jobs that would have been due, so that a
 * rate that changes needs nothing more. The sum is kept, and begun anew for an index that was passed.
 */
function poissonDue(profile: PaceProfile, seed: number): Due {
  let random: Random = seededRandom(seed);
  let at = -1;
  let jobs = 0;
  return (index) => {
    if (index < at) {
      random = seededRandom(seed);
      at = -1;
      jobs = 0;
    }
    while (at < index) {
      jobs -= Math.log(1 - random.next());
      at += 1;
    }
    return profile.dueAt(jobs);
  };
}
