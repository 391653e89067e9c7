/** What {@link ServingMachine} works with on a real host. */
import { stat } from "node:fs/promises";
import type { AgentLog } from "@holdfast/agent";
import type { Clock } from "@holdfast/runtime";
import { HostLocks, lockFolders, type InstanceLocks } from "../instances/host-locks.ts";
import type { HostProcesses } from "../instances/host-processes.ts";
import { nodeInstanceFiles, type InstanceFiles } from "../instances/instance-files.ts";
import { linuxProcesses } from "../instances/linux-processes.ts";
import type { MachinePlaces } from "../machine-places.ts";
import { createExitExplainer, type ExitExplainer } from "../process-manager/exit-evidence.ts";
import type { ProcessManager } from "../process-manager/model.ts";
import { createPm2ProcessManager } from "../process-manager/pm2-process-manager.ts";
import { MARK } from "../process-manager/process-marks.ts";
import { readMarkedProcesses } from "../process-manager/process-table.ts";
import { createHttpProbe, type Probe } from "../services/probe.ts";
import { createProcessHost, type ProcessHost } from "../services/process-host.ts";
import type { MachinePrograms } from "./machine-options.ts";

/** Its ports to the host. */
export interface ServingRooms {
  readonly manager: ProcessManager;
  /** Why a process of the manager's ended. */
  readonly exits: ExitExplainer;
  readonly host: HostProcesses;
  readonly locks: InstanceLocks;
  readonly files: InstanceFiles;
  readonly processHost: ProcessHost;
  readonly probe: Probe;
  /** Names of the living processes that were started from this machine folder. */
  readonly livingNames: () => Promise<readonly string[]>;
  /** Cards of AMD's are seen, though not told apart. */
  readonly hasAmdGpu: () => Promise<boolean>;
}

/** What they are made of. */
export interface ServingRoomsOptions {
  readonly places: MachinePlaces;
  readonly programs: MachinePrograms;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: AgentLog;
}

/** Where programs of services are looked for when the agent has no PATH. */
const DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin";

/** Makes them; nothing is started. */
export function createServingRooms(options: ServingRoomsOptions): ServingRooms {
  const { places, programs, env, clock, log } = options;
  const host = linuxProcesses(places.root, clock);
  return {
    manager: createPm2ProcessManager({
      machine: places.root,
      pm2Home: places.pm2Home,
      tools: places.tools,
      ownPm2: programs.pm2,
      env,
      clock,
      log,
    }),
    exits: createExitExplainer(places.pm2Home),
    host,
    locks: new HostLocks({
      folders: lockFolders(),
      root: places.root,
      clock,
      host,
      pid: process.pid,
    }),
    files: nodeInstanceFiles,
    processHost: createProcessHost(clock, searchPath(env)),
    probe: createHttpProbe(clock),
    livingNames: async () =>
      (await readMarkedProcesses(places.root)).map(({ marks }) => marks[MARK.name]),
    hasAmdGpu: async () => (await stat("/dev/kfd").catch(() => undefined)) !== undefined,
  };
}

/** PATH of the services. */
export function searchPath(env: Readonly<Record<string, string | undefined>>): string {
  return env["PATH"] ?? DEFAULT_PATH;
}
