/** A supervisor among fakes, made anew for each test of a file that calls {@link useSupervision}. */
import { seededRandom } from "@holdfast/runtime";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach } from "vitest";
import type { InstancePlan, Release } from "../src/instances/model.ts";
import { toProcessSpec } from "../src/instances/process-spec.ts";
import { Supervisor } from "../src/instances/supervisor.ts";
import type { ReleaseFailure, SupervisorPolicy } from "../src/instances/supervisor-options.ts";
import { machinePlaces } from "../src/machine-places.ts";
import type { ExitCause } from "../src/process-manager/exit-cause.ts";
import type { ExitExplainer } from "../src/process-manager/exit-evidence.ts";
import { FakeHost, FakeLocks, rememberingLog } from "./fake-host.ts";
import { release } from "./instance-facts.ts";

export const places = machinePlaces("/srv/machine");
const account = { home: "/home/agent" };
export const NOBODY = new AbortController().signal;

export let clock: FakeClock;
export let host: FakeHost;
export let locks: FakeLocks;
export let log: ReturnType<typeof rememberingLog>;
export let failures: ReleaseFailure[];
export let changes: string[];
/** Those that are left when a test has ended. */
export let running: Supervisor[];
let explained: ExitCause;
const explainer: ExitExplainer = {
  note: () => Promise.resolve(),
  explain: () => Promise.resolve(explained),
};
/** Why a card has no work, by UUID. */
export const cardFaults = new Map<string, string>();
/** Cards with a fault on which what runs goes on. */
export const cardsRunOn = new Set<string>();

/** Makes everything anew before each test, and ends it afterwards. */
export function useSupervision(): void {
  beforeEach(() => {
    clock = createFakeClock();
    host = new FakeHost();
    locks = new FakeLocks();
    log = rememberingLog();
    failures = [];
    changes = [];
    running = [];
    explained = { kind: "unknown", words: "ended, and nothing tells how" };
    cardFaults.clear();
    cardsRunOn.clear();
  });
  afterEach(async () => {
    for (const supervisor of running) {
      const left = supervisor.leave();
      await clock.advance(60_000);
      await left;
    }
    if (clock.sleeperCount() > 0) throw new Error("somebody still sleeps");
  });
}

/** What processes are said to have ended of, from now on. */
export function explainEnds(cause: ExitCause): void {
  explained = cause;
}

export const digestOf = (of: InstancePlan, from: Release): string =>
  toProcessSpec(of, from, places, { options: null, virtualEnv: null }, account).digest;

/** A supervisor that has had time to look at everything. */
export async function supervise(
  plans: readonly InstancePlan[],
  from: Release | null = release(),
  policy: Partial<SupervisorPolicy> = {},
  isComplete = true,
): Promise<Supervisor> {
  const supervisor = new Supervisor({
    places,
    account,
    clock,
    random: seededRandom(1),
    log,
    manager: Object.assign(host, { kill: () => Promise.resolve() }),
    host,
    runner: host,
    files: host,
    locks,
    exits: explainer,
    cardFault: ({ uuid }) => cardFaults.get(uuid ?? "") ?? null,
    cardRunsOn: ({ uuid }) => uuid !== null && cardsRunOn.has(uuid),
    policy,
    onChange: (name) => changes.push(name),
    onReleaseFailed: (failure) => failures.push(failure),
  });
  running.push(supervisor);
  await supervisor.setDesired(plans, from, isComplete);
  await supervisor.start();
  await clock.advance(5_000);
  return supervisor;
}

/** What a promise fails with; it is watched from now on. */
export const failureOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "it did not fail",
    (error: Error) => error.message,
  );
export const busy = (port: number): void => host.setHealth(port, "healthy", { isBusy: true });
