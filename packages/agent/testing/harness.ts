import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AttemptOutcome, CollectedOutput } from "@holdfast/contract";
import { seededRandom } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { startSimulator, type Simulator, type SimulatorOptions } from "@holdfast/simulator";
import { createAgent } from "../src/agent.ts";
import type { Agent, AgentOptions } from "../src/agent-options.ts";
import type { AgentLog } from "../src/agent-log.ts";
import { createFakeControlPlane, type FakeControlPlane } from "./fake-control-plane.ts";

/** An agent between a fake control plane and a simulator, and how to end all of it. */
export interface Harness {
  readonly plane: FakeControlPlane;
  readonly simulator: Simulator;
  readonly stateDir: string;
  readonly logged: readonly string[];
  agent(): Agent;
  /** Ends the agent as a kill would: nothing is told to anybody. Then starts the next. */
  restartAgent(): Promise<Agent>;
  startAgent(overrides?: Partial<AgentOptions>): Promise<Agent>;
  end(): Promise<void>;
}

/** Small limits, so that waiting is short. */
export const QUICK = {
  troubleEveryMs: 20,
  healthEveryMs: 200,
  silentLookMs: 150,
  blindLookMs: 20,
  blindLookMaxMs: 100,
  stallFloorMs: 50,
  stopConfirmMs: 1_000,
  linkBackoffMs: 20,
  linkBackoffMaxMs: 100,
  firstContactMs: 1_000,
  forgetEveryMs: 10,
  trustMarginMs: 50,
  stopMs: 200,
  deepCheckMs: 1_000,
} as const;

/** Sets everything up; the agent is started unless told otherwise. */
export async function createHarness(
  options: {
    readonly simulator?: Partial<SimulatorOptions>;
    readonly agent?: Partial<AgentOptions>;
    readonly ttlMs?: number;
    readonly renewEveryMs?: number;
    readonly isIdle?: boolean;
  } = {},
): Promise<Harness> {
  const stateDir = await mkdtemp(join(tmpdir(), "holdfast-agent-"));
  const simulator = await startSimulator({
    clock: systemClock,
    timeScale: 0,
    ...options.simulator,
  });
  const plane = createFakeControlPlane(systemClock, options);
  const agents: Agent[] = [];
  const logged: string[] = [];
  const note =
    (level: string) =>
    (...parts: unknown[]): void => {
      logged.push(`${level} ${parts.map((part) => describe(part)).join(" ")}`);
    };
  const log = {
    debug: note("debug"),
    info: note("info"),
    warn: note("warn"),
    error: note("error"),
  } as unknown as AgentLog;
  const startAgent = async (overrides: Partial<AgentOptions> = {}): Promise<Agent> => {
    const agent = createAgent({
      link: plane.link,
      instances: [{ url: simulator.url }],
      stateDir,
      machineName: "test",
      clock: systemClock,
      random: agents.length === 0 ? seededRandom(3) : systemRandom,
      log,
      ...options.agent,
      ...overrides,
      limits: { ...QUICK, ...options.agent?.limits, ...overrides.limits },
    });
    agents.push(agent);
    await agent.start();
    return agent;
  };
  const current = (): Agent => {
    const agent = agents.at(-1);
    if (agent === undefined) throw new Error("no agent was started");
    return agent;
  };
  if (options.isIdle !== true) await startAgent();
  return {
    plane,
    simulator,
    stateDir,
    logged,
    agent: current,
    startAgent,
    restartAgent: async () => {
      await current().stop();
      return startAgent();
    },
    end: async () => {
      plane.outage("none");
      for (const agent of agents) await agent.stop();
      await simulator.stop();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

function describe(part: unknown): string {
  if (typeof part === "string") return part;
  return JSON.stringify(part, (_key, value: unknown) =>
    value instanceof Error ? (value.stack ?? value.message) : value,
  );
}

/** Text to image with a tiny checkpoint: a sampler, a decoder and a picture. */
export function textToImage(seed: number, steps = 4): Record<string, unknown> {
  return {
    "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "tiny.safetensors" } },
    "2": { class_type: "CLIPTextEncode", inputs: { text: "a house", clip: ["1", 1] } },
    "3": { class_type: "CLIPTextEncode", inputs: { text: "blurry", clip: ["1", 1] } },
    "4": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
    "5": {
      class_type: "KSampler",
      inputs: {
        seed,
        steps,
        cfg: 7,
        sampler_name: "euler",
        scheduler: "normal",
        denoise: 1,
        model: ["1", 0],
        positive: ["2", 0],
        negative: ["3", 0],
        latent_image: ["4", 0],
      },
    },
    "6": { class_type: "VAEDecode", inputs: { samples: ["5", 0], vae: ["1", 2] } },
    "7": { class_type: "SaveImage", inputs: { filename_prefix: "books/page", images: ["6", 0] } },
  };
}

/** A picture of one colour, without any model. */
export function plainImage(color: number): Record<string, unknown> {
  return {
    "1": { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color } },
    "2": { class_type: "SaveImage", inputs: { filename_prefix: "plain", images: ["1", 0] } },
  };
}

/** The outputs that an outcome names. */
export function outputsOf(outcome: AttemptOutcome): readonly CollectedOutput[] {
  return "outputs" in outcome ? (outcome.outputs ?? []) : [];
}

/** Resolves when the condition holds; looked at every few milliseconds, for state without events. */
export async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await systemClock.sleep(5);
}

/** The phases of what the agent's first instance holds, the oldest first. */
export function phasesOf(harness: Harness): readonly string[] {
  return (
    harness
      .agent()
      .status()
      .instances[0]?.held.map((attempt) => attempt.phase) ?? []
  );
}
