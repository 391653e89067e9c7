/**
 * A whole Holdfast as separate processes: Postgres, two control-plane replicas behind a balancer,
 * one agent, one simulated ComfyUI. Any of them can be killed or paused, and brought back.
 */
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { SILENT_LOG } from "../../packages/control-plane/src/platform/log.ts";
import {
  createEmbeddedPostgres,
  type EmbeddedPostgres,
} from "../../packages/control-plane/src/platform/postgres/embedded-postgres.ts";
import type { StatementEdits } from "../../packages/control-plane/testing/unfenced.ts";
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

/** A lease's time in this world: short, so that a lost one is seen within seconds. */
export const LEASE_TTL_MS = 4_000;
const TIMES = {
  HOLDFAST_LEASE_TTL_MS: String(LEASE_TTL_MS),
  HOLDFAST_POLL_WAIT_MS: "1000",
  HOLDFAST_STALL_MS: "20000",
  HOLDFAST_FIRST_LOAD_STALL_MS: "20000",
};
/** The successor's renders take so many times longer: the job is in its hands for seconds. */
const SUCCESSOR_TIME_SCALE = 5;
const STOP_LIMIT_MS = 15_000;

/** Parts of the world that are processes of ours; those with `successor` run on demand only. */
type Part = "replica-1" | "replica-2" | "agent" | "comfyui" | SuccessorPart;
type SuccessorPart = "successor" | (typeof SUCCESSOR_COMFYUIS)[number];
const SUCCESSOR_COMFYUIS = ["successor-comfyui-1", "successor-comfyui-2"] as const;

/** How to make a world. */
export interface WorldOptions {
  /** Statements that the replicas send to Postgres in other words, by name: a world without a fence. */
  readonly statementEdits?: Readonly<Record<string, StatementEdits>>;
}

/** See {@link startWorld}. */
export interface World {
  readonly url: string;
  /** Names of the successor's instances, as attempts show them. */
  readonly successorInstances: readonly string[];
  client(): ReturnType<typeof api>;
  /** Starts a part again with failpoints armed (or none), after killing it if it runs. */
  restart(part: Part, failpoints?: string): Promise<void>;
  process(part: Part): HoldfastProcess;
  /** SIGKILL. */
  kill(victim: Victim): Promise<void>;
  /** Brings a killed victim back. Postgres comes back by its supervisor. */
  revive(victim: Victim): Promise<void>;
  /** SIGSTOP, to all processes of Postgres. The balancer takes a paused replica out. */
  pause(victim: Victim): Promise<void>;
  /** SIGCONT to what is paused. */
  resume(): Promise<void>;
  /** Starts another agent with two ComfyUIs of its own, slow ones: room for all jobs of a cell. */
  startSuccessor(): Promise<void>;
  /** Ends a part in order: it says what it has to say. Nothing to do when it does not run. */
  end(part: Part): Promise<void>;
  ready(): Promise<void>;
  output(): string;
  close(): Promise<void>;
}

