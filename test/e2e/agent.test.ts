/** `holdfast agent` as a person runs it on a machine where there is nothing yet. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { HealthAnswer, ServicesAnswer } from "@holdfast/machine";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  freePort,
  startHoldfast,
  temporaryFolder,
  until,
  type HoldfastProcess,
} from "../support/processes.ts";

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let healthPort: number;
let planePort: number;
const started: HoldfastProcess[] = [];

beforeEach(async () => {
  folder = await temporaryFolder();
  healthPort = await freePort();
  planePort = await freePort();
});
afterEach(async () => {
  for (const one of started.splice(0).reverse()) await one.stop("SIGINT", 20_000);
  await folder.remove();
});

const home = (): string => join(folder.path, "home");
const run = (
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): HoldfastProcess => {
  const one = startHoldfast(args[0] ?? "", args, {
    HOLDFAST_HOME: home(),
    HOLDFAST_URL: `http://127.0.0.1:${planePort}`,
    HOLDFAST_PORT: String(planePort),
    HOLDFAST_HEALTH_PORT: String(healthPort),
    ...env,
  });
  started.push(one);
  return one;
};
const health = async (): Promise<HealthAnswer> => {
  const answer = await fetch(`http://127.0.0.1:${healthPort}/health`);
  return (await answer.json()) as HealthAnswer;
};

describe("an agent without ComfyUI, manifest and control plane", () => {
  it("starts, answers, says what is missing, and ends in order", async () => {
    const agent = run(["agent", "--name", "box"]);
    await agent.saw(`health      http://127.0.0.1:${healthPort}/health`);
    await agent.saw("holdfast machine init writes a machine.yaml");
    expect(await health()).toMatchObject({
      state: "not_configured",
      ready: false,
      name: "box",
      manifest: { path: null, problems: [] },
      controlPlane: { state: "connecting", url: `http://127.0.0.1:${planePort}` },
    });
    const answer = await fetch(`http://127.0.0.1:${healthPort}/services`);
    const { services } = (await answer.json()) as ServicesAnswer;
    expect(services.map(({ name, state }) => [name, state])).toEqual([
      ["comfyui", "not_configured"],
    ]);
    const status = run(["machine", "status"]);
    expect(await status.exited).toBe(0);
    expect(status.output()).toContain(`agent at http://127.0.0.1:${healthPort}: not_configured`);
    expect(await agent.stop("SIGTERM")).toBe(0);
    const after = run(["machine", "status"]);
    expect(await after.exited).toBe(0);
    expect(after.output()).toContain("no agent runs on this machine folder");
  });

  it("says every mistake of a manifest, and answers all the same", async () => {
    mkdirSync(home(), { recursive: true });
    writeFileSync(join(home(), "machine.yaml"), "version: 1\nnodess: []\n");
    const agent = run(["agent"]);
    await agent.saw("/health");
    const { state, manifest } = await health();
    expect(state).toBe("not_configured");
    expect(manifest.problems.join()).toContain("nodess");
    expect(await agent.stop()).toBe(0);
  });

  it("is refused where its health port is named and taken, and leaves its folder to the next", async () => {
    const first = run(["agent", "--name", "one"]);
    await first.saw("/health");
    const second = run(["agent", "--name", "two"]);
    expect(await second.exited).toBe(1);
    expect(second.output()).toMatch(/port \d+ for the health server is taken by .*node/);
    const third = run(["agent", "--name", "two"], { HOLDFAST_HEALTH_PORT: "0" });
    await third.saw("/health");
  });

  it("ends when its one-time token is refused, and says why", async () => {
    const agent = run(["agent"], { HOLDFAST_ENROLL_TOKEN: "not-a-token" });
    expect(await agent.exited).toBe(2);
    expect(agent.output()).toMatch(/cannot be enrolled: expected a one-time token/);
    expect(agent.output()).not.toContain("not-a-token");
  });
});

describe("holdfast up", () => {
  it("prints where the machine's health is asked for, and serves it", async () => {
    const up = run(["up", "--simulator"]);
    await up.saw("is up");
    await up.saw(`health      http://127.0.0.1:${healthPort}/health`);
    await until("the simulated ComfyUI is healthy", async () => {
      const { state, controlPlane } = await health();
      return state === "healthy" && controlPlane.state === "connected";
    });
    expect(await up.stop("SIGINT")).toBe(0);
  });
});
