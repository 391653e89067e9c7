/** A machine as its operator has it: the built program, a local internet, real Python, uv and PM2. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { HealthAnswer, ServicesAnswer } from "@holdfast/machine";
import { api } from "../support/api.ts";
import { freePort, startHoldfast, until, type HoldfastProcess } from "../support/processes.ts";
import { startLocalInternet, type LocalInternet } from "./ground/local-internet.ts";
import { makeMachineFolder, type MachineFolder } from "./ground/machine-folder.ts";
import { standInManifest, type ManifestParts } from "./ground/manifest.ts";
import type { Python } from "./ground/python.ts";

/** Programs that a whole machine needs; see `ground/tools.ts`. */
export interface Programs {
  readonly python: Python;
  readonly uv: string;
  readonly pm2: string;
}

/** A service as the health server tells it. */
export type Service = ServicesAnswer["services"][number];

/** See the head of this file. */
export interface WholeMachine {
  readonly folder: MachineFolder;
  readonly internet: LocalInternet;
  /** First port of its instances. */
  readonly basePort: number;
  readonly manifestPath: string;
  /** Writes the manifest anew: the stand-in with these keys replaced. */
  writeManifest(more?: ManifestParts): void;
  /** The control plane, started by the first call. */
  client(): Promise<ReturnType<typeof api>>;
  serverUrl(): string;
  /** The control plane's process. */
  server(): HoldfastProcess;
  startServer(): Promise<HoldfastProcess>;
  startAgent(args?: readonly string[], env?: Readonly<Record<string, string>>): HoldfastProcess;
  /** `holdfast machine …`, to its end. */
  machine(
    args: readonly string[],
    env?: Readonly<Record<string, string>>,
  ): Promise<{ readonly code: number | string; readonly output: string }>;
  health(): Promise<HealthAnswer>;
  service(name: string): Promise<Service | undefined>;
  /** Waits until a service is in a state, and returns it. */
  untilState(name: string, state: string, limitMs?: number): Promise<Service>;
  /** Id of the release that serves. */
  release(): string | undefined;
  close(): Promise<void>;
}

const STATE_LIMIT_MS = 120_000;

/** Makes a machine; nothing of it runs yet. */
export async function makeWholeMachine(
  programs: Programs,
  more: ManifestParts = {},
): Promise<WholeMachine> {
  const folder = await makeMachineFolder();
  const internet = await startLocalInternet(folder.path);
  const [basePort, port, healthPort] = [
    await freePairOfPorts(),
    await freePort(),
    await freePort(),
  ];
  const started: HoldfastProcess[] = [];
  let server: HoldfastProcess | undefined;
  const env = {
    HOLDFAST_HOME: join(folder.path, "home"),
    HOLDFAST_MACHINE_DIR: folder.machine,
    HOLDFAST_MACHINE_MANIFEST: join(folder.path, "machine.yaml"),
    HOLDFAST_UV: programs.uv,
    HOLDFAST_PM2: programs.pm2,
    HOLDFAST_HEALTH_PORT: String(healthPort),
    HOLDFAST_URL: `http://127.0.0.1:${port}`,
    HOLDFAST_LEASE_TTL_MS: "5000",
  };
  const run = (
    name: string,
    args: readonly string[],
    extra: Readonly<Record<string, string>> = {},
  ): HoldfastProcess => {
    const one = startHoldfast(name, args, { ...env, ...extra });
    started.push(one);
    return one;
  };
  const ask = async <T>(path: string): Promise<T> => {
    const response = await fetch(`http://127.0.0.1:${healthPort}${path}`);
    return (await response.json()) as T;
  };
  const service = async (name: string): Promise<Service | undefined> => {
    const { services } = await ask<ServicesAnswer>("/services");
    return services.find((one) => one.name === name);
  };
  const writeManifest = (extra: ManifestParts = {}): void => {
    folder.writeManifest(
      standInManifest(internet, programs.python, basePort, { ...more, ...extra }),
    );
  };
  writeManifest();
  const machine: WholeMachine = {
    folder,
    internet,
    basePort,
    manifestPath: env.HOLDFAST_MACHINE_MANIFEST,
    writeManifest,
    serverUrl: () => env.HOLDFAST_URL,
    server() {
      if (server === undefined) throw new Error("the control plane was not started");
      return server;
    },
    async startServer() {
      server = run("server", ["server"], { HOLDFAST_PORT: String(port) });
      await server.saw("control plane at");
      return server;
    },
    async client() {
      if (server === undefined) await machine.startServer();
      return api(env.HOLDFAST_URL);
    },
    startAgent: (args = [], extra = {}) => run("agent", ["agent", "--name", "box", ...args], extra),
    async machine(args, extra = {}) {
      const one = run("machine", ["machine", ...args], extra);
      const code = await one.exited;
      return { code, output: one.output() };
    },
    health: () => ask<HealthAnswer>("/health"),
    service,
    untilState: (name, state, limitMs = STATE_LIMIT_MS) =>
      until(
        `${name} is ${state}`,
        async () => {
          const found = await service(name);
          if (found?.state === state) return found;
          throw new Error(`it is ${found?.state ?? "not there"}: ${found?.reason ?? ""}`);
        },
        limitMs,
      ),
    release() {
      const file = join(folder.machine, "machine.lock.json");
      if (!existsSync(file)) return undefined;
      return (JSON.parse(readFileSync(file, "utf8")) as { release: string }).release;
    },
    async close() {
      for (const one of started.reverse()) await one.stop("SIGTERM", 60_000);
      await internet.close();
      await folder.close();
    },
  };
  return machine;
}

/** Two ports, one after the other, that were free a moment ago. */
async function freePairOfPorts(): Promise<number> {
  const { tryPort } = await import("@holdfast/runtime/host");
  for (;;) {
    const port = await freePort();
    if (port > 60_000) continue;
    if ((await tryPort("127.0.0.1", port + 1)).kind === "free") return port;
  }
}
