/**
 * What to do next about the whole fleet: which machines to ask for, which to end. Pure.
 *
 * I1. Nothing is asked for that the breaker, the gradual start, a pool's limits or the budget forbid;
 *     what forbids it is told.
 * I2. A machine is ended for want of work only after the cool-down without a job, and only while more
 *     than what is wanted would be left.
 * I3. What a provider lists under our label and nobody here has written down is ended, unless its agent
 *     works here: then it is written down.
 * I4. What one pool cannot take the next one gets: only what works in a pool, or may be started there, is
 *     taken off the demand, however many machines it should have.
 * I5. A machine that a blocked pool surely has not made is dropped, and asked for anew by and by: else a
 *     provider that is away would be asked for each in vain until each counts as a failed machine.
 */
import { spawnAllowance, type BreakerView } from "../breaker/breaker.ts";
import type { ProvidedMachine, ProviderKind } from "../provider/model.ts";
import { affordable, isPaid, spentPerHour } from "../sizing/budget.ts";
import { desiredInstances, startAllowance } from "../sizing/desired-size.ts";
import type { Lifespan } from "../lifespan.ts";
import type {
  Demand,
  FleetMachine,
  FleetPolicy,
  MachineSigns,
  PoolListing,
  PoolPolicy,
} from "./model.ts";

/** So long after its loss a machine that worked may be replaced beside those that start gradually. */
const REPLACED_WITHIN_MS = 60_000;

/** Everything that decides about the size of the fleet. */
export interface FleetFacts {
  readonly now: number;
  /** All that have not ended. */
  readonly machines: readonly FleetMachine[];
  readonly signsOf: (machineId: string) => MachineSigns;
  readonly lifespans: readonly Lifespan[];
  readonly breaker: Pick<BreakerView, "state" | "probeAt">;
  readonly demand: Demand;
  /** Pools that are asked for nothing now, with the reason: no capacity, a refused key. */
  readonly blockedPools: ReadonlyMap<string, string>;
}

/** What became of the wish for machines of one pool. */
export interface PoolDecision {
  readonly pool: string;
  readonly desired: number;
  /** Asked for, starting or ready. */
  readonly living: number;
  /** Machines to ask for now. */
  readonly ask: number;
  /** Why no more are asked for: although they are wanted, or whenever some will be. Null when all are. */
  readonly held: string | null;
}

/** What to do about the fleet. */
export interface FleetDecision {
  readonly pools: readonly PoolDecision[];
  /** Ids of machines that are not needed: drained, then ended. */
  readonly drain: readonly string[];
  /** Ids of machines that were asked for, are not made, and are not needed any more. */
  readonly drop: readonly string[];
  /** Ids of machines that were to end and are needed after all. */
  readonly keep: readonly string[];
}

/** How many machines each pool should have, and what to do about it. */
export function decideFleet(facts: FleetFacts, policy: FleetPolicy): FleetDecision {
  const desired = desiredByPool(facts, policy);
  const keep: string[] = [];
  const drain: string[] = [];
  const drop: string[] = [];
  const pools: PoolDecision[] = [];
  const limits = createLimits(facts, policy);
  for (const pool of policy.pools) {
    const wanted = desired.get(pool.name) ?? 0;
    const own = facts.machines.filter((one) => one.pool === pool.name);
    const living = own.filter(isLiving);
    // Cheaper than a new one, and at once there.
    const kept = own
      .filter(({ state }) => state === "draining")
      .slice(0, Math.max(0, wanted - living.length));
    keep.push(...kept.map(({ id }) => id));
    // What is given no work is none of what is needed, and is paid for all the same.
    const working = living.filter(
      ({ state, id }) => state !== "ready" || !facts.signsOf(id).isSetAside,
    );
    const missing = wanted - working.length - kept.length;
    // One that its provider was told to end makes room for another: a failed one is replaced at once.
    const total = own.filter(
      ({ state, terminatedAt }) => state !== "ending" || terminatedAt === null,
    ).length;
    const blocked = facts.blockedPools.get(pool.name) ?? null;
    const { ask, held } =
      missing > 0 ? limits.take(pool, missing, total) : { ask: 0, held: blocked };
    pools.push({ pool: pool.name, desired: wanted, living: living.length, ask, held });
    const over = working.length - wanted;
    const unmadeAll = living.filter(isSurelyUnmade);
    // I5
    const unmade = blocked === null ? unmadeAll.slice(0, Math.max(0, over)) : unmadeAll;
    drop.push(...unmade.map(({ id }) => id));
    const left = working.filter((one) => !unmade.includes(one));
    drain.push(...unneeded(facts, left, wanted, policy).map(({ id }) => id));
  }
  return { pools, drain, keep, drop };
}

