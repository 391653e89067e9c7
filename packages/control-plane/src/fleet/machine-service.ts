/**
 * Keeps single machines of the fleet: what the decision says is written down, done, and written down
 * again. Every step may be the last one of this process.
 */
import {
  asking,
  decideMachine,
  draining,
  gone,
  isFollowedAtOnce,
  kept,
  notMade,
  notTerminated,
  providedOf,
  ready,
  terminated,
  type MachineAction,
  type MachineSigns,
  type PoolListing,
  type ProviderTrouble,
} from "@holdfast/fleet";
import type { Transaction } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { appendEvents } from "../platform/outbox.ts";
import type { DbClock } from "./db-clock.ts";
import { machineEvents } from "./fleet-events.ts";
import type { FleetPool, PoolEnv } from "./fleet-settings.ts";
import { assertLeads } from "./lead-store.ts";
import type { Lead, ReconcileDeps } from "./leader.ts";
import { LeadLost, type EndRequest, type StoredMachine } from "./model.ts";
import type { PoolBlocks } from "./pool-blocks.ts";
import { callProvider, PROVIDER_CALL_MS, type BackgroundCalls } from "./provider-calls.ts";
import { toEnded, toMade } from "./stored-machine.ts";
import * as store from "./store.ts";

/** The provider was not even asked. */
const REFUSED_HERE = { kind: "invalid", retryAfterMs: null, mayHaveHappened: false } as const;
/** What is done about one machine in one round. */
const STEPS_AT_ONCE = 4;

/** A machine as a round has seen it. */
export interface SeenMachine {
  readonly signs: MachineSigns;
  readonly listing: PoolListing | null;
  /** The instant of the signs, epoch ms. */
  readonly at: number;
  /** Since when agents can be heard, epoch ms. */
  readonly listeningSince: number;
  /** Providers may be asked for machines. */
  readonly mayAsk: boolean;
}

/** What it is made of. */
export interface MachineKeeperDeps extends ReconcileDeps {
  readonly blocks: PoolBlocks;
  readonly calls: BackgroundCalls;
}

/** See the head of this file. */
export class MachineKeeper {
  readonly #deps: MachineKeeperDeps;

  constructor(deps: MachineKeeperDeps) {
    this.#deps = deps;
  }

  /**
   * Does the next thing about a machine, as it was seen, or begins to, where its provider has to be
   * asked. One machine's trouble is not the others'.
   */
  async act(
    lead: Lead,
    machine: StoredMachine,
    seen: SeenMachine,
    dbClock: DbClock,
    signal: AbortSignal,
  ): Promise<void> {
    const { policy } = this.#deps.settings;
    // Its provider is being asked: what comes of that is written down first.
    if (this.#deps.calls.has(machine.id)) return;
    const pool = policy.pools.find(isPoolOf(machine)) ?? null;
    const listing = pool === null ? null : seen.listing;
    try {
      if (await this.#endAsAsked(lead, machine, dbClock)) return;
      await this.#follow(lead, machine, listing);
      for (let step = 0; step < STEPS_AT_ONCE; step += 1) {
        const { signs, at: now, listeningSince, mayAsk } = seen;
        const { endRequest } = machine;
        const wantedEnd = endRequest === null ? null : wordsOf(endRequest);
        const facts = { machine, signs, listing, pool, now, listeningSince, wantedEnd };
        const action = decideMachine(facts, policy);
        // A person who forces a machine has had his word.
        if (action.kind === "ask" && !mayAsk && machine.forcedBy === null) return;
        if (action.kind === "end" && action.isUnplaced === true)
          this.#noteUnplaced(machine, dbClock);
        if (pool === null) await this.#tellUnlisted(lead, machine, action);
        await this.#do(lead, machine, action, { listing, dbClock, signal });
        if (!isFollowedAtOnce(action) || this.#deps.calls.has(machine.id)) return;
      }
    } catch (err) {
      if (err instanceof LeadLost || signal.aborted) throw err;
      // One machine's trouble is not the others'.
      this.#deps.log.error({ err, machine: machine.name }, "machine not kept");
    }
  }

  /** What its provider tells of it by and by; and instances that came to it while it is to end. */
  async #follow(lead: Lead, machine: StoredMachine, listing: PoolListing | null): Promise<void> {
    const address = providedOf(machine, listing)?.address ?? null;
    if (address !== null && address !== machine.address && machine.ref !== null) {
      await this.#write(lead, machine, { ...machine, address });
    }
    const { machineId, state } = machine;
    if (state !== "draining" || machineId === null) return;
    await this.#deps.db.transaction(async (tx) => {
      await assertLeads(tx, lead.epoch);
      await this.#deps.ports.cordon(tx, machineId, true);
    });
  }

