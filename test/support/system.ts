/**
 * A whole Holdfast in one process, on a database of its own: control plane, agent, simulated
 * ComfyUIs. Quick to start, and every part can be told to fail.
 */
import { join } from "node:path";
import { createAgent, type Agent, type AgentOptions } from "@holdfast/agent";
import { createControlPlane, type ControlPlane } from "@holdfast/control-plane";
import { readControlPlaneSettings } from "@holdfast/control-plane/process";
import { NO_FAILPOINTS, seededRandom } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { startSimulator, type Simulator, type SimulatorOptions } from "@holdfast/simulator";
import { SILENT_LOG } from "../../packages/control-plane/src/platform/log.ts";
import { api } from "./api.ts";
import { temporaryFolder, until } from "./processes.ts";
import { createTestDatabase } from "./test-database.ts";

/** Agent's times in tests: a death is seen in a second, not in a minute. */
const QUICK_LIMITS: NonNullable<AgentOptions["limits"]> = {
  healthEveryMs: 500,
  troubleEveryMs: 50,
  silentDeathMs: 3_000,
  silentLookMs: 200,
  silentLookMaxMs: 1_000,
  blindLookMs: 50,
  blindLookMaxMs: 500,
  stallFloorMs: 500,
  stopConfirmMs: 2_000,
  deepCheckMs: 3_000,
  linkBackoffMs: 50,
  linkBackoffMaxMs: 500,
};

/** How to make a system. */
export interface SystemOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** One entry an instance; default one instant simulator. */
  readonly simulators?: readonly Partial<SimulatorOptions>[];
  readonly limits?: AgentOptions["limits"];
  /** What else the agent is given: a supervisor, a fetcher, a link that fails. */
  readonly agentOptions?: (of: {
    readonly simulators: readonly Simulator[];
    readonly controlPlane: ControlPlane;
  }) => Partial<AgentOptions>;
  /** False: no agent. */
  readonly agent?: boolean;
}

/** A running system. */
export interface TestSystem {
  readonly controlPlane: ControlPlane;
  readonly url: string;
  readonly client: ReturnType<typeof api>;
  readonly simulators: readonly Simulator[];
  readonly agent: Agent | undefined;
  readonly folder: string;
  /** Ends the agent without a word, as a crash does, and starts a new one on the same folder. */
  restartAgent(): Promise<void>;
  close(): Promise<void>;
}

/** Starts a system and waits until a job could start. */
export async function startSystem(options: SystemOptions = {}): Promise<TestSystem> {
  const database = await createTestDatabase();
  const folder = await temporaryFolder();
  const settings = readControlPlaneSettings({
    platform: process.platform,
    userFolder: folder.path,
    env: {
      HOLDFAST_HOME: join(folder.path, "home"),
      HOLDFAST_PORT: "0",
      DATABASE_URL: database.url,
      HOLDFAST_LEASE_TTL_MS: "4000",
      HOLDFAST_POLL_WAIT_MS: "1000",
      HOLDFAST_STALL_MS: "2000",
      HOLDFAST_FIRST_LOAD_STALL_MS: "2000",
      ...options.env,
    },
  });
  if (settings.kind === "invalid") throw new Error(JSON.stringify(settings.problems));
  const controlPlane = createControlPlane({
    settings: settings.settings,
    version: "test",
    clock: systemClock,
    random: systemRandom,
    failpoints: NO_FAILPOINTS,
    log: SILENT_LOG,
  });
  await controlPlane.start();
  const simulators = await Promise.all(
    (options.simulators ?? [{}]).map((one) =>
      startSimulator({ clock: systemClock, timeScale: 0, restartDelayMs: 200, ...one }),
    ),
  );
  const makeAgent = (): Agent =>
    createAgent({
      link: controlPlane.link(),
      instances: simulators.map((simulator) => ({ url: simulator.url })),
      stateDir: join(folder.path, "agent"),
      machineName: "test-machine",
      clock: systemClock,
      random: seededRandom(3),
      log: SILENT_LOG,
      limits: { ...QUICK_LIMITS, ...options.limits },
      ...options.agentOptions?.({ simulators, controlPlane }),
    });
  let agent: Agent | undefined;
  const client = api(controlPlane.url());
  if (options.agent !== false) {
    agent = makeAgent();
    await agent.start();
    await until("the system is ready", () => client.isReady(), 20_000);
  }
  return {
    controlPlane,
    url: controlPlane.url(),
    client,
    simulators,
    get agent() {
      return agent;
    },
    folder: folder.path,
    async restartAgent() {
      await agent?.stop();
      agent = makeAgent();
      await agent.start();
    },
    async close() {
      await agent?.stop();
      await controlPlane.stop();
      await Promise.all(simulators.map((simulator) => simulator.stop()));
      await database.drop();
      await folder.remove();
    },
  };
}
