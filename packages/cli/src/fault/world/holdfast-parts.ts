import { join } from "node:path";
import { createAgent, createHttpLink } from "@holdfast/agent";
import { createControlPlane } from "@holdfast/control-plane";
import {
  createLog,
  readControlPlaneSettings,
  formatProblems,
} from "@holdfast/control-plane/process";
import { NO_FAILPOINTS, type Clock, type Random } from "@holdfast/runtime";
import { holdfastVersion } from "../../version.ts";
import { startChild, type Child } from "./child.ts";
import { skewedClock } from "./skewed-clock.ts";

/** A part of Holdfast in a world: a process of its own, or in this one where its clock is to be wrong. */
export interface Part {
  readonly name: string;
  /** SIGKILL; a part in this process cannot be killed. */
  kill(): Promise<void>;
  /** Starts it again. */
  revive(): Promise<void>;
  stop(): Promise<void>;
  tail(): string;
}

/** What parts have in common. */
export interface PartFacts {
  readonly name: string;
  readonly folder: string;
  readonly clock: Clock;
  readonly random: Random;
  /** By how much its clock is off; 0 is right. */
  readonly clockOffMs: number;
}

const START_LIMIT_MS = 60_000;

/** Starts a replica of the control plane. */
export async function startReplica(
  facts: PartFacts,
  env: Readonly<Record<string, string>>,
): Promise<Part> {
  const own = { ...env, HOLDFAST_HOME: join(facts.folder, facts.name) };
  if (facts.clockOffMs === 0) return await startProcess(facts, ["server"], own, "control plane at");
  const parsed = readControlPlaneSettings({
    platform: process.platform,
    userFolder: facts.folder,
    env: own,
  });
  if (parsed.kind === "invalid") throw new Error(formatProblems(parsed.problems));
  const controlPlane = createControlPlane({
    settings: parsed.settings,
    version: holdfastVersion(),
    clock: skewedClock(facts.clock, facts.clockOffMs),
    random: facts.random,
    failpoints: NO_FAILPOINTS,
    log: createLog({ level: "silent" }),
  });
  await controlPlane.start();
  return inThisProcess(facts.name, () => controlPlane.stop());
}

/** Starts an agent for some ComfyUIs. */
export async function startAgent(
  facts: PartFacts,
  server: string,
  comfyuis: readonly string[],
): Promise<Part> {
  const home = join(facts.folder, facts.name);
  if (facts.clockOffMs === 0) {
    const args = ["agent", "--server", server, "--name", facts.name];
    args.push("--comfyui", comfyuis.join(","));
    return await startProcess(facts, args, { HOLDFAST_HOME: home }, "Holdfast agent");
  }
  const clock = skewedClock(facts.clock, facts.clockOffMs);
  const link = createHttpLink({ baseUrl: server, clock });
  const agent = createAgent({
    link,
    instances: comfyuis.map((url) => ({ url })),
    stateDir: home,
    machineName: facts.name,
    clock,
    random: facts.random,
    log: createLog({ level: "silent" }),
  });
  await agent.start();
  return inThisProcess(facts.name, async () => {
    await agent.stop();
    await link.close();
  });
}

async function startProcess(
  { name, folder, clock }: PartFacts,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  word: string,
): Promise<Part> {
  const start = async (): Promise<Child> => {
    const logFile = join(folder, "logs", `${name}.log`);
    const started = startChild({ name, args, env, logFile, clock });
    await started.saw(word, START_LIMIT_MS);
    return started;
  };
  let child = await start();
  return {
    name,
    kill: () => child.kill(),
    async revive() {
      if (!child.isRunning()) child = await start();
    },
    stop: () => child.stop(),
    tail: () => child.tail(),
  };
}

function inThisProcess(name: string, stop: () => Promise<void>): Part {
  const no = (): Promise<never> =>
    Promise.reject(new Error(`${name} runs in this process and cannot be killed`));
  return { name, kill: no, revive: no, stop, tail: () => "" };
}
