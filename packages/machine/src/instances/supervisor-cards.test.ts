import { beforeEach, describe, expect, test } from "vitest";
import { urlOf } from "../../testing/fake-host.ts";
import { gpuPlan, release } from "../../testing/instance-facts.ts";
import {
  NOBODY,
  busy,
  cardFaults,
  cardsRunOn,
  clock,
  failureOf,
  host,
  supervise,
  useSupervision,
} from "../../testing/supervision-kit.ts";
import type { Supervisor } from "./supervisor.ts";

useSupervision();

describe("a card that is lost", () => {
  const LOST = "GPU 0 has fallen off the bus. Reboot";

  test("ends its own instance after its job, tells why, and starts it when the card is back", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
    busy(8_188);
    cardFaults.set("GPU-00000000", LOST);
    await clock.advance(5_000);
    expect(host.paused).toEqual(new Set(["http://127.0.0.1:8188"]));
    expect(supervisor.status("comfyui-gpu0")).toMatchObject({ draining: LOST, isHindered: true });
    expect(supervisor.status("comfyui-gpu1")?.isHindered).toBe(false);
    expect(host.ends).toEqual([]);
    host.jobEnds(8_188);
    await clock.advance(600_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
    expect(supervisor.status("comfyui-gpu0")).toMatchObject({
      blocked: LOST,
      isHindered: true,
      runtime: { state: "stopped", detail: LOST },
    });
    expect(host.alive("comfyui-gpu1")).toBe(1);
    cardFaults.clear();
    await clock.advance(60_000);
    expect(supervisor.status("comfyui-gpu0")).toMatchObject({
      check: { state: "passing" },
      isHindered: false,
    });
  });

  test("at the first look already: what runs from before is neither ended nor started anew for it", async () => {
    host.add({ name: "comfyui-gpu0", digest: "from-before", port: 8_188 });
    const ill = gpuPlan(0, { cardFault: LOST, env: { CUDA_VISIBLE_DEVICES: "" } });
    const supervisor = await supervise([ill]);
    await clock.advance(60_000);
    expect([host.ends, host.starts]).toEqual([[], []]);
    cardFaults.set("GPU-00000000", LOST);
    await clock.advance(5_000);
    expect(host.ends).toHaveLength(1);
    cardFaults.clear();
    await clock.advance(60_000);
    expect(supervisor.status("comfyui-gpu0")).toMatchObject({ blocked: LOST, isHindered: true });
    const refused = failureOf(supervisor.restart("comfyui-gpu0", "now", NOBODY));
    await clock.advance(5_000);
    expect(await refused).toBe(`comfyui-gpu0 cannot be started: ${LOST}`);
    expect(host.starts).toEqual([]);
    await supervisor.setDesired([gpuPlan(0)], release());
    await clock.advance(5_000);
    expect(supervisor.status("comfyui-gpu0")?.check.state).toBe("passing");
  });

  test("that was a passing word of the driver ends nothing", async () => {
    await supervise([gpuPlan(0)]);
    busy(8_188);
    cardFaults.set("GPU-00000000", LOST);
    await clock.advance(5_000);
    cardFaults.clear();
    await clock.advance(5_000);
    host.jobEnds(8_188);
    await clock.advance(60_000);
    expect([host.ends, [...host.paused]]).toEqual([[], []]);
  });

  test("a job that hangs on it is waited for no longer than the time for draining", async () => {
    await supervise([gpuPlan(0)]);
    busy(8_188);
    cardFaults.set("GPU-00000000", LOST);
    await clock.advance(40_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
  });
});

describe("a card that wants a reset", () => {
  const RESET = "GPU 0 has to be reset. Stop what runs on it and reset it";
  beforeEach(() => {
    cardFaults.set("GPU-00000000", RESET);
    cardsRunOn.add("GPU-00000000");
  });
  const busyOnIt = async (): Promise<Supervisor> => {
    cardFaults.clear();
    const supervisor = await supervise([gpuPlan(0)]);
    busy(8_188);
    cardFaults.set("GPU-00000000", RESET);
    return supervisor;
  };

  test("gets no more work; its job is waited for while it advances", async () => {
    const supervisor = await busyOnIt();
    await clock.advance(600_000);
    expect([host.ends, [...host.paused]]).toEqual([[], [urlOf(8_188)]]);
    expect(supervisor.status("comfyui-gpu0")?.draining).toBe(RESET);
    host.jobEnds(8_188);
    await clock.advance(5_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
    expect(supervisor.status("comfyui-gpu0")?.blocked).toBe(RESET);
  });

  test("does not keep one that does nothing any more", async () => {
    await busyOnIt();
    await clock.advance(60_000);
    expect(host.ends).toEqual([]);
    host.setHealth(8_188, "healthy", { isBusy: true, isStuck: true });
    await clock.advance(5_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
  });

  test("that is lost meanwhile ends its instance in the time for draining", async () => {
    await busyOnIt();
    await clock.advance(60_000);
    expect(host.ends).toEqual([]);
    cardsRunOn.clear();
    await clock.advance(5_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
  });
});
