/**
 * Machines by a person's word: written down for the leader, with who and why. A request under a key that
 * was used before finds the machines of that time: an answer that was lost costs nothing.
 */
import { createHash } from "node:crypto";
import { canonicalJson } from "@holdfast/comfyui/protocol";
import { HoldfastError, type FleetMachineView } from "@holdfast/contract";
import { wantedMachine, type BreakerView } from "@holdfast/fleet";
import type { IdSource, Random } from "@holdfast/runtime";
import { takeAdvisoryLock } from "../platform/advisory-lock.ts";
import type { Db, Transaction } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import type { FleetPool, FleetSettings } from "./fleet-settings.ts";
import * as levers from "./lever-store.ts";
import { machineName } from "./machine-name.ts";
import type { LeversInForce, StoredMachine } from "./model.ts";
import type { Signs } from "./signs.ts";
import { spawnBlock, spawnProblem } from "./spawn-limits.ts";
import { toStored } from "./stored-machine.ts";
import * as store from "./store.ts";
import { toBreakerView, toMachineView } from "./views.ts";

/** Key of the lock under which people start machines. */
const SPAWN_LOCK = 4_801_402;

/** What is to be started by a person's word. */
export interface SpawnRequest {
  readonly pool: string | undefined;
  readonly count: number;
  readonly force: boolean;
  readonly reason: string;
  readonly by: string;
  /** A name of the caller's own for the request; undefined: sent again, it starts others. */
  readonly key: string | undefined;
}

/** What came of it. */
export interface Spawned {
  readonly machines: readonly FleetMachineView[];
  /** False when the key had been used before: these are the machines of that time. */
  readonly isNew: boolean;
}

/** The fleet as it was looked at before. */
export interface SpawnLook {
  readonly now: number;
  readonly breaker: BreakerView;
  readonly inForce: LeversInForce;
  readonly signs: Signs;
}

/** What it is made of. */
export interface SpawnDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly random: Random;
  readonly log: Log;
  readonly settings: FleetSettings;
}

/**
 * Writes the machines down. Throws `spawning_blocked` while something forbids them and they are not
 * forced, `invalid_request` for what no force helps, `idempotency_conflict` for a key that was used for
 * something else.
 */
export async function spawnMachines(
  request: SpawnRequest,
  look: SpawnLook,
  deps: SpawnDeps,
): Promise<Spawned> {
  const { db, ids, settings, log } = deps;
  const pool = findPool(request.pool, settings);
  const { count, force: isForced, reason, by, key } = request;
  const value = { pool: pool.name, count, isForced };
  const claim = key === undefined ? null : { key, hash: hashOf({ ...value, reason }) };
  const done = await db.transaction(async (tx) => {
    // One after the other: each counts what the one before has asked for.
    await takeAdvisoryLock(tx, SPAWN_LOCK);
    const before = claim === null ? undefined : await readBefore(tx, by, claim);
    if (before !== undefined) return { machines: before, isNew: false };
    await assertAllowed(tx, { request, pool, look, settings });
    const machines = Array.from({ length: count }, () => wanted(pool, by, look.now, deps));
    await levers.insertLever(tx, {
      id: ids.next("lev"),
      kind: "force",
      value,
      reason,
      madeBy: by,
      request: claim === null ? null : { ...claim, machineIds: machines.map(({ id }) => id) },
    });
    for (const machine of machines) await store.insertForced(tx, machine);
    return { machines, isNew: true };
  });
  if (done.isNew) log.warn({ ...value, by, reason }, "machines started by a person");
  const { signs, now } = look;
  return { ...done, machines: done.machines.map((one) => toMachineView(one, signs.of(one), now)) };
}

async function readBefore(
  tx: Transaction,
  by: string,
  { key, hash }: { readonly key: string; readonly hash: string },
): Promise<readonly StoredMachine[] | undefined> {
  const stored = await levers.findRequest(tx, by, key);
  if (stored === undefined) return undefined;
  if (stored.hash !== hash) {
    throw new HoldfastError(
      "idempotency_conflict",
      "this Idempotency-Key was used with another body; use a new key for other machines",
    );
  }
  const machines = await store.readMachines(tx, stored.machineIds);
  if (machines.length === stored.machineIds.length) return machines;
  throw new HoldfastError(
    "idempotency_conflict",
    "this Idempotency-Key was used before, and its machines ended and were forgotten since; use a new key for other machines",
  );
}

async function assertAllowed(
  tx: Transaction,
  {
    request,
    pool,
    look,
    settings,
  }: {
    readonly request: SpawnRequest;
    readonly pool: FleetPool;
    readonly look: SpawnLook;
    readonly settings: FleetSettings;
  },
): Promise<void> {
  const { policy } = settings;
  const poolPolicy = policy.pools.find(({ name }) => name === pool.name);
  if (poolPolicy === undefined) return;
  const { breaker, inForce } = look;
  const facts = {
    count: request.count,
    pool: poolPolicy,
    policy,
    machines: await store.readLiving(tx),
    breaker,
    breakerWords: toBreakerView(breaker, inForce.breaker, inForce.pauses).reason,
    isPaused: inForce.pauses.length > 0,
  };
  const block = request.force ? null : spawnBlock(facts);
  if (block !== null) throw new HoldfastError("spawning_blocked", block);
  const problem = spawnProblem(facts);
  if (problem !== null) throw new HoldfastError("invalid_request", problem);
}

function wanted(
  { name: pool, provider }: FleetPool,
  forcedBy: string,
  now: number,
  { ids, random, settings }: SpawnDeps,
): StoredMachine {
  const given = {
    id: ids.next("flm"),
    name: machineName(pool, settings.installation, random),
    pool,
    provider: provider.kind,
    offer: provider.offers[0] ?? null,
    pricePerHour: settings.policy.pools.find(({ name }) => name === pool)?.pricePerHour ?? null,
  };
  return toStored(wantedMachine(given, now), { forcedBy });
}

function hashOf(request: object): string {
  return createHash("sha256").update(canonicalJson(request)).digest("hex");
}

function findPool(name: string | undefined, { pools }: FleetSettings): FleetPool {
  const pool = name === undefined ? pools[0] : pools.find((one) => one.name === name);
  if (pool !== undefined && (name !== undefined || pools.length === 1)) return pool;
  const names = pools.map((one) => one.name).join(", ");
  throw new HoldfastError(
    "invalid_request",
    pools.length === 0
      ? "no pool is configured: name the fleet's file by HOLDFAST_FLEET_FILE"
      : `pool: expected one of ${names}, found ${name ?? "none"}`,
  );
}
