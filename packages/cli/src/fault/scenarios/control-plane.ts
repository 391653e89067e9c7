import {
  completedMeanwhile,
  noFailureOfTheirOwn,
  oneAttemptEach,
  outlivedIt,
  renderedOnce,
} from "./checks.ts";
import type { Possibility, Scenario } from "../scenario.ts";
import { pictures } from "../scenario.ts";
import type { HoldfastSide } from "../world/holdfast-side.ts";
import type { World } from "../world/world.ts";

const DOWN_MS = 2_500;
const STORE_AWAY_MS = 5_000;
const NO_SUCH_PART: Possibility = { notHere: "a bare client has no such part" };

/** The database dies in mid-render. */
export const postgresRestart: Scenario = {
  name: "postgres-restart",
  title: "Postgres is killed (signal 9) in mid-render and started again",
  expectation: "accepted jobs are on disk: every one completes, once",
  plan: { comfyuis: 1, isOneMachine: true, replicas: 1 },
  bare: NO_SUCH_PART,
  real: "possible",
  work: (facts) => pictures(facts, 0.5),
  begin: (world) => {
    const { postgres } = holdfastOf(world);
    const { clock, signal } = world;
    let kills = 0;
    return Promise.resolve({
      how: "Postgres was killed in mid-render",
      async strike() {
        const before = postgres.pid();
        postgres.kill();
        while (postgres.pid() === before) await clock.sleep(100, signal);
        // Another process: it was killed indeed.
        kills += 1;
      },
      struck: () => Promise.resolve(kills),
      end: () => Promise.resolve(),
    });
  },
  check: (seen) => [outlivedIt(seen, "Postgres died"), noFailureOfTheirOwn(seen)],
};

/** One of two replicas dies in mid-render. */
export const replicaKilled: Scenario = {
  name: "replica-killed",
  title: "one of two control-plane replicas is killed (signal 9) in mid-render",
  expectation: "the other one goes on: every job completes, once",
  plan: { comfyuis: 1, isOneMachine: true, replicas: 2 },
  bare: NO_SUCH_PART,
  real: "possible",
  work: (facts) => pictures(facts, 0.5),
  begin: (world) => {
    const [first] = holdfastOf(world).replicas;
    let kills = 0;
    return Promise.resolve({
      how: `replica-1 was killed in mid-render and came back after ${DOWN_MS / 1_000} s`,
      async strike() {
        await first?.kill();
        kills += 1;
        await world.clock.sleep(DOWN_MS, world.signal);
        await first?.revive();
      },
      struck: () => Promise.resolve(kills),
      end: async () => {
        await first?.revive();
      },
    });
  },
  check: (seen) => [
    completedMeanwhile(seen, "while one replica was down"),
    noFailureOfTheirOwn(seen),
  ],
};

/** The file store is away for a while. */
export const storeDown: Scenario = {
  name: "store-down",
  title: "the file store is away while jobs render",
  expectation:
    "results wait on the machine until it is back: every job completes, nothing rendered twice",
  plan: { comfyuis: 1, isOneMachine: true, replicas: 1 },
  bare: NO_SUCH_PART,
  real: "possible",
  work: (facts) => pictures(facts, 0.3),
  begin: (world) => {
    const { store } = holdfastOf(world);
    let times = 0;
    return Promise.resolve({
      how: `the store's folder was away for ${STORE_AWAY_MS / 1_000} s`,
      async strike() {
        await store.takeAway();
        times += 1;
        await world.clock.sleep(STORE_AWAY_MS, world.signal);
        await store.giveBack();
      },
      struck: () => Promise.resolve(times),
      end: () => store.giveBack(),
    });
  },
  check: (seen) => [
    oneAttemptEach(seen),
    outlivedIt(seen, "the store went away"),
    noFailureOfTheirOwn(seen),
    ...renderedOnce(seen),
  ],
};

function holdfastOf({ holdfast }: World): HoldfastSide {
  if (holdfast === undefined) throw new Error("this scenario needs a Holdfast");
  return holdfast;
}
