/**
 * A leader of the fleet in memory: it does what the decisions say to a cloud that is made up, and may be
 * killed at every step. What was written down before survives; everything else is gone.
 */
import type { Random } from "@holdfast/runtime";
import {
  asking,
  decideFleet,
  decideMachine,
  decideUnknown,
  DEFAULT_BREAKER_POLICY,
  draining,
  ended,
  gone,
  isFollowedAtOnce,
  kept,
  lookAtBreaker,
  made,
  NEW_BREAKER,
  notMade,
  ready,
  terminated,
  toLifespan,
  wantedMachine,
  type BreakerMemory,
  type BreakerPolicy,
  type BreakerView,
  type Demand,
  type FleetMachine,
  type FleetPolicy,
  type Lifespan,
  type MachineSigns,
} from "../src/index.ts";
import type { FakeCloud } from "./fake-cloud.ts";

/** Thrown where the leader is killed. */
export class LeaderKilled extends Error {}

/** What a fleet of one pool is asked to do. */
export interface FleetWorldOptions {
  readonly cloud: FakeCloud;
  readonly random: Random;
  readonly policy: FleetPolicy;
  readonly breaker?: BreakerPolicy;
  readonly demand: (now: number) => Demand;
  /** Jobs that a machine holds, by its name; none by default. */
  readonly jobsOf?: (name: string) => number;
}

/** What is done about one machine in one round. */
const STEPS_AT_ONCE = 4;
/** How long a provider may take to answer. */
const CALL_MS = 30_000;

/** See the head of this file. */
export class FleetWorld {
  /** Survives the leader. */
  readonly rows = new Map<string, FleetMachine>();
  view: BreakerView | undefined;
  /** Steps until the leader is killed. */
  killIn = Infinity;
  /** How often the breaker let nothing through although machines were wanted. */
  heldBack = 0;
  readonly #options: FleetWorldOptions;
  #breaker: BreakerMemory = NEW_BREAKER;
  #next = 0;
  readonly #idleSince = new Map<string, number>();

  constructor(options: FleetWorldOptions) {
    this.#options = options;
  }

  get living(): readonly FleetMachine[] {
    return [...this.rows.values()].filter(({ state }) => state !== "ended");
  }

  lifespans(): readonly Lifespan[] {
    return [...this.rows.values()].flatMap((one) => toLifespan(one) ?? []);
  }

  signsOf(machine: FleetMachine, now: number): MachineSigns {
    const jobCount = this.#options.jobsOf?.(machine.name) ?? 0;
    if (jobCount > 0) this.#idleSince.delete(machine.id);
    else if (!this.#idleSince.has(machine.id)) this.#idleSince.set(machine.id, now);
    const idleSince = this.#idleSince.get(machine.id) ?? null;
    return this.#options.cloud.signs(machine.name, now, jobCount, idleSince);
  }

  /** One round of the leader. Throws {@link LeaderKilled} where it is to be killed. */
  tick(now: number): void {
    const { cloud, policy, demand } = this.#options;
    this.#step();
    const listing = cloud.list(now);
    this.#step();
    const [pool] = policy.pools;
    for (const machine of this.living) {
      for (let step = 0; step < STEPS_AT_ONCE; step += 1) {
        const current = this.rows.get(machine.id) ?? machine;
        const signs = this.signsOf(current, now);
        const facts = { machine: current, signs, listing, now, listeningSince: 0, wantedEnd: null };
        const action = decideMachine({ ...facts, pool: pool ?? null }, policy);
        this.#do(current, action, now);
        if (!isFollowedAtOnce(action)) break;
      }
    }
    const known = new Map(this.living.map(({ name, ref }) => [name, ref]));
    for (const one of decideUnknown(listing, known, () => false).end) {
      this.#step();
      cloud.terminate(one.ref, now);
    }
    const looked = lookAtBreaker(
      this.lifespans(),
      this.#options.breaker ?? DEFAULT_BREAKER_POLICY,
      now,
      this.#breaker,
    );
    this.#breaker = looked.memory;
    this.view = looked.view;
    const decision = decideFleet(
      {
        now,
        machines: this.living,
        signsOf: (id) => this.signsOf(this.rows.get(id) as FleetMachine, now),
        lifespans: this.lifespans(),
        breaker: looked.view,
        demand: demand(now),
        blockedPools: new Map(),
      },
      policy,
    );
    for (const one of decision.pools) {
      if (one.held !== null && looked.view.state === "open") this.heldBack += 1;
      for (let count = 0; count < one.ask; count += 1) this.#want(one.pool, now);
    }
    for (const id of decision.drain) this.#change(id, (machine) => draining(machine, now));
    for (const id of decision.drop) {
      const end = { cause: "intended", kind: null, reason: "not needed" } as const;
      this.#change(id, (machine) => ended(machine, now, end));
    }
    for (const id of decision.keep) this.#change(id, kept);
  }

  #want(pool: string, now: number): void {
    this.#step();
    const id = `m${this.#next}`;
    this.#next += 1;
    const given = { id, name: `hf-${id}`, pool, offer: null, pricePerHour: 1 };
    this.rows.set(id, wantedMachine({ ...given, provider: "runpod" }, now));
  }

  #do(machine: FleetMachine, action: ReturnType<typeof decideMachine>, now: number): void {
    const { cloud, random, policy } = this.#options;
    const { id } = machine;
    switch (action.kind) {
      case "nothing":
        return;
      case "ask": {
        this.#change(id, (one) => asking(one, now + CALL_MS + policy.listLagMs));
        this.#step();
        const answer = cloud.create(machine.name, now);
        this.#step();
        this.#change(id, (one) =>
          answer.kind === "ok"
            ? made(one, answer.value, now)
            : notMade(one, answer.trouble, now, random),
        );
        return;
      }
      case "adopt":
        this.#change(id, (one) => made(one, action.provided, now));
        return;
      case "become_ready":
        this.#change(id, (one) => ready(one, now));
        return;
      case "fail": {
        const { failure: kind, reason } = action;
        this.#change(id, (one) => ended(one, now, { cause: "failed", kind, reason }));
        return;
      }
      case "end": {
        const { reason } = action;
        this.#change(id, (one) => ended(one, now, { cause: "intended", kind: null, reason }));
        return;
      }
      case "terminate":
        this.#step();
        if (machine.ref !== null) cloud.terminate(machine.ref, now);
        else {
          // Known by its name alone: its provider told of it.
          const ref = cloud.list(now).machines.find(({ name }) => name === machine.name)?.ref;
          if (ref !== undefined) cloud.terminate(ref, now);
        }
        this.#step();
        this.#change(id, (one) => terminated(one, now));
        return;
      default:
        this.#change(id, gone);
    }
  }

  #change(id: string, change: (machine: FleetMachine) => FleetMachine): void {
    this.#step();
    const before = this.rows.get(id);
    if (before === undefined) throw new Error(`there is no machine ${id}`);
    this.rows.set(id, change(before));
  }

  #step(): void {
    this.killIn -= 1;
    if (this.killIn <= 0) throw new LeaderKilled();
  }
}
