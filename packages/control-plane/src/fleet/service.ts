/** The fleet for people: how it is, and what they may set. Any replica answers; the leader acts. */
import {
  HoldfastError,
  type FleetMachineView,
  type FleetStatus,
  type LeverView,
  type SystemHealth,
} from "@holdfast/contract";
import {
  lookAtBreaker,
  NEW_BREAKER,
  parseInstant,
  toLifespan,
  type BreakerView,
} from "@holdfast/fleet";
import type { IdSource, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { adviceOf } from "./advice.ts";
import type { FleetPorts, FleetSettings } from "./fleet-settings.ts";
import { readLead } from "./lead-store.ts";
import { leverProblem, leversInForce, standingProblem } from "./levers.ts";
import * as levers from "./lever-store.ts";
import type { Lever, LeversInForce, StoredMachine } from "./model.ts";
import { createSigns, type Signs } from "./signs.ts";
import { spawnMachines, type Spawned, type SpawnRequest } from "./spawn-service.ts";
import * as store from "./store.ts";
import { judgeHealth, type HealthFacts } from "./system-health.ts";
import { toBreakerView, toFailures, toInstant, toLeverView, toMachineView } from "./views.ts";

/** Machines that a status names. */
const MACHINES_TOLD = 200;

/** A number about the fleet. */
export interface FleetSample {
  readonly metric: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** What stands behind it, for a person. */
  readonly words?: string;
}

/** See the head of this file. */
export interface FleetService {
  /** `timelineMax`: points of the timeline, {@link TIMELINE_POINTS} unless said otherwise. */
  status(timelineMax?: number): Promise<FleetStatus>;
  health(checks: HealthFacts["checks"]): Promise<SystemHealth>;
  /** What alerts go by. */
  samples(): Promise<readonly FleetSample[]>;
  /** Machines without a heartbeat that have ended here. */
  endedAgents(): Promise<number>;
  machines(page: {
    readonly before: string | null;
    readonly limit: number;
    readonly isLiving: boolean;
  }): Promise<readonly FleetMachineView[]>;
  levers(page: {
    readonly before: string | null;
    readonly limit: number;
  }): Promise<readonly LeverView[]>;
  /** Throws `invalid_request` for a value that cannot be. */
  setLever(
    lever: Pick<Lever, "kind" | "value" | "reason"> & { readonly by: string },
  ): Promise<LeverView>;
  /** Throws `not_found` for one that is not in force. */
  undoLever(
    id: string,
    undone: { readonly by: string; readonly reason: string | undefined },
  ): Promise<LeverView>;
  /** See {@link spawnMachines} for what it throws. */
  spawn(request: SpawnRequest): Promise<Spawned>;
  /** Throws `not_found` for one that is not there, or ends already. */
  endMachine(
    ref: string,
    request: { readonly reason: string; readonly now: boolean; readonly by: string },
  ): Promise<FleetMachineView>;
}

/** What it is made of. */
export interface FleetServiceDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly random: Random;
  readonly log: Log;
  readonly settings: FleetSettings;
  readonly ports: Pick<FleetPorts, "demand">;
}

/** Makes the {@link FleetService}. */
export function createFleetService(deps: FleetServiceDeps): FleetService {
  const { db, ids, log } = deps;
  const look = createLook(deps);
  return {
    status: async (timelineMax) => toStatus(await look(), deps, timelineMax),
    async health(checks) {
      return judgeHealth({ fleet: toStatus(await look(), deps), checks });
    },
    samples: async () => toSamples(toStatus(await look(), deps)),
    endedAgents: () => store.countEndedAgents(db),
    async machines(page) {
      const [found, { signs, now }] = await Promise.all([store.listMachines(db, page), look()]);
      return found.map((one) => toMachineView(one, signs.of(one), now));
    },
    levers: async (page) => (await levers.listLevers(db, page)).map(toLeverView),
    async setLever({ kind, value: given, reason, by }) {
      const value = kind === "clear" ? parseInstant(given) : given;
      const set = await levers.readLeversInForce(db);
      const problem =
        leverProblem(kind, value ?? given, await levers.readNow(db)) ??
        standingProblem(kind, value, set);
      if (problem !== null) throw new HoldfastError("invalid_request", problem);
      const lever = { id: ids.next("lev"), kind, value, reason, madeBy: by, request: null };
      const made = await levers.insertLever(db, lever);
      log.warn({ kind, value, by, reason }, "lever of the fleet set");
      return toLeverView(made);
    },
    async undoLever(id, { by, reason }) {
      const undone = await levers.undoLever(db, id, { by, reason });
      if (undone === undefined) {
        throw new HoldfastError("not_found", `there is no lever ${id.slice(0, 64)} in force`);
      }
      log.warn({ lever: id, kind: undone.kind, by, reason }, "lever of the fleet undone");
      return toLeverView(undone);
    },
    spawn: async (request) => await spawnMachines(request, await look(), deps),
    async endMachine(ref, request) {
      const machine = await store.findMachine(db, ref);
      if (machine === undefined) {
        throw new HoldfastError("not_found", `the fleet has no machine ${ref.slice(0, 64)}`);
      }
      if (!(await store.requestEnd(db, machine.id, request))) {
        const why =
          machine.provider === "static" ? "was started by somebody else" : `is ${machine.state}`;
        throw new HoldfastError("not_found", `${machine.name} cannot be ended here: it ${why}`);
      }
      log.warn({ machine: machine.name, ...request }, "end of a machine asked for");
      const { signs, now } = await look();
      return toMachineView({ ...machine, endRequest: request }, signs.of(machine), now);
    },
  };
}