  /** What is asked for and nobody can find is shown with the reason; given up, a person should look. */
  async #tellUnlisted(lead: Lead, machine: StoredMachine, action: MachineAction): Promise<void> {
    if (machine.state !== "asked") return;
    if (action.kind === "nothing" && action.reason !== machine.trouble) {
      await this.#write(lead, machine, { ...machine, trouble: action.reason });
    }
    if (action.kind === "end" && action.isGivenUp === true) {
      const { name, pool, provider } = machine;
      const fields = { machine: name, pool, provider, reason: action.reason };
      this.#deps.log.error(fields, "machine given up: it may be there, and be paid for");
    }
  }

  #noteUnplaced({ pool, offerIndex }: StoredMachine, dbClock: DbClock): void {
    const message = "it took a request and found no place for it";
    const trouble = {
      kind: "capacity",
      message,
      retryAfterMs: null,
      mayHaveHappened: true,
    } as const;
    this.#deps.blocks.note(pool, trouble, offerIndex, 1, dbClock.now());
  }

  /** A person's word goes before every decision. */
  async #endAsAsked(lead: Lead, machine: StoredMachine, dbClock: DbClock): Promise<boolean> {
    const { endRequest, state } = machine;
    if (endRequest === null || state === "ending" || state === "ended") return false;
    if (state === "ready" && !endRequest.now) {
      await this.#deps.db.transaction((tx) => this.drain(tx, lead, machine, dbClock.now()));
      return true;
    }
    if (state === "draining" && !endRequest.now) return false;
    const end = { cause: "intended", kind: null, reason: wordsOf(endRequest) } as const;
    await this.#write(lead, machine, toEnded(machine, end, dbClock.now()));
    return true;
  }

  async #do(
    lead: Lead,
    machine: StoredMachine,
    action: MachineAction,
    {
      listing,
      dbClock,
      signal,
    }: {
      readonly listing: PoolListing | null;
      readonly dbClock: DbClock;
      readonly signal: AbortSignal;
    },
  ): Promise<void> {
    switch (action.kind) {
      case "nothing":
        return;
      case "ask":
        return this.#begin(machine, () => this.#ask(lead, machine, dbClock, signal));
      case "adopt":
        return await this.#write(lead, machine, toMade(machine, action.provided, dbClock.now()));
      case "become_ready":
        return await this.#write(lead, machine, { ...machine, ...ready(machine, dbClock.now()) });
      case "fail": {
        const { failure: kind, reason } = action;
        const end = { cause: "failed", kind, reason } as const;
        return await this.#write(lead, machine, toEnded(machine, end, dbClock.now()));
      }
      case "end": {
        const end = { cause: "intended", kind: null, reason: action.reason } as const;
        return await this.#write(lead, machine, toEnded(machine, end, dbClock.now()));
      }
      case "terminate":
        return this.#begin(machine, () =>
          this.#terminate(lead, machine, { listing, dbClock, signal }),
        );
      default:
        return await this.#write(lead, machine, { ...machine, ...gone(machine) });
    }
  }

  #begin(machine: StoredMachine, work: () => Promise<void>): void {
    this.#deps.calls.begin(machine.id, machine.pool, work);
  }

  async #ask(
    lead: Lead,
    machine: StoredMachine,
    dbClock: DbClock,
    signal: AbortSignal,
  ): Promise<void> {
    const { settings } = this.#deps;
    const pool = settings.pools.find(isProviderOf(machine));
    const offer = pool?.provider.offers[machine.offerIndex];
    if (pool === undefined || offer === undefined) return;
    const env = await this.#envOf(pool, machine.name);
    if (env.kind === "invalid") {
      const trouble = { ...REFUSED_HERE, message: env.problem };
      await this.#notMade(lead, machine, { pool, trouble, dbClock });
      return;
    }
    const unsureUntil = dbClock.now() + PROVIDER_CALL_MS + settings.policy.listLagMs;
    await this.#write(lead, machine, { ...machine, ...asking(machine, unsureUntil), offer });
    // Whoever takes over waits until `unsureUntil` for what this call makes: it must not come later.
    if (!lead.isLeading()) throw new LeadLost();
    const request = { name: machine.name, offer, env: env.env };
    const answer = await callProvider(this.#deps.clock, signal, (limited) =>
      pool.provider.create(request, limited),
    );
    if (answer.kind === "trouble") {
      await this.#notMade(lead, machine, { pool, trouble: answer.trouble, dbClock });
      return;
    }
    this.#deps.blocks.noteMade(pool.name);
    await this.#write(lead, machine, toMade(machine, answer.value, dbClock.now()));
  }

  async #notMade(
    lead: Lead,
    machine: StoredMachine,
    why: {
      readonly pool: FleetPool;
      readonly trouble: ProviderTrouble;
      readonly dbClock: DbClock;
    },
  ): Promise<void> {
    const { log, random, blocks } = this.#deps;
    const { pool, trouble, dbClock } = why;
    const { name, offer, offerIndex } = machine;
    log.warn({ machine: name, pool: pool.name, offer, ...trouble }, "machine not made");
    blocks.note(pool.name, trouble, offerIndex, pool.provider.offers.length, dbClock.now());
    const left = notMade(machine, trouble, dbClock.now(), random);
    await this.#write(lead, machine, { ...machine, ...left, trouble: trouble.message });
  }

  async #envOf(pool: FleetPool, name: string): Promise<PoolEnv> {
    const { ports, settings } = this.#deps;
    const own = await pool.env();
    if (own.kind === "invalid") return own;
    const token = await ports.enrol(name);
    return {
      kind: "ok",
      env: {
        ...own.env,
        HOLDFAST_URL: settings.publicUrl(),
        HOLDFAST_MACHINE_NAME: name,
        ...(token !== null && { HOLDFAST_ENROLL_TOKEN: token }),
      },
    };
  }

  async #terminate(
    lead: Lead,
    machine: StoredMachine,
    {
      listing,
      dbClock,
      signal,
    }: {
      readonly listing: PoolListing | null;
      readonly dbClock: DbClock;
      readonly signal: AbortSignal;
    },
  ): Promise<void> {
    const { settings, log } = this.#deps;
    const pool = settings.pools.find(isProviderOf(machine));
    const ref = machine.ref ?? listing?.byName.get(machine.name)?.ref;
    if (pool === undefined || ref === undefined) {
      log.error(
        { machine: machine.name, pool: machine.pool },
        "machine cannot be ended: its pool is not in the settings; it may still be paid for",
      );
      return;
    }
    if (!lead.isLeading()) throw new LeadLost();
    const answer = await callProvider(this.#deps.clock, signal, (limited) =>
      pool.provider.terminate(ref, limited),
    );
    if (answer.kind === "trouble") {
      log.warn({ machine: machine.name, ...answer.trouble }, "machine not ended, tried again");
      const nextAskAt = dbClock.now() + settings.policy.terminateEveryMs;
      await this.#write(lead, machine, { ...machine, ...notTerminated(machine, nextAskAt) });
      return;
    }
    await this.#write(lead, machine, { ...machine, ...terminated(machine, dbClock.now()) });
  }

  /** No more jobs for it. */
  async drain(
    tx: Transaction,
    lead: Lead,
    machine: StoredMachine | undefined,
    now: number,
  ): Promise<void> {
    if (machine === undefined) return;
    const { state } = machine;
    await store.updateMachine(tx, lead.epoch, { ...machine, ...draining(machine, now) }, state);
    if (machine.machineId !== null) await this.#deps.ports.cordon(tx, machine.machineId, true);
  }

  /** Jobs for it again. */
  async keep(tx: Transaction, lead: Lead, machine: StoredMachine | undefined): Promise<void> {
    if (machine === undefined) return;
    const { state } = machine;
    await store.updateMachine(tx, lead.epoch, { ...machine, ...kept(machine) }, state);
    if (machine.machineId !== null) await this.#deps.ports.cordon(tx, machine.machineId, false);
  }

  /** Writes a machine and tells what happened to it, in one transaction. */
  async #write(lead: Lead, before: StoredMachine, after: StoredMachine): Promise<void> {
    const { db, ids, onEvents, log } = this.#deps;
    const events = machineEvents(ids, before, after);
    const hasFailed = before.end === null && after.end?.cause === "failed";
    const isChange = before.state !== after.state || events.length > 0;
    await db.transaction(async (tx) => {
      await store.updateMachine(tx, lead.epoch, after, before.state);
      await appendEvents(tx, events);
    });
    Object.assign(before, after);
    if (isChange) logChange(log, after, hasFailed);
    if (events.length > 0) onEvents(events.map(({ type }) => type));
  }
}

/** A failure is a warning where it happens; what is done about it afterwards is not. */
function logChange(log: Log, { name, pool, state, end }: StoredMachine, hasFailed: boolean): void {
  const { cause, kind, reason } = end ?? {};
  const fields = { machine: name, pool, state, cause, kind: kind ?? undefined, reason };
  if (hasFailed) log.warn(fields, "machine of the fleet failed");
  else log.info(fields, "machine of the fleet");
}

/** Who wants it ended and why: what its end is told with. */
function wordsOf({ by, reason }: EndRequest): string {
  return `${by} wanted it ended: ${reason}`;
}

/** A pool of another provider under the same name is another pool. */
function isPoolOf({ pool, provider }: StoredMachine) {
  return (one: { readonly name: string; readonly provider: string }): boolean =>
    one.name === pool && one.provider === provider;
}

function isProviderOf({ pool, provider }: StoredMachine) {
  return (one: FleetPool): boolean => one.name === pool && one.provider.kind === provider;
}
