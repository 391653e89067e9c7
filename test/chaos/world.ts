/**
 * A whole Holdfast as separate processes: Postgres, two control-plane replicas behind a balancer,
 * one agent, one simulated ComfyUI. Any of them can be killed and started again.
 */
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { join } from "node:path";
import { SILENT_LOG } from "../../packages/control-plane/src/platform/log.ts";
import {
  createEmbeddedPostgres,
  type EmbeddedPostgres,
} from "../../packages/control-plane/src/platform/postgres/embedded-postgres.ts";
import { api } from "../support/api.ts";
import {
  freePort,
  startHoldfast,
  temporaryFolder,
  until,
  type HoldfastProcess,
} from "../support/processes.ts";
import { startBalancer, type Balancer } from "./balancer.ts";
import type { Victim } from "./cells.ts";

/** Short times, so that a lost lease is seen within seconds. */
const TIMES = {
  HOLDFAST_LEASE_TTL_MS: "4000",
  HOLDFAST_POLL_WAIT_MS: "1000",
  HOLDFAST_STALL_MS: "20000",
  HOLDFAST_FIRST_LOAD_STALL_MS: "20000",
};

/** Parts of the world that are processes of ours. */
type Part = "replica-1" | "replica-2" | "agent" | "comfyui";

/** See {@link startWorld}. */
export interface World {
  readonly url: string;
  client(): ReturnType<typeof api>;
  /** Starts a part again with failpoints armed (or none), after killing it if it runs. */
  restart(part: Part, failpoints?: string): Promise<void>;
  process(part: Part): HoldfastProcess;
  /** SIGKILL; for `control-plane` the first replica. */
  kill(victim: Victim): Promise<void>;
  /** Brings a killed victim back. Postgres comes back by its supervisor. */
  revive(victim: Victim): Promise<void>;
  ready(): Promise<void>;
  output(): string;
  close(): Promise<void>;
}

/** Starts everything and waits until a job could start. */
export async function startWorld(): Promise<World> {
  const folder = await temporaryFolder();
  const postgres: EmbeddedPostgres = createEmbeddedPostgres({
    dir: join(folder.path, "pg"),
    clock: systemClock,
    random: seededRandom(1),
    log: SILENT_LOG,
  });
  await postgres.start();
  const ports = { "replica-1": await freePort(), "replica-2": await freePort() };
  const comfyPort = await freePort();
  const balancer: Balancer = await startBalancer(Object.values(ports));
  const url = `http://127.0.0.1:${balancer.port}`;
  const parts = new Map<Part, HoldfastProcess>();
  const ended: string[] = [];

  const databaseUrl = (): string => {
    const { user, password, host, port, database } = postgres.connection();
    return `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${database}`;
  };
  const start = (part: Part, failpoints: string): HoldfastProcess => {
    const armed = { HOLDFAST_FAILPOINTS: failpoints };
    switch (part) {
      case "replica-1":
      case "replica-2":
        return startHoldfast(part, ["server"], {
          ...TIMES,
          ...armed,
          HOLDFAST_HOME: join(folder.path, part),
          HOLDFAST_STORE: join(folder.path, "store"),
          HOLDFAST_PORT: String(ports[part]),
          DATABASE_URL: databaseUrl(),
        });
      case "agent":
        return startHoldfast(
          part,
          ["agent", "--server", url, "--comfyui", `http://127.0.0.1:${comfyPort}`],
          { ...armed, HOLDFAST_HOME: join(folder.path, part) },
        );
      case "comfyui":
        return startHoldfast(part, ["simulator", "--port", String(comfyPort)], {
          HOLDFAST_HOME: join(folder.path, part),
        });
    }
  };
  const restart = async (part: Part, failpoints = ""): Promise<void> => {
    const old = parts.get(part);
    if (old !== undefined) {
      await old.kill();
      ended.push(`--- ${part}\n${old.output().slice(-3_000)}`);
    }
    parts.set(part, start(part, failpoints));
    await Promise.resolve();
  };
  const process = (part: Part): HoldfastProcess => {
    const found = parts.get(part);
    if (found === undefined) throw new Error(`${part} was not started`);
    return found;
  };
  const world: World = {
    url,
    client: () => api(url),
    restart,
    process,
    async kill(victim) {
      if (victim === "postgres") {
        const pid = postgres.pid();
        if (pid !== undefined) globalThis.process.kill(pid, "SIGKILL");
        return;
      }
      await process(partOf(victim)).kill();
    },
    async revive(victim) {
      if (victim === "postgres") return;
      const part = partOf(victim);
      if (!process(part).isRunning()) await restart(part);
    },
    ready: async () => {
      await until("the world is ready", () => api(url).isReady(), 25_000).catch(
        (error: unknown) => {
          throw new Error(`not ready:\n${world.output()}`, { cause: error });
        },
      );
    },
    output: () =>
      [
        ...ended.slice(-4),
        ...[...parts].map(([name, one]) => `--- ${name}\n${one.output().slice(-6_000)}`),
      ].join("\n"),
    async close() {
      await Promise.all([...parts.values()].map((one) => one.stop("SIGTERM", 5_000)));
      await balancer.close();
      await postgres.stop();
      await folder.remove();
    },
  };
  await restart("comfyui");
  await restart("replica-1");
  await restart("replica-2");
  await restart("agent");
  await world.ready();
  return world;
}

function partOf(victim: Exclude<Victim, "postgres">): Part {
  return victim === "control-plane" ? "replica-1" : victim;
}

/** Ids for idempotency keys of tests. */
export const testIds = createIdSource(systemClock, { next: Math.random });
