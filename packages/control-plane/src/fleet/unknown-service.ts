/**
 * What providers list under our label and nobody has written down: those whose agents work here are
 * written down, all others are ended once they were unknown for the time of a heartbeat, also those that
 * have ended by themselves and left something behind.
 */
import {
  decideLeftOver,
  decideUnknown,
  foundMachine,
  type PoolListing,
  type ProvidedMachine,
} from "@holdfast/fleet";
import type { DbClock } from "./db-clock.ts";
import type { FleetPool } from "./fleet-settings.ts";
import type { Lead, ReconcileDeps } from "./leader.ts";
import { LeadLost, type StoredMachine } from "./model.ts";
import { callProvider, type BackgroundCalls } from "./provider-calls.ts";
import { toStored } from "./stored-machine.ts";
import * as store from "./store.ts";
import { UnknownMachines } from "./unknown-machines.ts";

/** What a round has seen. */
export interface SeenFleet {
  readonly machines: readonly StoredMachine[];
  /** Names of agents that are there. */
  readonly serving: ReadonlySet<string>;
  /** By the pool's name. */
  readonly listings: ReadonlyMap<string, PoolListing>;
}

/** See the head of this file. */
export class UnknownKeeper {
  readonly #deps: ReconcileDeps;
  readonly #calls: BackgroundCalls;
  readonly #unknown = new UnknownMachines();

  constructor(deps: ReconcileDeps, calls: BackgroundCalls) {
    this.#deps = deps;
    this.#calls = calls;
  }

  /** Forgets what an earlier lead saw. */
  reset(): void {
    this.#unknown.clear();
  }

  /** Looks at what every pool's provider lists. */
  async look(lead: Lead, seen: SeenFleet, dbClock: DbClock, signal: AbortSignal): Promise<void> {
    const living = seen.machines.filter(({ state }) => state !== "ended");
    const known = new Map(living.map(({ name, ref }) => [name, ref]));
    for (const pool of this.#deps.settings.pools) {
      const listing = seen.listings.get(pool.name);
      // Only by a list that is newer than the rows: what was asked for since is in the rows.
      if (listing === undefined) continue;
      const isServing = (name: string): boolean => seen.serving.has(name);
      const unknown = decideUnknown(listing, known, isServing);
      const over = await this.#adopt(lead, pool, unknown.adopt, dbClock);
      const left = decideLeftOver(listing, known, isServing);
      this.#end(lead, pool, [...unknown.end, ...over, ...left], dbClock, signal);
    }
  }

  /** Writes down those that serve; gives back those that were written down before, and have ended. */
  async #adopt(
    lead: Lead,
    pool: FleetPool,
    found: readonly ProvidedMachine[],
    dbClock: DbClock,
  ): Promise<readonly ProvidedMachine[]> {
    if (found.length === 0) return [];
    const { db, log, ids } = this.#deps;
    const names = found.map(({ name }) => name);
    const ever = await store.readKnownNames(db, names);
    for (const provided of found.filter(({ name }) => !ever.has(name))) {
      const { name, ref, address } = provided;
      const given = { id: ids.next("flm"), name, pool: pool.name, provider: pool.provider.kind };
      log.warn({ machine: name, ref }, "machine found that serves and was not known");
      const machine = toStored(foundMachine(given, provided, dbClock.now()), { address });
      await store.insertMachine(db, lead.epoch, machine);
    }
    return found.filter(({ name }) => ever.has(name));
  }

  /** Their agents may only be on their way back: after a restore, or an outage of this control plane. */
  #end(
    lead: Lead,
    pool: FleetPool,
    unknown: readonly ProvidedMachine[],
    dbClock: DbClock,
    signal: AbortSignal,
  ): void {
    const waitMs = this.#deps.settings.policy.heartbeatTimeoutMs;
    for (const one of this.#unknown.due(pool.name, unknown, { now: dbClock.now(), waitMs })) {
      this.#calls.begin(one.ref, pool.name, () =>
        this.#terminate(lead, pool, one, { dbClock, signal }),
      );
    }
  }

  async #terminate(
    lead: Lead,
    { name: poolName, provider }: FleetPool,
    { name, ref, state }: ProvidedMachine,
    { dbClock, signal }: { readonly dbClock: DbClock; readonly signal: AbortSignal },
  ): Promise<void> {
    const { db, log, clock, settings } = this.#deps;
    if (!lead.isLeading()) throw new LeadLost();
    const fields = { machine: name, ref, pool: poolName };
    const answer = await callProvider(clock, signal, (limited) => provider.terminate(ref, limited));
    const again = dbClock.now() + settings.policy.terminateEveryMs;
    if (answer.kind === "trouble") {
      log.warn(
        { ...fields, ...answer.trouble },
        "machine that nobody knows not ended, tried again",
      );
      this.#unknown.told(poolName, ref, again);
    } else if (state === "ended") {
      const ever = await store.readKnownNames(db, [name]);
      // Its row has ended in good order; what is left of it is no news.
      if (ever.has(name)) log.debug(fields, "ended machine is listed still, removed");
      else log.warn(fields, "ended machine found that nobody knows, removed");
      // Once: a provider may list for good what it keeps for people to look at.
      this.#unknown.told(poolName, ref, Infinity);
    } else {
      log.warn(fields, "machine found that nobody knows, ended");
      this.#unknown.told(poolName, ref, again);
    }
  }
}
