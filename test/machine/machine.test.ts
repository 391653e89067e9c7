/** A bare machine becomes one that renders, and stays one, whatever is killed. */
import { afterEach, describe, expect, it } from "vitest";
import { quickGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import { findPython } from "./ground/python.ts";
import { findPm2, findUv } from "./ground/tools.ts";
import { makeWholeMachine, type Programs, type WholeMachine } from "./whole-machine.ts";

const [python, uv, pm2] = [findPython(), await findUv(), await findPm2()];
const programs: Programs | undefined =
  python === undefined || uv === undefined || pm2 === undefined ? undefined : { python, uv, pm2 };
if (programs === undefined) {
  console.warn("test/machine/machine.test.ts: SKIPPED, it needs Python, uv and PM2");
}

describe.skipIf(programs === undefined)("a machine with a manifest", () => {
  const made: WholeMachine[] = [];
  const make = async (
    ...more: Parameters<typeof makeWholeMachine> extends [unknown, ...infer R] ? R : never
  ) => {
    const machine = await makeWholeMachine(programs as Programs, ...more);
    made.push(machine);
    return machine;
  };
  afterEach(async () => {
    for (const machine of made.splice(0)) await machine.close();
  });

  it("installs by itself, ends healthy, and renders", async () => {
    const machine = await make();
    const client = await machine.client();
    const agent = machine.startAgent();
    await agent.saw("health ");
    await machine.untilState("comfyui", "healthy");
    expect((await machine.health()).ready).toBe(true);
    const jobs = await Promise.all([1, 2, 3, 4].map((seed) => client.submit(quickGraph(seed))));
    for (const job of jobs) {
      await until("it is completed", async () => {
        const now = await client.job(job.id);
        return now.status === "completed";
      });
    }
    const { transitions } = (await machine.service("comfyui")) ?? { transitions: [] };
    expect(transitions.map(({ to }) => to)).toEqual([
      "not_installed",
      "stopped",
      "starting",
      "healthy",
    ]);
    expect(await agent.stop()).toBe(0);
  });
});
