import { createAgent, type Agent, type AgentLimits, type AgentOptions } from "@holdfast/agent";
import type { ControlPlaneLink } from "@holdfast/contract";
import { seededRandom } from "@holdfast/runtime";
import type { ComfyWorld, SimComfy } from "./comfy.ts";
import { createDisk, type SimDisk } from "./disk.ts";
import { createSimLink, type LinkWatch } from "./link.ts";
import type { Network } from "./network.ts";
import { createProcess, type SimProcess, type Skew } from "./process.ts";
import type { Replica } from "./replica.ts";
import type { Timeline } from "./timeline.ts";
import type { Trace } from "./trace.ts";
import { traceLog } from "./trace-log.ts";

/** A host with some ComfyUIs and, most of the time, one agent process. */
export interface Machine {
  readonly name: string;
  readonly comfys: readonly SimComfy[];
  readonly disk: SimDisk;
  readonly skew: Skew;
  agent(): { readonly process: SimProcess; readonly agent: Agent } | undefined;
  /** Starts an agent process; one that lives already goes on beside it, forgotten. */
  start(): void;
  /** Signal 9. */
  kill(): void;
  /** Signal 15: resolves, in simulated time, when it has ended in order. */
  shutDown(withinMs: number): void;
}

/** How to make a {@link Machine}. */
export interface MachineOptions {
  readonly name: string;
  readonly seed: number;
  readonly skew: Skew;
  readonly timeline: Timeline;
  readonly trace: Trace;
  readonly network: Network;
  readonly replicas: readonly Replica[];
  readonly comfyWorld: ComfyWorld;
  readonly comfys: readonly SimComfy[];
  readonly limits: Partial<AgentLimits>;
  readonly watch: LinkWatch;
  /** What else its agents are given, by their link. */
  readonly agentOptions?: (link: ControlPlaneLink) => Partial<AgentOptions>;
  /** Told of every agent that starts. */
  readonly onStart?: (agent: Agent, boot: number) => void;
}

const STATE_DIR = "/var/lib/holdfast-agent";

/** Makes a machine whose agent is not started. */
export function createMachine(options: MachineOptions): Machine {
  const { name, skew, timeline, trace, network, comfyWorld, comfys } = options;
  const disk = createDisk();
  let boots = 0;
  let running: { process: SimProcess; agent: Agent } | undefined;

  const start = (): void => {
    boots += 1;
    const seed = options.seed + boots * 1_000;
    const process = createProcess(timeline, `${name}#${boots}`, skew);
    const route = network.route(process, name, options.replicas, seededRandom(seed + 1));
    const log = traceLog(trace, process.name);
    const link = createSimLink(route, options.watch);
    const agent = createAgent({
      link,
      instances: comfys.map(({ url }) => ({ url })),
      stateDir: STATE_DIR,
      machineName: name,
      clock: process.clock,
      random: seededRandom(seed),
      log,
      limits: options.limits,
      transport: comfyWorld.connect(process, seededRandom(seed + 2)),
      disk: disk.mount(process),
      ...options.agentOptions?.(link),
    });
    options.onStart?.(agent, boots);
    trace.note(process.name, "life", "starts", "");
    running = { process, agent };
    agent.start().catch((err: unknown) => {
      log.error({ err }, "agent could not start");
      // As a supervisor does: it is started again.
      process.kill();
      timeline.after(1_000, () => {
        if (running?.process === process) start();
      });
    });
  };

  return {
    name,
    comfys,
    disk,
    skew,
    agent: () => running,
    start,
    kill() {
      if (running === undefined) return;
      trace.note(running.process.name, "life", "killed", "");
      running.process.kill();
      running = undefined;
    },
    shutDown(withinMs) {
      const ending = running;
      if (ending === undefined) return;
      running = undefined;
      const { agent, process } = ending;
      trace.note(process.name, "life", "asked to end", "");
      void agent
        .drain(withinMs)
        .then(() => agent.stop())
        .then(() => {
          trace.note(process.name, "life", "has ended", "");
          process.kill();
        });
    },
  };
}
