/** A machine as its operator has it: the built program, a local internet, real Python, uv and PM2. */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { JobView } from "@holdfast/contract";
import type { HealthAnswer, ServicesAnswer } from "@holdfast/machine";
import { api } from "../support/api.ts";
import { freePort, startHoldfast, until, type HoldfastProcess } from "../support/processes.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { startLocalInternet, type LocalInternet } from "./ground/local-internet.ts";
import { makeMachineFolder, type MachineFolder } from "./ground/machine-folder.ts";
import { standInManifest, type ManifestParts } from "./ground/manifest.ts";
import { processesWith, type LeftProcess } from "./ground/processes-left.ts";
import { findPython, type Python } from "./ground/python.ts";
import { writeFaults, type StandInFaults } from "./ground/stand-in.ts";
import { findPm2, findUv } from "./ground/tools.ts";

/** Programs that a whole machine needs; see `ground/tools.ts`. */
export interface Programs {
  readonly python: Python;
  readonly uv: string;
  readonly pm2: string;
}

/** The programs; undefined, having said so, where one of them cannot be had. */
export async function findPrograms(file: string): Promise<Programs | undefined> {
  const [python, uv, pm2] = [findPython(), await findUv(), await findPm2()];
  if (python !== undefined && uv !== undefined && pm2 !== undefined) return { python, uv, pm2 };
  console.warn(`test/machine/${file}: SKIPPED, it needs Python, uv and PM2`);
  return undefined;
}

/** A service as the health server tells it. */
export type Service = ServicesAnswer["services"][number];

/** Environment over the machine's own; undefined takes a name out. */
export type MoreEnv = Readonly<Record<string, string | undefined>>;

/** The API as tests call it. */
export type Client = ReturnType<typeof api>;

/** What a command came to. */
export interface CommandEnd {
  readonly code: number | string;
  /** Both streams. */
  readonly output: string;
}

/** See the head of this file. */
export interface WholeMachine {
  readonly folder: MachineFolder;
  readonly internet: LocalInternet;
  /** First port of its instances. */
  readonly basePort: number;
  readonly healthPort: number;
  readonly manifestPath: string;
  /** Writes the manifest anew: the stand-in with these keys replaced. */
  writeManifest(more?: ManifestParts): void;
  /** The control plane, started by the first call. */
  client(): Promise<Client>;
  serverUrl(): string;
  /** The control plane's process. */
  server(): HoldfastProcess;
  /** Starts it, also once more after it has ended. */
  startServer(more?: MoreEnv): Promise<HoldfastProcess>;
  startAgent(args?: readonly string[], more?: MoreEnv): HoldfastProcess;
  /** Those that were started, the first one first. */
  agents(): readonly HoldfastProcess[];
  /** Any `holdfast` command, to its end. */
  holdfast(args: readonly string[], more?: MoreEnv): Promise<CommandEnd>;
  /** `holdfast machine …`, to its end. */
  machine(args: readonly string[], more?: MoreEnv): Promise<CommandEnd>;
  /** Asks the health server. */
  get(path: string): Promise<Response>;
  health(): Promise<HealthAnswer>;
  services(): Promise<readonly Service[]>;
  service(name: string): Promise<Service>;
  /** Waits until a service is in a state, and returns it. */
  untilState(name: string, state: string, limitMs?: number): Promise<Service>;
  /** Process of an instance that is running. */
  pid(name: string): Promise<number>;
  /** What the stand-in of an instance does wrong from its next start on; nothing with `{}`. */
  setFaults(name: string, faults: StandInFaults): void;
  /** The same for one that runs; resolves when it has noticed. */
  changeFaults(name: string, faults: StandInFaults): Promise<void>;
  /** Id of the release that serves. */
  release(): string | undefined;
  /** Processes of the machine: agent, PM2, instances, programs of the installer. */
  processes(): readonly LeftProcess[];
  close(): Promise<void>;
}

/** Of the instances of any test: two, and a slice of a card after both. */
const PORTS = 3;
/** Generous: other work may load the machine. */
const STATE_LIMIT_MS = 120_000;
const END_LIMIT_MS = 60_000;

/** Waits until all of these jobs are completed. */
export async function untilCompleted(client: Client, jobs: readonly JobView[]): Promise<void> {
  for (const { id } of jobs) {
    await until(
      `job ${id} is completed`,
      async () => {
        const job = await client.job(id);
        if (job.status === "completed") return true;
        throw new Error(`it is ${JSON.stringify(job)}`);
      },
      STATE_LIMIT_MS,
    );
  }
}