/** Starts everything and waits until a job could start. */
export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const folder = await temporaryFolder();
  const postgres: EmbeddedPostgres = createEmbeddedPostgres({
    dir: join(folder.path, "pg"),
    clock: systemClock,
    random: seededRandom(1),
    log: SILENT_LOG,
  });
  await postgres.start();
  const ports = {
    "replica-1": await freePort(),
    "replica-2": await freePort(),
    comfyui: await freePort(),
    "successor-comfyui-1": await freePort(),
    "successor-comfyui-2": await freePort(),
  };
  const balancer: Balancer = await startBalancer([ports["replica-1"], ports["replica-2"]]);
  const url = `http://127.0.0.1:${balancer.port}`;
  const parts = new Map<Part, HoldfastProcess>();
  const ended: string[] = [];
  let stopped: readonly number[] = [];

  const start = (part: Part, failpoints: string): HoldfastProcess =>
    startHoldfast(part, argumentsOf(part, url, ports), {
      HOLDFAST_HOME: join(folder.path, part),
      HOLDFAST_FAILPOINTS: failpoints,
      ...(isReplica(part) && {
        ...TIMES,
        ...unfencing(options.statementEdits),
        HOLDFAST_STORE: join(folder.path, "store"),
        HOLDFAST_PORT: String(ports[part]),
        DATABASE_URL: urlOf(postgres),
      }),
    });
  const process = (part: Part): HoldfastProcess => {
    const found = parts.get(part);
    if (found === undefined) throw new Error(`${part} was not started`);
    return found;
  };
  const isRunning = (part: Part): boolean => parts.get(part)?.isRunning() === true;
  /** Stops a victim's processes; returns them. */
  const stop = async (victim: Victim): Promise<readonly number[]> => {
    const pids = partsOf(victim).map((part) => process(part).pid);
    if (victim === "postgres") pids.push(postgres.pid() ?? Number.NaN);
    signal("SIGSTOP", pids);
    if (victim !== "postgres") return pids;
    // Its children are groups of their own. By now it makes no more of them.
    const children = await childrenOf(postgres.pid() ?? Number.NaN);
    signal("SIGSTOP", children);
    return [...pids, ...children];
  };
  const world: World = {
    url,
    successorInstances: SUCCESSOR_COMFYUIS.map((part) => comfyuiUrl(ports[part])),
    client: () => api(url),
    process,
    async restart(part, failpoints = "") {
      const old = parts.get(part);
      if (old !== undefined) {
        await old.kill();
        ended.push(`--- ${part}\n${old.output().slice(-3_000)}`);
      }
      parts.set(part, start(part, failpoints));
    },
    async kill(victim) {
      if (victim === "postgres") signal("SIGKILL", [postgres.pid() ?? Number.NaN]);
      await Promise.all(partsOf(victim).map((part) => process(part).kill()));
    },
    async revive(victim) {
      for (const part of partsOf(victim)) if (!isRunning(part)) await world.restart(part);
    },
    async pause(victim) {
      stopped = await stop(victim);
      if (partsOf(victim).includes("replica-1")) balancer.setOut(ports["replica-1"], true);
    },
    async resume() {
      signal("SIGCONT", stopped);
      stopped = [];
      balancer.setOut(ports["replica-1"], false);
    },
    async startSuccessor() {
      for (const part of SUCCESSOR_COMFYUIS) {
        if (!isRunning(part)) await world.restart(part);
      }
      await world.restart("successor");
    },
    async end(part) {
      if (isRunning(part)) await process(part).stop("SIGTERM", STOP_LIMIT_MS);
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
      signal("SIGCONT", stopped);
      await Promise.all([...parts.values()].map((one) => one.stop("SIGTERM", 5_000)));
      await balancer.close();
      await postgres.stop();
      await folder.remove();
    },
  };
  for (const part of ["comfyui", "replica-1", "replica-2", "agent"] as const) {
    await world.restart(part);
  }
  await world.ready();
  return world;
}

function argumentsOf(
  part: Part,
  url: string,
  ports: Readonly<Record<Exclude<Part, "agent" | "successor">, number>>,
): readonly string[] {
  switch (part) {
    case "replica-1":
    case "replica-2":
      return ["server"];
    case "agent":
      return ["agent", "--server", url, "--comfyui", comfyuiUrl(ports.comfyui)];
    case "successor": {
      const both = SUCCESSOR_COMFYUIS.map((name) => comfyuiUrl(ports[name])).join(",");
      return ["agent", "--server", url, "--name", "successor", "--comfyui", both];
    }
    case "comfyui":
      return ["simulator", "--port", String(ports[part])];
    case "successor-comfyui-1":
    case "successor-comfyui-2": {
      const scale = String(SUCCESSOR_TIME_SCALE);
      return ["simulator", "--port", String(ports[part]), "--time-scale", scale];
    }
  }
}

function comfyuiUrl(port: number): string {
  return `http://127.0.0.1:${port}`;
}

function isReplica(part: Part): part is "replica-1" | "replica-2" {
  return part === "replica-1" || part === "replica-2";
}

/** The processes of ours that a victim consists of. */
export function partsOf(victim: Victim): readonly ("replica-1" | "agent" | "comfyui")[] {
  switch (victim) {
    case "control-plane":
      return ["replica-1"];
    case "box":
      return ["replica-1", "agent", "comfyui"];
    case "postgres":
      return [];
    case "agent":
    case "comfyui":
      return [victim];
  }
}

function urlOf(postgres: EmbeddedPostgres): string {
  const { user, password, host, port, database } = postgres.connection();
  return `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${database}`;
}

function unfencing(edits: WorldOptions["statementEdits"]): Readonly<Record<string, string>> {
  if (edits === undefined) return {};
  return {
    NODE_OPTIONS: `--import ${new URL("./unfence-preload.mjs", import.meta.url).href}`,
    HOLDFAST_TEST_STATEMENT_EDITS: JSON.stringify(edits),
  };
}

/** Sends a signal to processes, of which some may be gone. */
function signal(name: NodeJS.Signals, pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      if (Number.isSafeInteger(pid)) globalThis.process.kill(pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

/** The children of a process, by what Linux tells of every process: `pid (name) state parent …`. */
async function childrenOf(parent: number): Promise<number[]> {
  const children: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, "utf8").catch(() => ""); // It has ended.
    if (stat.slice(stat.lastIndexOf(")")).split(" ")[2] === String(parent)) {
      children.push(Number(name));
    }
  }
  return children;
}

/** Ids for idempotency keys of tests. */
export const testIds = createIdSource(systemClock, { next: Math.random });