/** What to do about machines that a provider lists and nobody here has written down. */
export function decideUnknown(
  listing: PoolListing,
  /** References by name, null where that is not known yet, of machines that are written down and live. */
  known: ReadonlyMap<string, string | null>,
  /** Whether an agent of this name works here, and no machine of the name was ever written down. */
  isServing: (name: string) => boolean,
): { readonly adopt: readonly ProvidedMachine[]; readonly end: readonly ProvidedMachine[] } {
  const unknown = listing.machines.filter(({ name, ref, state }) => {
    if (state !== "pending" && state !== "running") return false;
    const own = known.get(name);
    // Two of one name: whoever was not written down was made by a leader that had lost its lead.
    return own === undefined || (own !== null && own !== ref);
  });
  const isAdopted = ({ name }: ProvidedMachine): boolean => !known.has(name) && isServing(name);
  return {
    adopt: unknown.filter(isAdopted),
    end: unknown.filter((one) => !isAdopted(one)),
  };
}

/** One that is asked for, on its way or there: not one that is to end. */
function isLiving({ state }: FleetMachine): boolean {
  return state === "asked" || state === "starting" || state === "ready";
}

function isSurelyUnmade({ state, ref, unsureUntil }: FleetMachine): boolean {
  return state === "asked" && ref === null && unsureUntil === null;
}

function desiredByPool(facts: FleetFacts, policy: FleetPolicy): ReadonlyMap<string, number> {
  // Machines that somebody else started work as well.
  const given = facts.machines.filter(
    ({ provider, id }) =>
      provider === ("static" satisfies ProviderKind) && facts.signsOf(id).isHealthy,
  ).length;
  let left = Math.max(0, desiredInstances(facts.demand, policy) - given);
  let spent = spentPerHour(facts.machines, policy.pools);
  const desired = new Map<string, number>();
  for (const pool of policy.pools) {
    const there = usableIn(facts, pool);
    const machines = Math.ceil(left / pool.instancesPerMachine);
    const useful = facts.blockedPools.has(pool.name) ? Math.min(machines, there) : machines;
    const count = Math.min(pool.max, Math.max(pool.min, useful));
    desired.set(pool.name, count);
    // I4
    const served = Math.min(count, there + startable(facts, policy, { pool, there, spent }));
    spent += Math.max(0, served - there) * (pool.pricePerHour ?? 0);
    left = Math.max(0, left - served * pool.instancesPerMachine);
  }
  return desired;
}

/** Machines of a pool that work, or soon will: in one that is asked for nothing only those that were made. */
function usableIn(
  { machines, signsOf, blockedPools }: FleetFacts,
  { name }: Pick<PoolPolicy, "name">,
): number {
  const isBlocked = blockedPools.has(name);
  return machines.filter((one) => {
    if (one.pool !== name) return false;
    if (one.state === "ready") return !signsOf(one.id).isSetAside;
    return one.state === "starting" || (!isBlocked && isLivingOrKept(one));
  }).length;
}

/** How many more a pool may have beside those `there`, as far as itself and the budget go. */
function startable(
  { machines, signsOf, blockedPools }: FleetFacts,
  { budgetPerHour }: FleetPolicy,
  {
    pool,
    there,
    spent,
  }: { readonly pool: PoolPolicy; readonly there: number; readonly spent: number },
): number {
  if (blockedPools.has(pool.name)) return 0;
  if (budgetPerHour !== null && pool.pricePerHour === null) return 0;
  const setAside = machines.filter(
    ({ pool: name, state, id }) =>
      name === pool.name && state === "ready" && signsOf(id).isSetAside,
  ).length;
  const ofBudget = affordable(budgetPerHour, spent, pool.pricePerHour ?? 0);
  return Math.max(0, Math.min(pool.max - setAside - there, ofBudget));
}

