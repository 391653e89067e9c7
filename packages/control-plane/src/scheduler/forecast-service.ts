import type { Clock } from "@holdfast/runtime";
import { canServe } from "../machines/eligibility.ts";
import type { InventoryIndex, Needs } from "../machines/model.ts";
import type { MachinesService } from "../machines/service.ts";
import type { Db } from "../platform/db.ts";
import { createSharedLook } from "../platform/shared-look.ts";
import { cardName } from "../profiles/card-name.ts";
import type { ProfilesService } from "../profiles/service.ts";
import { forecastJobs, type LiveJob, type WaitingJob } from "./forecast.ts";
import { readQueue, type LiveRow, type WaitingRow } from "./forecast-store.ts";

/** What a forecast is made of. */
export interface ForecastDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly profiles: Pick<ProfilesService, "typicalMs">;
  readonly machines: Pick<MachinesService, "servers">;
  readonly needsOf: (requirementId: number) => Promise<Needs>;
  readonly leaseTtlMs: number;
}

/** The queue as it will go. */
export interface Forecast {
  /** Ms until each job is completed, for those of which it can be told. */
  readonly etas: ReadonlyMap<string, number>;
  /** What a waiting job takes, ms on average; null when most of them are not known. */
  readonly waitingJobMs: number | null;
}

/** Gives {@link Forecast}s. */
export interface ForecastService {
  /** One that is no older than a second. */
  forecast(): Promise<Forecast>;
}

/** Jobs of the queue's head that are looked at; of those behind them nothing is told. */
const WAITING_SEEN = 2_000;
/** Leases that are looked at. With more, instances would look free that are not: nothing is told. */
const LIVE_SEEN = 20_000;
/** A forecast is this old at most: whoever asks meanwhile gets the same. */
const FORECAST_MAX_AGE_MS = 1_000;

/** Makes the service. */
export function createForecastService(deps: ForecastDeps): ForecastService {
  const { db, profiles } = deps;

  const make = async (): Promise<Forecast> => {
    const [{ waiting: rows, live }, servers] = await Promise.all([
      readQueue(db, { waiting: WAITING_SEEN, live: LIVE_SEEN + 1 }, deps.leaseTtlMs),
      deps.machines.servers(),
    ]);
    if (live.length > LIVE_SEEN) return { etas: new Map(), waitingJobMs: null };
    const inventories = new Map<string, InventoryIndex>();
    const cards = new Map<string, string>();
    for (const { instance, inventory } of servers.instances) {
      inventories.set(inventory.digest, inventory);
      cards.set(instance.id, cardName(inventory.deviceName));
    }
    const msOf = await timesOf(rows, inventories);
    const waiting = [...rows].sort(byOrder).map((row): WaitingJob => {
      return { jobId: row.jobId, msOn: (kind) => msOf(row, kind) };
    });
    const instances = servers.instances.map(({ instance, inventory }) => ({
      id: instance.id,
      kind: inventory.digest,
    }));
    const lives = live.map((row) => toLiveJob(row, cards.get(row.instanceId)));
    return {
      etas: forecastJobs(instances, lives, waiting),
      waitingJobMs: averageOf(rows.map(({ costKey }) => profiles.typicalMs(costKey))),
    };
  };

  /** What jobs take on each kind of instance; undefined where they cannot run. */
  const timesOf = async (
    rows: readonly WaitingRow[],
    inventories: ReadonlyMap<string, InventoryIndex>,
  ) => {
    const needs = new Map<number, Needs>();
    for (const id of new Set(rows.map(({ requirementId }) => requirementId))) {
      needs.set(id, await deps.needsOf(id));
    }
    const servable = new Map<string, boolean>();
    return ({ requirementId, costKey }: WaitingRow, kind: string): number | null | undefined => {
      const inventory = inventories.get(kind);
      const own = needs.get(requirementId);
      if (inventory === undefined || own === undefined) return undefined;
      const key = `${kind}:${requirementId}`;
      const can = servable.get(key) ?? canServe(inventory, own);
      servable.set(key, can);
      return can ? profiles.typicalMs(costKey, cardName(inventory.deviceName)) : undefined;
    };
  };

  const toLiveJob = (row: LiveRow, card: string | undefined): LiveJob => {
    const { jobId, instanceId } = row;
    if (row.phase === "collecting") return { jobId, instanceId, remainingMs: 0 };
    const typicalMs = profiles.typicalMs(row.costKey, card);
    const hasRunMs = row.phase === "staged" ? 0 : row.runMs === null ? null : row.runMs + row.ageMs;
    const isKnown = typicalMs !== null && hasRunMs !== null;
    // One that takes longer than usual may end at any moment.
    const remainingMs = isKnown ? Math.max(0, typicalMs - hasRunMs) : null;
    return { jobId, instanceId, remainingMs };
  };

  return { forecast: createSharedLook(make, { clock: deps.clock, maxMs: FORECAST_MAX_AGE_MS }) };
}

function byOrder(a: WaitingRow, b: WaitingRow): number {
  if (a.priority !== b.priority) return b.priority - a.priority;
  if (a.rank !== b.rank) return a.rank - b.rank;
  return a.jobId < b.jobId ? -1 : 1;
}

/** Of the known ones; null when they are the lesser part. */
function averageOf(times: readonly (number | null)[]): number | null {
  const known = times.filter((ms) => ms !== null);
  if (known.length === 0 || known.length * 2 < times.length) return null;
  return known.reduce((sum, ms) => sum + ms, 0) / known.length;
}