/** Everything that is looked at for a status. */
interface Look {
  readonly now: number;
  readonly living: readonly StoredMachine[];
  /** Ended within the window. */
  readonly over: readonly StoredMachine[];
  readonly signs: Signs;
  readonly breaker: BreakerView;
  readonly inForce: LeversInForce;
  readonly demand: Awaited<ReturnType<FleetPorts["demand"]>>;
  readonly pools: Awaited<ReturnType<typeof levers.readPools>>;
  readonly isLed: boolean;
}

function createLook({ db, settings, ports }: FleetServiceDeps): () => Promise<Look> {
  const source = createSigns(db);
  return async () => {
    const now = await levers.readNow(db);
    const [living, set, memory, pools, demand, lead] = await Promise.all([
      store.readLiving(db),
      levers.readLeversInForce(db),
      levers.readBreaker(db),
      levers.readPools(db),
      ports.demand(),
      readLead(db),
    ]);
    const inForce = leversInForce(settings.breaker, set);
    const over = await store.readEnded(db, now - inForce.breaker.windowMs);
    const lifespans = [...living, ...over].flatMap((one) => toLifespan(one) ?? []);
    const { view } = lookAtBreaker(lifespans, inForce.breaker, now, memory ?? NEW_BREAKER);
    const signs = await source.read(living, now);
    return {
      now,
      living,
      over,
      signs,
      breaker: view,
      inForce,
      demand,
      pools,
      isLed: lead?.isLed === true,
    };
  };
}

function toStatus(look: Look, { settings }: FleetServiceDeps, timelineMax?: number): FleetStatus {
  const { now, living, signs, demand, inForce } = look;
  const views = living.map((one) => toMachineView(one, signs.of(one), now));
  const count = (...states: readonly FleetMachineView["state"][]): number =>
    views.filter(({ state }) => states.includes(state)).length;
  const leverViews = inForce.levers.map(toLeverView);
  const breaker = toBreakerView(look.breaker, inForce.breaker, inForce.pauses, timelineMax);
  const counts = {
    living: count("asked", "starting", "ready", "draining"),
    healthy: views.filter(({ isHealthy }) => isHealthy).length,
    starting: count("asked", "starting"),
    draining: count("draining"),
    ending: count("ending"),
  };
  const status: Omit<FleetStatus, "advice"> = {
    breaker,
    counts,
    machines: views.toReversed().slice(0, MACHINES_TOLD),
    failures: toFailures([...living, ...look.over], inForce.breaker, now).map((one) =>
      toMachineView(one, signs.of(one), now),
    ),
    queuedTasks: demand.waitingJobs,
    runningTasks: demand.runningJobs,
    oldestQueuedMs: demand.oldestWaitMs === null ? null : Math.round(demand.oldestWaitMs),
    pools: settings.policy.pools.map((pool) => {
      const stored = look.pools.find(({ name }) => name === pool.name);
      const blockedUntil = stored?.blockedUntil ?? null;
      const own = living.filter((one) => one.pool === pool.name && one.end === null);
      return {
        name: pool.name,
        provider: pool.provider,
        min: pool.min,
        max: pool.max,
        desired: stored?.decision?.desired ?? null,
        living: own.length,
        held: stored?.decision?.held ?? stored?.reason ?? null,
        blockedUntil: blockedUntil === null ? null : toInstant(blockedUntil),
        blockKind: stored?.blockKind ?? null,
      };
    }),
    levers: leverViews,
    costPerHour: living.reduce((sum, { pricePerHour }) => sum + (pricePerHour ?? 0), 0),
    isLed: look.isLed,
  };
  return { ...status, advice: adviceOf(status) };
}

function toSamples(status: FleetStatus): readonly FleetSample[] {
  const { breaker, counts, pools, machines, queuedTasks, runningTasks } = status;
  const others = machines.filter(({ provider }) => provider === "static").length;
  const desired = pools.reduce((sum, pool) => sum + (pool.desired ?? pool.min), 0);
  const wanted = Math.max(desired, others, queuedTasks + runningTasks > 0 ? 1 : 0);
  const sample = (metric: string, value: number, words?: string): FleetSample => ({
    metric,
    labels: {},
    value,
    ...(words !== undefined && { words }),
  });
  return [
    sample("fleet_failure_rate", breaker.rate, breaker.text),
    sample("fleet_failure_rate_checked", breaker.seen >= breaker.minimum ? 1 : 0),
    sample("fleet_machines_healthy", counts.healthy),
    sample("fleet_machines_expected", wanted),
  ];
}
