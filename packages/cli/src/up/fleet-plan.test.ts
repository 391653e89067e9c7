import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ControlPlaneSettings } from "@holdfast/control-plane/process";
import { afterEach, beforeEach, expect, it } from "vitest";
import {
  openRunpodWorld,
  WORLD_KEY,
  type RunpodWorld,
} from "../../../providers/testing/runpod-world.ts";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import { EXIT } from "../exit-codes.ts";
import { readFleetPlan } from "./fleet-plan.ts";

let home: string;
let world: RunpodWorld;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "holdfast-plan-"));
  world = await openRunpodWorld(0);
});
afterEach(async () => {
  await world.close();
  await rm(home, { recursive: true, force: true });
});

const read = async (runpod: Readonly<Record<string, unknown>>) => {
  const terminal = recordingTerminal();
  const own = { image: "agent:1", gpuTypes: ["NVIDIA L40S"], baseUrl: world.standIn.baseUrl };
  const pools = [
    { name: "gpu", provider: "runpod", max: 2, runpod: { ...own, ...runpod } },
    { name: "here", provider: "local", max: 3, local: { command: [process.execPath] } },
  ];
  await writeFile(join(home, "fleet.yaml"), JSON.stringify({ version: 1, pools }));
  const settings = { home } as ControlPlaneSettings;
  const plan = await readFleetPlan(settings, { env: { PATH: process.env["PATH"] }, terminal });
  return { plan, notes: terminal.notes };
};

it("a fleet whose keys are taken is planned without a word", async () => {
  const { plan, notes } = await read({ apiKey: WORLD_KEY });
  expect(plan?.policy.pools.map(({ name, max }) => [name, max])).toEqual([
    ["gpu", 2],
    ["here", 3],
  ]);
  expect(notes).toEqual([]);
});

it("a key that is refused is told, and stops neither the start nor the other pools", async () => {
  const { plan, notes } = await read({ apiKey: "revoked-overnight" });
  expect(plan?.policy.pools).toHaveLength(2);
  expect(notes).toEqual([
    expect.stringMatching(/^pool gpu is blocked, its provider refuses the key: .*status 401/),
  ]);
  const noFile = await read({ apiKeyFile: join(home, "no-such-key") });
  expect(noFile.notes[0]).toContain("no-such-key");
});

it("a mistake in the file itself stops the start", async () => {
  await expect(read({ apiKey: WORLD_KEY, gpuTypes: ["RTX 4090"] })).rejects.toMatchObject({
    exitCode: EXIT.refused,
    message: expect.stringContaining("pool gpu: `gpuTypes`: RunPod has no") as string,
  });
  await expect(read({ apiKey: WORLD_KEY, gpuCount: "two" })).rejects.toMatchObject({
    exitCode: EXIT.refused,
    message: expect.stringMatching(/fleet\.yaml:1:\d+: pools\[0\]\.runpod\.gpuCount/) as string,
  });
});
