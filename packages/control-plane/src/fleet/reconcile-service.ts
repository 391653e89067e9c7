/**
 * One round of the leader: what is seen, what each machine comes to, how many there should be. Every
 * outside action is written down before it is done, and is safe to repeat; see `model.ts` for what holds.
 */
import {
  decideFleet,
  foundMachine,
  lookAtBreaker,
  NEW_BREAKER,
  reasonText,
  toLifespan,
  toListing,
  wantedMachine,
  type BreakerMemory,
  type BreakerView,
  type Demand,
  type FleetFacts,
  type MachineSigns,
  type PoolDecision,
  type PoolListing,
} from "@holdfast/fleet";
import type { Transaction } from "../platform/db.ts";
import { appendEvents } from "../platform/outbox.ts";
import { readDbClock, type DbClock } from "./db-clock.ts";
import { breakerEvent, type FleetEvent } from "./fleet-events.ts";
import type { Lead, ReconcileDeps } from "./leader.ts";
import { leversInForce } from "./levers.ts";
import * as levers from "./lever-store.ts";
import { isOurName, machineName } from "./machine-name.ts";
import { MachineKeeper } from "./machine-service.ts";
import { LeadLost, type LeversInForce, type StoredMachine } from "./model.ts";
import { createPings, type Pings } from "./pings.ts";
import { createPoolBlocks, type PoolBlocks } from "./pool-blocks.ts";
import { BackgroundCalls, callProvider, forEachAtOnce } from "./provider-calls.ts";
import { createSigns, type Signs, type SignsSource } from "./signs.ts";
import { toEnded, toStored, toWanted } from "./stored-machine.ts";
import * as store from "./store.ts";
import { UnknownKeeper } from "./unknown-service.ts";

/** What a round came to, for those who look on. */
export interface RoundSummary {
  readonly breaker: BreakerView;
  readonly demand: Demand;
  readonly pools: readonly PoolDecision[];
}

/** The rounds of the leader. */
export interface Reconciler {
  /**
   * One round under this epoch; `isLeading` is asked again before everything that cannot be taken back.
   * Throws {@link LeadLost}.
   */
  round(lead: Lead, signal: AbortSignal): Promise<RoundSummary>;
  /** Forgets what an earlier lead saw. */
  reset(): void;
}

/** A round waits so long for calls of providers; those that take longer are of a later one. */
const CALLS_WAITED_MS = 1_000;
/** A leader whose last round was so long ago has heard nobody meanwhile. */
const HELD_UP_MS = 30_000;
/** Providers are asked for their machines this often. */
const LIST_EVERY_MS = 10_000;
/** Ended machines that are looked at again, for providers that tell late of what they made. */
const LATE_MS = 15 * 60_000;

/** Makes the {@link Reconciler}. */
export function createReconciler(deps: ReconcileDeps): Reconciler {
  return new FleetReconciler(deps);
}

