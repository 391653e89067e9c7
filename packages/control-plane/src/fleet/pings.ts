/**
 * Asks the health servers of machines, where they can be reached from here: a process that hangs is
 * found sooner than by its heartbeat. What cannot be reached was perhaps never to be: it counts only
 * for a machine that has answered before.
 */
import type { MachineSigns } from "@holdfast/fleet";
import type { Clock } from "@holdfast/runtime";
import type { Log } from "../platform/log.ts";
import type { FleetPool, FleetPorts } from "./fleet-settings.ts";
import type { StoredMachine } from "./model.ts";

/** Between two questions to one machine. */
const PING_EVERY_MS = 10_000;
/** Questions that are under way at once. */
const PINGS_AT_ONCE = 64;

/** See the head of this file. */
export interface Pings {
  /** Asks whoever is due; waits for nobody. */
  look(
    machines: readonly StoredMachine[],
    signs: { healthPort(machine: StoredMachine): number | null },
    pools: readonly FleetPool[],
    signal: AbortSignal,
  ): void;
  /** Since when a machine does not answer, `now` being epoch ms; null while it does. */
  silence(machineId: string, now: number): MachineSigns["silence"];
  reset(): void;
}

interface Known {
  askedAt: number;
  hasAnswered: boolean;
  silent: { readonly since: number; readonly reason: string } | null;
}

/** Makes the {@link Pings}. */
export function createPings(deps: {
  readonly clock: Clock;
  readonly log: Log;
  readonly ports: Pick<FleetPorts, "ping">;
}): Pings {
  const { clock, log, ports } = deps;
  const known = new Map<string, Known>();
  let underWay = 0;

  const ask = async (
    machine: StoredMachine,
    url: string,
    pool: FleetPool,
    signal: AbortSignal,
  ): Promise<void> => {
    const token = (await pool.health?.token()) ?? null;
    const problem = await ports.ping(url, token, signal);
    const one = known.get(machine.id);
    if (one === undefined || signal.aborted) return;
    if (problem === null) {
      one.hasAnswered = true;
      one.silent = null;
    } else if (one.hasAnswered) {
      one.silent ??= {
        since: clock.elapsed(),
        reason: `its health server does not answer: ${problem}`,
      };
    }
  };

  return {
    look(machines, signs, pools, signal) {
      if (pools.every(({ health }) => health === null)) return;
      const living = new Set(machines.map(({ id }) => id));
      for (const id of known.keys()) if (!living.has(id)) known.delete(id);
      for (const machine of machines) {
        const pool = pools.find(({ name }) => name === machine.pool);
        const health = pool?.health ?? null;
        // An address may be somebody else's once its machine is ending.
        const isThere = machine.state === "starting" || machine.state === "ready";
        if (pool === undefined || health === null || machine.address === null || !isThere) continue;
        const one = known.get(machine.id) ?? {
          askedAt: -Infinity,
          hasAnswered: false,
          silent: null,
        };
        if (clock.elapsed() - one.askedAt < PING_EVERY_MS || underWay >= PINGS_AT_ONCE) continue;
        known.set(machine.id, one);
        one.askedAt = clock.elapsed();
        underWay += 1;
        ask(
          machine,
          addressOf(machine.address, signs.healthPort(machine) ?? health.port),
          pool,
          signal,
        )
          .catch((err: unknown) => {
            if (!signal.aborted) log.warn({ err, machine: machine.name }, "health not asked");
          })
          .finally(() => {
            underWay -= 1;
          });
      }
    },
    silence(machineId, now) {
      const silent = known.get(machineId)?.silent ?? null;
      if (silent === null) return null;
      return { reason: silent.reason, since: now - (clock.elapsed() - silent.since) };
    },
    reset: () => known.clear(),
  };
}

/** `10.0.0.7`, `2001:db8::7`, or `10.0.0.7:32001` where a provider says which port it has opened. */
function addressOf(address: string, port: number): string {
  const opened = /^([^:]+):(\d{1,5})$/.exec(address);
  if (opened !== null) return `http://${address}/health`;
  const host = address.includes(":") ? `[${address}]` : address;
  return `http://${host}:${port}/health`;
}