/** Makes a machine; nothing of it runs yet. */
export async function makeWholeMachine(
  programs: Programs,
  more: ManifestParts = {},
): Promise<WholeMachine> {
  const folder = await makeMachineFolder();
  const internet = await startLocalInternet(folder.path);
  const [basePort, port, healthPort] = [await freePort(PORTS), await freePort(), await freePort()];
  const started: HoldfastProcess[] = [];
  let server: HoldfastProcess | undefined;
  let database: TestDatabase | undefined;
  const env = {
    HOLDFAST_HOME: join(folder.path, "home"),
    HOLDFAST_MACHINE_DIR: folder.machine,
    HOLDFAST_MACHINE_MANIFEST: join(folder.path, "machine.yaml"),
    HOLDFAST_UV: programs.uv,
    HOLDFAST_PM2: programs.pm2,
    HOLDFAST_HEALTH_PORT: String(healthPort),
    HOLDFAST_URL: `http://127.0.0.1:${port}`,
    HOLDFAST_LEASE_TTL_MS: "5000",
    HOLDFAST_STALL_MS: "3000",
    HOLDFAST_FIRST_LOAD_STALL_MS: "3000",
  };
  const run = (name: string, args: readonly string[], extra: MoreEnv = {}): HoldfastProcess => {
    const all = Object.entries({ ...env, ...extra });
    const given = all.filter((entry): entry is [string, string] => entry[1] !== undefined);
    const one = startHoldfast(name, args, Object.fromEntries(given));
    started.push(one);
    return one;
  };
  const get = (path: string): Promise<Response> =>
    fetch(`http://127.0.0.1:${healthPort}${path}`, { signal: AbortSignal.timeout(20_000) });
  const services = async (): Promise<readonly Service[]> =>
    ((await (await get("/services")).json()) as ServicesAnswer).services;
  const service = async (name: string): Promise<Service> => {
    const all = await services();
    const found = all.find((one) => one.name === name);
    if (found !== undefined) return found;
    throw new Error(`there is no service ${name}, only ${all.map((one) => one.name).join(", ")}`);
  };
  const writeManifest = (extra: ManifestParts = {}): void => {
    folder.writeManifest(
      standInManifest(internet, programs.python, basePort, { ...more, ...extra }),
    );
  };
  const holdfast = async (args: readonly string[], extra: MoreEnv = {}): Promise<CommandEnd> => {
    const one = run(args.join(" "), args, extra);
    const code = await one.exited;
    return { code, output: one.output() };
  };
  writeManifest();
  const machine: WholeMachine = {
    folder,
    internet,
    basePort,
    healthPort,
    manifestPath: env.HOLDFAST_MACHINE_MANIFEST,
    writeManifest,
    serverUrl: () => env.HOLDFAST_URL,
    server() {
      if (server === undefined) throw new Error("the control plane was not started");
      return server;
    },
    async startServer(extra = {}) {
      database ??= await createTestDatabase({ max: 1 });
      server = run("server", ["server"], {
        HOLDFAST_PORT: String(port),
        DATABASE_URL: database.url,
        ...extra,
      });
      await server.saw("control plane at");
      return server;
    },
    async client() {
      if (server === undefined) await machine.startServer();
      return api(env.HOLDFAST_URL);
    },
    startAgent: (args = [], extra = {}) => run("agent", ["agent", "--name", "box", ...args], extra),
    agents: () => started.filter(({ name }) => name === "agent"),
    holdfast,
    machine: (args, extra = {}) => holdfast(["machine", ...args], extra),
    get,
    health: async () => (await (await get("/health")).json()) as HealthAnswer,
    services,
    service,
    untilState: (name, state, limitMs = STATE_LIMIT_MS) =>
      until(
        `${name} is ${state}`,
        async () => {
          const found = await service(name);
          if (found.state === state) return found;
          throw new Error(`it is ${found.state}: ${found.reason}`);
        },
        limitMs,
      ),
    async pid(name) {
      const { runtime, reason } = await service(name);
      if (runtime.pid === null) throw new Error(`${name} has no process: ${reason}`);
      return runtime.pid;
    },
    setFaults(name, faults) {
      const user = join(folder.machine, "instances", name, "user");
      mkdirSync(user, { recursive: true });
      writeFaults(user, faults);
    },
    async changeFaults(name, faults) {
      const log = join(folder.machine, "instances", name, "logs", "out.log");
      const noticed = (): number => readFileSync(log, "utf8").split("stand-in faults:").length;
      const before = noticed();
      machine.setFaults(name, faults);
      await until(`${name} notices`, () => noticed() > before, STATE_LIMIT_MS);
    },
    release() {
      const file = join(folder.machine, "machine.lock.json");
      if (!existsSync(file)) return undefined;
      return (JSON.parse(readFileSync(file, "utf8")) as { release: string }).release;
    },
    processes: () => {
      const own = started.filter(({ name }) => name !== "agent").map(({ pid }) => pid);
      return processesWith(folder.machine).filter(({ pid }) => !own.includes(pid));
    },
    async close() {
      for (const one of started.reverse()) await one.stop("SIGTERM", END_LIMIT_MS);
      await internet.close();
      await folder.close();
      await database?.drop();
    },
  };
  return machine;
}