/** A machine that is to end is kept where it is needed after all. */
function isLivingOrKept(machine: FleetMachine): boolean {
  return isLiving(machine) || machine.state === "draining";
}

/** I2. The longest without a job first, the last pool's before. */
function unneeded(
  { signsOf, now }: FleetFacts,
  living: readonly FleetMachine[],
  wanted: number,
  { coolDownMs }: FleetPolicy,
): readonly FleetMachine[] {
  const idleSince = ({ id, healthyAt }: FleetMachine): number => {
    const { idleSince: since } = signsOf(id);
    return since === null ? Infinity : Math.max(since, healthyAt ?? 0);
  };
  return living
    .filter((one) => one.state === "ready" && now - idleSince(one) >= coolDownMs)
    .toSorted((one, other) => idleSince(one) - idleSince(other))
    .slice(0, Math.max(0, living.length - wanted));
}

/** I1. One for the whole fleet: what one pool takes the next has not. */
function createLimits(
  { now, machines, breaker, lifespans, blockedPools }: FleetFacts,
  policy: FleetPolicy,
): {
  take(
    pool: PoolPolicy,
    missing: number,
    total: number,
  ): { readonly ask: number; readonly held: string | null };
} {
  const paid = machines.filter(isPaid);
  // What waits for a provider that does not answer keeps nobody else from starting.
  const onTheWay = paid.filter(
    ({ state, pool }) => state === "starting" || (state === "asked" && !blockedPools.has(pool)),
  ).length;
  let ofBreaker = spawnAllowance(breaker, onTheWay);
  const allowed = startAllowance(lifespans, policy) + countLost(lifespans, now);
  let ofStart = Math.max(0, allowed - onTheWay);
  let spent = spentPerHour(machines, policy.pools);
  return {
    take(pool, missing, total) {
      const reason = blockedPools.get(pool.name);
      if (reason !== undefined) return { ask: 0, held: reason };
      const { budgetPerHour } = policy;
      if (budgetPerHour !== null && pool.pricePerHour === null) {
        return {
          ask: 0,
          held: "there is a budget, and the price of this pool is not known: set its pricePerHour",
        };
      }
      const price = pool.pricePerHour ?? 0;
      const ofBudget = affordable(budgetPerHour, spent, price);
      const limits: readonly (readonly [number, string])[] = [
        [ofBreaker, breakerWords(breaker)],
        [
          Math.max(0, pool.max - total),
          `the pool may have ${pool.max} machines, those that are to end included`,
        ],
        [ofBudget, `the budget of ${budgetPerHour} $/h is used up`],
        [ofStart, "machines are started gradually: those on their way are waited for"],
      ];
      const ask = limits.reduce((least, [limit]) => Math.min(least, limit), missing);
      ofBreaker -= ask;
      ofStart -= ask;
      spent += ask * price;
      const held = ask === missing ? null : (limits.find(([limit]) => limit === ask)?.[1] ?? null);
      return { ask, held };
    },
  };
}

/** Machines that worked and failed a moment ago: to replace them is no growth, that would be gradual. */
function countLost(lifespans: readonly Lifespan[], now: number): number {
  return lifespans.filter(
    ({ healthyAt, end }) =>
      healthyAt !== null && end?.cause === "failed" && now - end.at < REPLACED_WITHIN_MS,
  ).length;
}

function breakerWords({ state, probeAt }: FleetFacts["breaker"]): string {
  if (state === "open") return "too many machines fail: the breaker is open";
  return probeAt === null
    ? "machines have failed: one at a time until one is healthy"
    : `machines have failed, those that were tried since too: the next one is tried at ${toInstant(probeAt)}`;
}

function toInstant(ms: number): string {
  return new Date(ms).toISOString();
}
