import { afterEach, beforeEach, expect, test } from "vitest";
import type { Inventory } from "@holdfast/contract";
import { release as releaseOf } from "../../testing/instance-facts.ts";
import { FIRST, NOBODY, ServingKit } from "../../testing/serving-kit.ts";

let kit: ServingKit;

beforeEach(() => {
  kit = new ServingKit();
});
afterEach(async () => await kit.close());

test("an instance of the release before is not held to what the next one promises", async () => {
  await kit.set();
  const inventory = { nodeClasses: [], models: {} } as unknown as Inventory;
  const lacks = (): readonly (string | null)[] =>
    kit.served.map(({ promise }) => promise?.(inventory) ?? null);
  expect(lacks()).toEqual([null, null]);
  // The next one never answers: gpu1's turn does not come.
  kit.host.onStart = () => undefined;
  kit.linked = releaseOf("r2", { nodeClasses: ["Upscale"] });
  await kit.refresh(10_000);
  expect(lacks()).toEqual([expect.stringContaining("node Upscale"), null]);
});

test("a release that does not work in earnest is left, and the one before serves on", async () => {
  await kit.set();
  kit.previous = "r1";
  kit.linked = releaseOf("r2");
  kit.host.onStart = (process, spec) => {
    if (!spec.cwd.includes("r2") && !spec.command.includes("r2")) kit.host.serve(process, spec);
  };
  await kit.refresh(1_000);
  await kit.clock.advance(300_000);
  expect(kit.linked.id).toBe("r1");
  expect(kit.told.join("\n")).toMatch(
    /release r1 serves instead of r2 \(r2 did not work: comfyui-gpu0/,
  );
  expect(kit.machine.release()?.id).toBe("r1");
  expect(kit.alive("comfyui-gpu0")).toBeDefined();
});

test.each([
  ["the way back of the damaged one", "r0", "r0"],
  ["nothing, where there is none", null, "r1-r2"],
])("a replacement of a damaged release is left for %s", async (_, way, serving) => {
  await kit.set();
  kit.previous = way;
  kit.linked = releaseOf("r1-r2");
  kit.host.onStart = (process, spec) => {
    if (!spec.command.includes("r1-r2")) kit.host.serve(process, spec);
  };
  await kit.refresh(1_000);
  await kit.clock.advance(300_000);
  expect(kit.linked.id).toBe(serving);
  expect(kit.machine.release()?.id).toBe(serving);
});

test("a release that does not work is left too when those that were healthy are planned no more", async () => {
  // The other one is on its way still.
  kit.host.onStart = (process, spec) => {
    if (spec.name === "comfyui-gpu0") kit.host.serve(process, spec);
  };
  await kit.set();
  kit.previous = "r1";
  kit.linked = releaseOf("r2");
  await kit.set({ instances: { basePort: FIRST, startTimeoutSec: 60, gpus: [1] } });
  await kit.clock.advance(300_000);
  expect(kit.linked.id).toBe("r1");
  expect(kit.hold?.reason).toMatch(/^comfyui-gpu1: /);
});

test("an instance that was ill before fails no release; the others are taken to it", async () => {
  kit.host.onStart = (process, spec) => {
    if (spec.name !== "comfyui-gpu0") kit.host.serve(process, spec);
  };
  await kit.set();
  await kit.clock.advance(300_000);
  kit.previous = "r1";
  kit.linked = releaseOf("r2");
  await kit.refresh(1_000);
  await kit.clock.advance(300_000);
  expect(kit.linked.id).toBe("r2");
  expect(kit.hold).toBeNull();
  const last = kit.host.starts.findLast(({ name }) => name === "comfyui-gpu1");
  expect(last?.command).toContain("r2");
  expect(kit.alive("comfyui-gpu1")).toBeDefined();
});

test("settings that do not work leave no release that has worked", async () => {
  kit.linked = releaseOf("r1");
  await kit.set();
  kit.previous = "r1";
  kit.linked = releaseOf("r2");
  await kit.refresh(30_000);
  expect(kit.machine.release()?.id).toBe("r2");
  kit.host.onStart = () => undefined;
  await kit.set({ instances: { basePort: FIRST, startTimeoutSec: 60, flags: ["--wrong"] } });
  await kit.clock.advance(600_000);
  expect(kit.log.lines.join()).toContain("release is not left");
  expect(kit.machine.release()?.id).toBe("r2");
});

test("a release proves itself without an instance whose card is lost meanwhile", async () => {
  await kit.set();
  kit.previous = "r1";
  kit.linked = releaseOf("r2");
  kit.cardFault = ({ index }) => (index === 1 ? "GPU 1 has fallen off the bus" : null);
  await kit.refresh(60_000);
  expect([kit.machine.release()?.id, kit.alive("comfyui-gpu1")]).toEqual(["r2", undefined]);
  kit.host.onStart = () => undefined;
  await kit.set({ instances: { basePort: FIRST, startTimeoutSec: 60, flags: ["--wrong"] } });
  await kit.clock.advance(600_000);
  expect(kit.log.lines.join()).toContain("release is not left");
  expect(kit.machine.release()?.id).toBe("r2");
});

test("what cannot be read changes nothing, and the next attempt does it", async () => {
  await kit.set();
  kit.currentError = new Error("EIO");
  await expect(kit.machine.refreshRelease(NOBODY)).rejects.toThrow("EIO");
  expect([kit.machine.release()?.id, kit.machine.lock()?.release]).toEqual(["r1", "r1"]);
  kit.currentError = null;
  kit.linked = releaseOf("r2");
  await kit.refresh(30_000);
  expect(kit.machine.release()?.id).toBe("r2");
});
