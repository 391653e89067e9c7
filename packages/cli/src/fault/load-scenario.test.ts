import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { startSimulator, type Simulator } from "@holdfast/simulator";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { beginLoadScenario } from "./load-scenario.ts";

let simulator: Simulator;

beforeEach(async () => {
  simulator = await startSimulator({ clock: systemClock, timeScale: 0 });
});
afterEach(() => simulator.stop());

const begin = async (name: string, kind: "holdfast" | "comfyui" = "comfyui", comfyuis?: string[]) =>
  await beginLoadScenario(name, {
    server: simulator.url,
    kind,
    ...(comfyuis !== undefined && { comfyuis }),
    clock: systemClock,
    random: seededRandom(1),
  });

describe("a fault for the time of a load run", () => {
  it("is made by a proxy in front, and ends with it", async () => {
    const fault = await begin("server-errors");
    if (fault.kind !== "begun") throw new Error(fault.kind);
    const statuses: number[] = [];
    for (let n = 0; n < 20; n += 1) {
      statuses.push((await fetch(`${fault.server}/prompt`, { method: "POST", body: "{}" })).status);
    }
    expect(statuses.filter((status) => status === 503)).toHaveLength(2);
    expect(await fault.end()).toBe(2);
    await expect(fetch(`${fault.server}/queue`)).rejects.toThrow();
  });

  it("is given to simulated ComfyUIs, and taken from them", async () => {
    const fault = await begin("comfyui-crash", "holdfast", [simulator.url]);
    if (fault.kind !== "begun") throw new Error(fault.kind);
    expect(simulator.faults.list()).toMatchObject([{ rule: { kind: "crash" } }]);
    expect(await fault.end()).toBe(0);
    expect(simulator.faults.list()).toEqual([]);
  });

  it("may be in the graphs alone", async () => {
    const fault = await begin("prompt-validation-failure");
    if (fault.kind !== "begun") throw new Error(fault.kind);
    const graph = { "1": { class_type: "A", inputs: {} } };
    const sent = Array.from({ length: 20 }, (_, index) => fault.graphFor(index, graph));
    expect(sent.filter((one) => one !== graph)).toHaveLength(2);
    expect(await fault.end()).toBe(2);
  });

  it("is refused in words where it cannot be made, or is not known", async () => {
    expect(await begin("disk-full", "holdfast")).toMatchObject({
      kind: "impossible",
      why: expect.stringContaining("needs a simulated ComfyUI"),
    });
    expect(await begin("postgres-restart")).toMatchObject({
      kind: "impossible",
      why: expect.stringContaining("holdfast fault run postgres-restart"),
    });
    expect(await begin("nothing")).toMatchObject({ kind: "unknown" });
  });
});
