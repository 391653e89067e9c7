import { join } from "node:path";
import { createAgent, createHttpLink, type HttpLink } from "@holdfast/agent";
import { createControlPlane } from "@holdfast/control-plane";
import {
  createLog,
  readControlPlaneSettings,
  formatProblems,
} from "@holdfast/control-plane/process";
import { mintedAtMs, NO_FAILPOINTS, type Clock, type Random } from "@holdfast/runtime";
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
  /** By how much its clock is off, as others see it by the ids that it mints; null where none was seen. */
  clockOffMs(): Promise<number | null>;
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
const CALL_LIMIT_MS = 5_000;

/** Starts a replica of the control plane. */
export async function startReplica(
  facts: PartFacts,
  env: Readonly<Record<string, string>>,
): Promise<Part> {
  const own: Record<string, string> = { ...env, HOLDFAST_HOME: join(facts.folder, facts.name) };
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
  return inThisProcess(facts.name, {
    stop: () => controlPlane.stop(),
    clockOffMs: () => offByItsAnswer(`http://127.0.0.1:${own["HOLDFAST_PORT"]}`, facts.clock),
  });
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
  let offMs: number | null = null;
  const register: HttpLink["register"] = (request, signal) => {
    // The one thing that it tells of its clock: when this process of it began.
    offMs ??= offBy(request.bootId, facts.clock.now());
    return link.register(request, signal);
  };
  const agent = createAgent({
    link: { ...link, register },
    instances: comfyuis.map((url) => ({ url })),
    stateDir: home,
    machineName: facts.name,
    clock,
    random: facts.random,
    log: createLog({ level: "silent" }),
  });
  await agent.start();
  return inThisProcess(facts.name, {
    async stop() {
      await agent.stop();
      await link.close();
    },
    clockOffMs: () => Promise.resolve(offMs),
  });
}

/** A replica mints an id for every request. */
async function offByItsAnswer(url: string, clock: Clock): Promise<number | null> {
  const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(CALL_LIMIT_MS) });
  await answer.arrayBuffer();
  return offBy(answer.headers.get("x-request-id") ?? "", clock.now());
}

function offBy(id: string, nowMs: number): number | null {
  const mintedAt = mintedAtMs(id);
  return mintedAt === undefined ? null : mintedAt - nowMs;
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
    clockOffMs: () => Promise.resolve(null),
    stop: () => child.stop(),
    tail: () => child.tail(),
  };
}

function inThisProcess(name: string, own: Pick<Part, "stop" | "clockOffMs">): Part {
  const no = (): Promise<never> =>
    Promise.reject(new Error(`${name} runs in this process and cannot be killed`));
  return { name, kill: no, revive: no, ...own, tail: () => "" };
}
