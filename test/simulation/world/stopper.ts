import { nextInt, type Random } from "@holdfast/runtime";
import type { World } from "./faults.ts";

/** Emergency stops in a run at most; some runs have none. */
const MAX_STOPS = 4;
const SHORTEST_MS = 500;
const LONGEST_MS = 25_000;
/** A release whose answer does not come is asked for again. */
const ASK_AGAIN_MS = 5_000;

/** The person who stops everything at some instants of the run, and lets it go on after a while. */
export function createStopper(world: World, random: Random, activeMs: number): void {
  const { timeline, trace } = world;
  const ask = (
    what: "holdAll" | "releaseAll",
    onAnswer: () => void,
    onFailure: () => void = () => undefined,
  ): void => {
    const alive = world.replicas.filter((replica) => replica.process()?.isAlive() === true);
    const replica = alive[nextInt(random, Math.max(1, alive.length))];
    const running = replica?.current();
    if (running === undefined) return;
    trace.note("stopper", what, replica?.name ?? "", "");
    running.process.deliver(() => {
      running.api.jobs[what]("stopper").then(onAnswer, onFailure);
    });
  };
  const release = (): void => {
    let isAnswered = false;
    ask("releaseAll", () => (isAnswered = true));
    timeline.after(ASK_AGAIN_MS, () => {
      if (!isAnswered) release();
    });
  };
  for (let stops = nextInt(random, MAX_STOPS + 1); stops > 0; stops -= 1) {
    const lastsMs = SHORTEST_MS + random.next() * (LONGEST_MS - SHORTEST_MS);
    timeline.after(random.next() * activeMs, () => {
      // Answered or not: a stop that was cut short is to be released all the same. One that hung at a
      // replica without a database may take hold after its release: that has to be said once more.
      let isOver = false;
      const onSettled = (): void => {
        if (isOver) release();
      };
      ask("holdAll", onSettled, onSettled);
      timeline.after(lastsMs, () => {
        isOver = true;
        release();
      });
    });
  }
}