class FleetReconciler implements Reconciler {
  readonly #deps: ReconcileDeps;
  readonly #listings = new Map<string, PoolListing>();
  readonly #signs: SignsSource;
  readonly #pings: Pings;
  readonly #blocks: PoolBlocks;
  readonly #keeper: MachineKeeper;
  readonly #calls: BackgroundCalls;
  #listening: { readonly lastRoundAt: number | null; readonly since: number } = {
    lastRoundAt: null,
    since: 0,
  };
  readonly #unknown: UnknownKeeper;
  /** When providers were last asked for their machines, answered or not. */
  readonly #listedAt = new Map<string, number>();

  constructor(deps: ReconcileDeps) {
    this.#deps = deps;
    this.#signs = createSigns(deps.db);
    this.#pings = createPings(deps);
    this.#blocks = createPoolBlocks(deps.random);
    this.#calls = new BackgroundCalls(deps.clock, (err, key) => {
      if (!(err instanceof LeadLost)) deps.log.error({ err, key }, "call of a provider failed");
    });
    this.#keeper = new MachineKeeper({ ...deps, blocks: this.#blocks, calls: this.#calls });
    this.#unknown = new UnknownKeeper(deps, this.#calls);
  }

  reset(): void {
    this.#listening = { lastRoundAt: null, since: 0 };
    this.#unknown.reset();
    this.#listings.clear();
    this.#listedAt.clear();
    this.#pings.reset();
    this.#signs.reset();
    this.#blocks.reset();
  }

  async round(lead: Lead, signal: AbortSignal): Promise<RoundSummary> {
    const { db, clock, settings } = this.#deps;
    const dbClock = await readDbClock(db, clock, this.#deps.readNow);
    this.#list(dbClock, signal);
    await this.#calls.settle(CALLS_WAITED_MS);
    const [machines, set, breaker, pools] = await Promise.all([
      store.readLiving(db),
      levers.readLeversInForce(db),
      levers.readBreaker(db),
      levers.readPools(db),
    ]);
    this.#blocks.restore(pools);
    const inForce = leversInForce(settings.breaker, set);
    const at = dbClock.now();
    const signs = await this.#signs.read(machines, at);
    const listeningSince = this.#listen(at);
    await this.#adoptStatic(lead, machines, signs.unknown, dbClock);
    await this.#noteAgents(lead, machines, signs);
    this.#pings.look(machines, signs, settings.pools, signal);
    await forEachAtOnce(machines, (machine) =>
      this.#keeper.act(
        lead,
        machine,
        {
          signs: this.#signsOf(signs, machine, dbClock),
          listing: this.#listings.get(machine.pool) ?? null,
          at,
          listeningSince,
          mayAsk: inForce.pauses.length === 0 && breaker?.state !== "open",
        },
        dbClock,
        signal,
      ),
    );
    await this.#calls.settle(CALLS_WAITED_MS);
    const seen = { machines, serving: signs.serving, listings: this.#listings };
    await this.#unknown.look(lead, seen, dbClock, signal);
    await this.#calls.settle(CALLS_WAITED_MS);
    const living = machines.filter(({ state }) => state !== "ended");
    return await this.#size(lead, { living, signs, inForce, memory: breaker }, dbClock);
  }

  /**
   * Since when agents could be heard: a leader that is new, or that was held up, hears them only now,
   * however long they have spoken to nobody.
   */
  #listen(now: number): number {
    const { lastRoundAt, since } = this.#listening;
    const isNew = lastRoundAt === null || now - lastRoundAt > HELD_UP_MS;
    this.#listening = { lastRoundAt: now, since: isNew ? now : since };
    return this.#listening.since;
  }

  #signsOf(signs: Signs, machine: StoredMachine, dbClock: DbClock): MachineSigns {
    return { ...signs.of(machine), silence: this.#pings.silence(machine.id, dbClock.now()) };
  }

  /** Asks the providers for their machines, at their pace; what fails leaves what was known before. */
  #list(dbClock: DbClock, signal: AbortSignal): void {
    const { settings, log, clock } = this.#deps;
    for (const { name, provider } of settings.pools) {
      const askedAt = dbClock.now();
      if (askedAt - (this.#listedAt.get(name) ?? -Infinity) < LIST_EVERY_MS) continue;
      this.#listedAt.set(name, askedAt);
      this.#calls.begin(`list of ${name}`, `list of ${name}`, async () => {
        const answer = await callProvider(clock, signal, (limited) => provider.list(limited));
        this.#blocks.noteListed(name, answer, dbClock.now());
        if (answer.kind === "ok") this.#listings.set(name, toListing(askedAt, answer.value));
        else log.warn({ pool: name, ...answer.trouble }, "provider does not tell its machines");
      });
    }
  }

  /** Whose agent it is that came under a machine's name: by that its instances are cordoned. */
  async #noteAgents(lead: Lead, machines: readonly StoredMachine[], signs: Signs): Promise<void> {
    for (const machine of machines) {
      const machineId = signs.agentOf(machine) ?? null;
      if (machine.machineId !== null || machineId === null) continue;
      Object.assign(machine, { machineId });
      await store.updateMachine(this.#deps.db, lead.epoch, machine, machine.state);
    }
  }

  /** Machines that somebody else has started are seen as well. */
  async #adoptStatic(
    lead: Lead,
    machines: StoredMachine[],
    unknown: readonly { readonly machineId: string; readonly name: string }[],
    dbClock: DbClock,
  ): Promise<void> {
    const { db, ids } = this.#deps;
    const { installation } = this.#deps.settings;
    for (const { machineId, name } of unknown) {
      // Ours: in the rows, or in its provider's list soon; or it has ended, and its agent speaks on.
      if (isOurName(name, installation)) continue;
      const given = { id: ids.next("flm"), name, pool: "static", provider: "static" as const };
      const machine = toStored(foundMachine(given, null, dbClock.now()), { machineId });
      await store.insertMachine(db, lead.epoch, machine);
      machines.push(machine);
    }
  }

  /** Where the breaker stands, and how many machines there should be. */
  async #size(
    lead: Lead,
    {
      living,
      signs,
      inForce,
      memory,
    }: {
      readonly living: readonly StoredMachine[];
      readonly signs: Signs;
      readonly inForce: LeversInForce;
      readonly memory: BreakerMemory | null;
    },
    dbClock: DbClock,
  ): Promise<RoundSummary> {
    const { db, settings, ports } = this.#deps;
    const demand = await ports.demand();
    const now = dbClock.now();
    const over = await store.readEnded(db, now - Math.max(inForce.breaker.windowMs, LATE_MS));
    const lifespans = [...living, ...over].flatMap((one) => toLifespan(one) ?? []);
    const before = memory ?? NEW_BREAKER;
    const looked = lookAtBreaker(lifespans, inForce.breaker, now, before);
    const { view } = looked;
    const byId = new Map(living.map((one) => [one.id, one]));
    const facts: FleetFacts = {
      now,
      machines: living.map(toWanted),
      signsOf: (id) => signs.of(byId.get(id) as StoredMachine),
      lifespans,
      breaker: view,
      demand,
      blockedPools: this.#blocks.at(now),
    };
    let decision = decideFleet(facts, settings.policy);
    if (decision.pools.some(({ living: there, desired }) => there > desired)) {
      await signs.readIdle(living);
      decision = decideFleet(facts, settings.policy);
    }
    const isPaused = inForce.pauses.length > 0;
    const pools = isPaused ? decision.pools.map(toPaused) : decision.pools;
    const events: FleetEvent[] = [];
    await db.transaction(async (tx) => {
      events.length = 0;
      await levers.writeBreaker(tx, lead.epoch, looked.memory);
      if (view.state !== before.state) {
        const reason = reasonText(view, inForce.breaker);
        events.push(breakerEvent(this.#deps.ids, view, reason));
      }
      for (const pool of pools) {
        await levers.writePool(tx, lead.epoch, this.#blocks.stored(pool, now));
        for (let count = 0; count < pool.ask; count += 1) {
          await store.insertMachine(tx, lead.epoch, this.#want(pool.pool, now));
        }
      }
      if (!isPaused) {
        for (const id of decision.drop) await this.#drop(tx, lead, byId.get(id), now);
        for (const id of decision.drain) await this.#keeper.drain(tx, lead, byId.get(id), now);
        for (const id of decision.keep) await this.#keeper.keep(tx, lead, byId.get(id));
      }
      await appendEvents(tx, events);
    });
    this.#tell(events, view);
    return { breaker: view, demand, pools };
  }

  #want(poolName: string, now: number): StoredMachine {
    const { settings, ids, random } = this.#deps;
    const pool = settings.policy.pools.find(({ name }) => name === poolName);
    const provider = settings.pools.find(({ name }) => name === poolName)?.provider;
    const given = {
      id: ids.next("flm"),
      name: machineName(poolName, settings.installation, random),
      pool: poolName,
      provider: provider?.kind ?? "static",
      offer: provider?.offers[0] ?? null,
      pricePerHour: pool?.pricePerHour ?? null,
    } as const;
    return toStored(wantedMachine(given, now), {});
  }

  /** One that was asked for, is not made, and is not needed any more; a person's is kept. */
  async #drop(
    tx: Transaction,
    lead: Lead,
    machine: StoredMachine | undefined,
    now: number,
  ): Promise<void> {
    if (machine === undefined || machine.forcedBy !== null) return;
    if (this.#calls.has(machine.id)) return;
    const { trouble } = machine;
    const reason = trouble === null ? "it is not needed any more" : `it was not made: ${trouble}`;
    const end = { cause: "intended", kind: null, reason } as const;
    await store.updateMachine(tx, lead.epoch, toEnded(machine, end, now), machine.state);
  }

  #tell(events: readonly FleetEvent[], view: BreakerView): void {
    const { log, onEvents } = this.#deps;
    if (events.length > 0) {
      log.warn({ state: view.state, rate: view.rate, seen: view.seen }, "breaker changed");
      onEvents(events.map(({ type }) => type));
    }
  }
}

function toPaused(decision: PoolDecision): PoolDecision {
  return decision.desired > decision.living
    ? { ...decision, ask: 0, held: "the fleet is paused" }
    : { ...decision, ask: 0 };
}
