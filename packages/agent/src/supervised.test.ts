/** Instances whose processes somebody else looks after: paused, restarted, added and removed at work. */
import { startSimulator, type Simulator } from "@holdfast/simulator";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, describe, expect, it } from "vitest";
import {
  createHarness,
  eventually,
  phasesOf,
  plainImage,
  textToImage,
  type Harness,
} from "../testing/harness.ts";
import type { InstanceControl } from "./instance-control.ts";

let harness: Harness;
let second: Simulator | undefined;
afterEach(async () => {
  await harness.end();
  await second?.stop();
  second = undefined;
});

const NEVER = new AbortController().signal;
const isHealthy = (): boolean =>
  harness
    .agent()
    .status()
    .instances.every(({ state }) => state === "healthy");
const prompts = (): number => harness.simulator.stats().requests["POST /prompt"] ?? 0;

/** A supervisor that kills the simulator, which comes back after a while. */
function supervisor(restart?: InstanceControl["restart"]): InstanceControl & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    canRestart: () => true,
    restart: async (url, reason, signal) => {
      asked.push(reason);
      if (restart !== undefined) return restart(url, reason, signal);
      harness.simulator.crash(200);
    },
  };
}

describe("a lease that asks for a restart", { timeout: 20_000 }, () => {
  it("runs on the new process, after that has proved itself, and nothing else is staged meanwhile", async () => {
    const control = supervisor();
    harness = await createHarness({ agent: { control }, simulator: { timeScale: 1 } });
    const { plane } = harness;
    const running = await plane.submit({ graph: textToImage(1, 40) });
    expect(plane.registrations[0]?.instances[0]?.canRestart).toBe(true);
    await eventually(() => phasesOf(harness)[0] === "running");
    const staged = await plane.submit({ graph: plainImage(2), before: "restart_instance" });
    // What runs is waited for.
    expect(control.asked).toEqual([]);
    await eventually(() => harness.agent().status().instances[0]?.wants === 0);
    expect((await plane.reported(running.attemptId)).outcome.kind).toBe("succeeded");
    const report = await plane.reported(staged.attemptId);
    expect(report.outcome.kind).toBe("succeeded");
    expect(control.asked).toHaveLength(1);
    expect(harness.logged.some((line) => line.includes("instance's process is another one"))).toBe(
      true,
    );
  });

  it("gives back what is staged, at no cost", async () => {
    const control = supervisor();
    harness = await createHarness({
      agent: { control, limits: { slotsPerInstance: 3 } },
      simulator: { timeScale: 1 },
    });
    const { plane } = harness;
    const running = await plane.submit({ graph: textToImage(1, 40) });
    await eventually(() => phasesOf(harness)[0] === "running");
    const staged = await plane.submit({ graph: plainImage(2) });
    const asking = await plane.submit({ graph: plainImage(3), before: "restart_instance" });
    expect((await plane.reported(staged.attemptId)).outcome.kind).toBe("released");
    expect((await plane.reported(running.attemptId)).outcome.kind).toBe("succeeded");
    expect((await plane.reported(asking.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("that comes together with another one: one restart serves both, and neither is given back", async () => {
    const control = supervisor();
    harness = await createHarness({ agent: { control } });
    const { plane } = harness;
    await eventually(isHealthy);
    const leases = await Promise.all(
      [1, 2].map((color) => plane.submit({ graph: plainImage(color), before: "restart_instance" })),
    );
    for (const { attemptId } of leases) {
      expect((await plane.reported(attemptId)).outcome.kind).toBe("succeeded");
    }
    expect(control.asked).toHaveLength(1);
    // What comes later asks for a restart of its own.
    const later = await plane.submit({ graph: plainImage(3), before: "restart_instance" });
    expect((await plane.reported(later.attemptId)).outcome.kind).toBe("succeeded");
    expect(control.asked).toHaveLength(2);
  });

  it("that comes together with another one whose restart fails tries one of its own", async () => {
    let restarts = 0;
    const control = supervisor(() => {
      restarts += 1;
      if (restarts === 1) return Promise.reject(new Error("PM2 does not answer"));
      harness.simulator.crash(100);
      return Promise.resolve();
    });
    harness = await createHarness({ agent: { control } });
    const { plane } = harness;
    await eventually(isHealthy);
    const [first, second] = await Promise.all([
      plane.submit({ graph: plainImage(1), before: "restart_instance" }),
      plane.submit({ graph: plainImage(2), before: "restart_instance" }),
    ]);
    expect((await plane.reported(first.attemptId)).outcome.kind).toBe("failed");
    expect((await plane.reported(second.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("goes before one that has memory freed, which goes back at no cost", async () => {
    const control = supervisor();
    harness = await createHarness({ agent: { control } });
    const { plane } = harness;
    await eventually(isHealthy);
    const [freeing, asking] = await Promise.all([
      plane.submit({ graph: plainImage(1), before: "free_memory" }),
      plane.submit({ graph: plainImage(2), before: "restart_instance" }),
    ]);
    expect((await plane.reported(freeing.attemptId)).outcome.kind).toBe("released");
    expect((await plane.reported(asking.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("whose restart fails is a failure of its own, and nothing was posted", async () => {
    const control = supervisor(() => Promise.reject(new Error("PM2 does not answer")));
    harness = await createHarness({ agent: { control } });
    const { plane } = harness;
    await eventually(isHealthy);
    const before = prompts();
    const lease = await plane.submit({ graph: plainImage(1), before: "restart_instance" });
    const { outcome, started } = await plane.reported(lease.attemptId);
    expect(outcome).toMatchObject({
      kind: "failed",
      evidence: {
        channel: "restart",
        message: "The instance could not be restarted: PM2 does not answer",
      },
    });
    expect(started).toBe(false);
    // A check of the instance may have been posted, and nothing else.
    expect(prompts() - before).toBeLessThanOrEqual(1);
  });

  it("whose instance does not come back in time fails with what is wrong", async () => {
    const control = supervisor(() => {
      harness.simulator.crash(null);
      return Promise.resolve();
    });
    harness = await createHarness({ agent: { control, limits: { restartMs: 500 } } });
    const { plane } = harness;
    const lease = await plane.submit({ graph: plainImage(1), before: "restart_instance" });
    const { outcome } = await plane.reported(lease.attemptId);
    expect(outcome).toMatchObject({ kind: "failed", evidence: { channel: "restart" } });
    expect(JSON.stringify(outcome)).toMatch(/did not become healthy in 500 ms: it is stopped/);
  });

  it("whose restart hangs is ended at its limit", async () => {
    const control = supervisor(
      (_url, _reason, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason), { once: true });
        }),
    );
    harness = await createHarness({ agent: { control, limits: { restartMs: 200 } } });
    const lease = await harness.plane.submit({ graph: plainImage(1), before: "restart_instance" });
    const { outcome } = await harness.plane.reported(lease.attemptId);
    expect(JSON.stringify(outcome)).toContain("it took longer than 200 ms");
  });

  it("is cancelled in the middle of it, without a failure", async () => {
    const control = supervisor(
      (_url, _reason, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason), { once: true });
        }),
    );
    harness = await createHarness({ agent: { control } });
    const { plane } = harness;
    const lease = await plane.submit({ graph: plainImage(1), before: "restart_instance" });
    await eventually(() => control.asked.length === 1);
    plane.revoke(lease.attemptId, "cancelled");
    await eventually(() => phasesOf(harness).length === 0);
    expect(plane.reports).toEqual([]);
  });

  it("is cancelled while it waits for what runs, at once", async () => {
    const control = supervisor();
    harness = await createHarness({ agent: { control }, simulator: { timeScale: 1 } });
    const { plane } = harness;
    await plane.submit({ graph: textToImage(1, 2_000) });
    await eventually(() => phasesOf(harness)[0] === "running");
    const lease = await plane.submit({ graph: plainImage(2), before: "restart_instance" });
    await eventually(() => phasesOf(harness).length === 2);
    plane.revoke(lease.attemptId, "cancelled");
    await plane.until(() => plane.lateReports.length === 1);
    expect(plane.lateReports[0]).toMatchObject({ attemptId: lease.attemptId, started: false });
    expect(phasesOf(harness)).toEqual(["running"]);
    expect(control.asked).toEqual([]);
  });

  it("whose process dies while it waits for what is brought home gives its lease back at once", async () => {
    const control = supervisor();
    let goOn = (): void => undefined;
    const isHeld = new Promise<void>((resolve) => (goOn = resolve));
    let held = 0;
    const failpoints = {
      hit: (name: string) => {
        if (name !== "agent.finished") return undefined;
        held += 1;
        return isHeld;
      },
    };
    harness = await createHarness({ agent: { control, failpoints } });
    const { plane } = harness;
    const first = await plane.submit({ graph: plainImage(1) });
    await eventually(() => held === 1);
    const asking = await plane.submit({ graph: plainImage(2), before: "restart_instance" });
    await eventually(() => phasesOf(harness).length === 2);
    harness.simulator.crash(200);
    const report = await plane.reported(asking.attemptId);
    expect([report.outcome.kind, report.started]).toEqual(["released", false]);
    await eventually(() => phasesOf(harness).length === 1);
    expect([control.asked, plane.reports.length]).toEqual([[], 1]);
    goOn();
    expect((await plane.reported(first.attemptId)).jobId).toBe(first.jobId);
  });

  it("runs as it is where the instance is not ours to restart", async () => {
    harness = await createHarness();
    const { plane } = harness;
    const lease = await plane.submit({ graph: plainImage(1), before: "restart_instance" });
    expect((await plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
    expect(plane.registrations[0]?.instances[0]).not.toHaveProperty("canRestart");
  });
});

describe("a paused instance", { timeout: 20_000 }, () => {
  it("gives back what is staged, ends what runs, and takes work again when it is resumed", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const { url } = harness.simulator;
    const running = await plane.submit({ graph: textToImage(1, 60) });
    const staged = await plane.submit({ graph: plainImage(2) });
    await eventually(() => phasesOf(harness).join() === "running,staged");
    expect(harness.agent().instanceHealth(url)).toMatchObject({ state: "healthy", isBusy: true });
    const paused = harness.agent().pauseInstance(url, 10_000, NEVER);
    expect((await plane.reported(staged.attemptId)).outcome.kind).toBe("released");
    expect(await paused).toBe(true);
    expect((await plane.reported(running.attemptId)).outcome.kind).toBe("succeeded");
    expect(harness.agent().instanceHealth(url)).toMatchObject({ isBusy: false });
    // Its process is exchanged: nobody is blamed, and nothing is given to it.
    harness.simulator.crash(100);
    await eventually(() => harness.agent().instanceHealth(url)?.state === "stopped");
    await eventually(() => harness.agent().instanceHealth(url)?.state === "healthy");
    expect(harness.agent().status().instances[0]?.wants).toBe(0);
    harness.agent().resumeInstance(url);
    const next = await plane.submit({ graph: plainImage(3) });
    expect((await plane.reported(next.attemptId)).outcome.kind).toBe("succeeded");
    expect(plane.reports.map(({ outcome }) => outcome.kind).sort()).toEqual([
      "released",
      "succeeded",
      "succeeded",
    ]);
  });

  it("that does not get empty in time says so, and what then dies with its process is free", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const { url } = harness.simulator;
    const running = await plane.submit({ graph: textToImage(1, 1_000) });
    await eventually(() => phasesOf(harness)[0] === "running");
    expect(await harness.agent().pauseInstance(url, 100, NEVER)).toBe(false);
    harness.simulator.crash(100);
    const { outcome, started } = await plane.reported(running.attemptId);
    expect(outcome).toEqual({ kind: "interrupted", reason: "drain" });
    expect(started).toBe(true);
  });

  it("dies as blamed as ever when nobody paused it", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const running = await plane.submit({ graph: textToImage(1, 1_000) });
    await eventually(() => phasesOf(harness)[0] === "running");
    harness.simulator.crash(100);
    expect((await plane.reported(running.attemptId)).outcome.kind).toBe("instance_died");
  });

  it("is given up by a signal, and one that is not served is paused at once", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const { url } = harness.simulator;
    await plane.submit({ graph: textToImage(1, 1_000) });
    await eventually(() => phasesOf(harness)[0] === "running");
    const stop = new AbortController();
    const paused = harness.agent().pauseInstance(url, 60_000, stop.signal);
    stop.abort();
    expect(await paused).toBe(false);
    expect(await harness.agent().pauseInstance("http://nobody", 1, NEVER)).toBe(true);
    expect(harness.agent().instanceHealth("http://nobody")).toBeUndefined();
  });
});

describe("what was promised of an instance", { timeout: 20_000 }, () => {
  it("makes it unhealthy with the reason while it is missing, and healthy as soon as it is there", async () => {
    const checkpoints = ["tiny.safetensors"];
    const control = supervisor();
    harness = await createHarness({ simulator: { models: { checkpoints } }, isIdle: true });
    const { url } = harness.simulator;
    await harness.startAgent({
      control,
      instances: [
        {
          url,
          promise: ({ models }) =>
            models["checkpoints"]?.includes("big.safetensors") === true
              ? null
              : "big.safetensors is missing",
        },
      ],
    });
    await eventually(() => harness.agent().instanceHealth(url)?.state === "unhealthy");
    expect(harness.agent().instanceHealth(url)?.reason).toBe("big.safetensors is missing");
    expect(harness.agent().status().instances[0]?.wants).toBe(0);
    checkpoints.push("big.safetensors");
    harness.agent().refreshInventories();
    await eventually(() => harness.agent().instanceHealth(url)?.state === "healthy");
    const lease = await harness.plane.submit({ graph: plainImage(1) });
    expect((await harness.plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("that cannot be looked at is not kept", async () => {
    harness = await createHarness({ isIdle: true });
    const { url } = harness.simulator;
    await harness.startAgent({
      instances: [
        {
          url,
          promise: () => {
            throw new Error("no manifest");
          },
        },
      ],
    });
    await eventually(() => harness.agent().instanceHealth(url)?.state === "unhealthy");
    expect(harness.agent().instanceHealth(url)?.reason).toContain("no manifest");
  });
});

describe("the instances of an agent", { timeout: 20_000 }, () => {
  it("may be none at first, and come later: a run under way on another goes on", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 }, isIdle: true });
    await harness.startAgent({ instances: [] });
    const { plane, simulator } = harness;
    await plane.until(() => plane.registrations.length === 1);
    await harness.agent().setInstances([{ url: simulator.url, name: "gpu0" }]);
    const running = await plane.submit({ graph: textToImage(1, 60) });
    await eventually(() => phasesOf(harness)[0] === "running");
    second = await startSimulator({ clock: systemClock, timeScale: 0 });
    await harness.agent().setInstances([
      { url: simulator.url, name: "gpu0" },
      { url: second.url, name: "gpu1" },
    ]);
    await plane.until(() => plane.registrations.length === 3);
    const boots = new Set(plane.registrations.map(({ bootId }) => bootId));
    expect(boots.size).toBe(1);
    expect(plane.registrations.at(-1)?.instances.map(({ name }) => name)).toEqual(["gpu0", "gpu1"]);
    expect((await plane.reported(running.attemptId)).outcome.kind).toBe("succeeded");
    await eventually(() => harness.agent().instanceHealth(second?.url ?? "")?.state === "healthy");
  });

  it("that are not named any more end what they run, and are left then", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const running = await plane.submit({ graph: textToImage(1, 60) });
    await eventually(() => phasesOf(harness)[0] === "running");
    await harness.agent().setInstances([]);
    expect((await plane.reported(running.attemptId)).outcome.kind).toBe("succeeded");
    expect(harness.agent().status().instances).toEqual([]);
    await plane.until(() => plane.registrations.at(-1)?.instances.length === 0);
    // And may come back.
    await harness.agent().setInstances([{ url: harness.simulator.url }]);
    const again = await plane.submit({ graph: plainImage(2) });
    expect((await plane.reported(again.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("keep their processes' runs when only their names change", async () => {
    harness = await createHarness();
    const { url } = harness.simulator;
    await eventually(isHealthy);
    await harness.agent().setInstances([{ url, name: "another" }]);
    expect(harness.agent().status().instances).toMatchObject([
      { name: "another", state: "healthy" },
    ]);
    expect(harness.plane.registrations).toHaveLength(1);
  });

  it("are as many as one agent may serve at most", async () => {
    harness = await createHarness();
    const many = Array.from({ length: 65 }, (_, n) => ({ url: `http://127.0.0.1:${n + 1}` }));
    await expect(harness.agent().setInstances(many)).rejects.toThrow(/at most 64/);
  });

  it("may change before the start, and the end of the agent does not wait for a drain", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    await plane.submit({ graph: textToImage(1, 2_000) });
    await eventually(() => phasesOf(harness)[0] === "running");
    const leaving = harness.agent().setInstances([]);
    await harness.agent().stop();
    await leaving;
  });
});

describe("what the control plane wants fetched", { timeout: 20_000 }, () => {
  it("is fetched once, and the inventory that follows is told", async () => {
    const checkpoints = ["tiny.safetensors"];
    const asked: unknown[] = [];
    harness = await createHarness({
      simulator: { models: { checkpoints } },
      agent: {
        onModelsWanted: async (models) => {
          asked.push(models);
          checkpoints.push("wanted.safetensors");
        },
      },
    });
    const { plane } = harness;
    await plane.until(() => plane.inventories.size === 1);
    plane.want([{ folder: "checkpoints", name: "wanted.safetensors" }]);
    await plane.until(() =>
      [...plane.inventories.values()].some(
        ({ inventory }) => inventory.models["checkpoints"]?.includes("wanted.safetensors") === true,
      ),
    );
    expect(asked).toEqual([[{ folder: "checkpoints", name: "wanted.safetensors" }]]);
  });

  it("is left alone where nothing can be fetched", async () => {
    harness = await createHarness();
    harness.plane.want([{ folder: "checkpoints", name: "x" }]);
    const lease = await harness.plane.submit({ graph: plainImage(1) });
    expect((await harness.plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
  });
});

describe(
  "an instance with a long prompt in it, when the agent starts anew",
  { timeout: 20_000 },
  () => {
    it("is as well as its last check said, and takes no more work before the next", async () => {
      harness = await createHarness({ simulator: { timeScale: 1 } });
      const { plane } = harness;
      const { url } = harness.simulator;
      const running = await plane.submit({ graph: textToImage(1, 3_000) });
      await eventually(() => phasesOf(harness)[0] === "running");
      await harness.restartAgent();
      await eventually(() => harness.agent().instanceHealth(url)?.state === "healthy");
      expect(harness.simulator.stats().queueRemaining).toBeGreaterThan(0);
      expect(plane.reports).toEqual([]);
      expect(harness.agent().status().instances[0]?.wants).toBe(0);
      plane.revoke(running.attemptId, "cancelled");
      await eventually(() => (harness.agent().status().instances[0]?.wants ?? 0) > 0);
    });

    it("has to prove itself when its process is another one", async () => {
      harness = await createHarness({ simulator: { timeScale: 1 } });
      const { url } = harness.simulator;
      await eventually(() => harness.agent().instanceHealth(url)?.state === "healthy");
      await harness.agent().stop();
      harness.simulator.crash(1);
      const { faults } = harness.simulator;
      faults.add({ kind: "hang", match: { nodeClass: "EmptyImage", count: 0 } });
      await harness.startAgent();
      await eventually(() => harness.agent().instanceHealth(url)?.state === "unhealthy");
      expect(harness.logged.filter((line) => line.includes('"healthy"'))).toHaveLength(1);
    });
  },
);
