import { describe, expect, test } from "vitest";
import { urlOf } from "../../testing/fake-host.ts";
import { gpuPlan, plan, release } from "../../testing/instance-facts.ts";
import {
  NOBODY,
  busy,
  cardFaults,
  clock,
  digestOf,
  failureOf,
  failures,
  host,
  locks,
  supervise,
  useSupervision,
} from "../../testing/supervision-kit.ts";
import type { InstancePlan } from "./model.ts";

useSupervision();

describe("another base port", () => {
  const moved = (index: number, by: number): InstancePlan =>
    gpuPlan(index, { port: 8_188 + index + by, url: urlOf(8_188 + index + by) });
  const old = (): void => {
    host.add({ name: "comfyui-cpu0", digest: "r-1", port: 9_000 });
    busy(9_000);
  };

  test("what runs on the port of before is adopted, judged and drained there, then started anew", async () => {
    old();
    const supervisor = await supervise([plan()]);
    expect(supervisor.status("comfyui-cpu0")).toMatchObject({
      url: "http://127.0.0.1:9000",
      port: 9_000,
      runtime: { state: "running" },
      check: { state: "passing" },
    });
    await clock.advance(300_000);
    expect(host.ends).toEqual([]);
    expect(host.paused).toContain("http://127.0.0.1:9000");
    host.jobEnds(9_000);
    await clock.advance(10_000);
    expect(host.ends).toEqual(["comfyui-cpu0 removed"]);
    expect(host.of("comfyui-cpu0").port).toBe(8_188);
    expect(supervisor.status("comfyui-cpu0")?.url).toBe("http://127.0.0.1:8188");
  });

  test.each([1, 2])(
    "moved by %i, a job has its own instance restarted by its address",
    async (by) => {
      const indices = [0, 1, 2];
      for (const index of indices) {
        host.add({ name: `comfyui-gpu${index}`, digest: "r-1", port: 8_188 + index });
        busy(8_188 + index);
      }
      const supervisor = await supervise(indices.map((index) => moved(index, by)));
      // Where gpu2 runs, another one is to run.
      const restarted = supervisor.restart(urlOf(8_190), "out of memory", NOBODY);
      await clock.advance(60_000);
      expect(host.ends).toEqual(["comfyui-gpu2 removed"]);
      await restarted;
      expect(host.of("comfyui-gpu2").port).toBe(8_190 + by);
      expect([host.of("comfyui-gpu0").port, host.of("comfyui-gpu1").port]).toEqual([8_188, 8_189]);
    },
  );

  test("one that the process manager lost is found there too", async () => {
    old();
    const left = host.of("comfyui-cpu0");
    left.isManaged = false;
    await supervise([plan()]);
    await clock.advance(60_000);
    expect(host.ends).toEqual([]);
    expect(left.isAlive).toBe(true);
  });

  test("while nobody has told what is in it, it counts as busy for the time of a drain", async () => {
    old();
    host.healthOf.clear();
    await supervise([plan()]);
    await clock.advance(20_000);
    expect(host.ends).toEqual([]);
    busy(9_000);
    await clock.advance(120_000);
    expect(host.ends).toEqual([]);
  });
});

describe("a new start by hand", () => {
  test("waits for the job, and resolves when it is healthy", async () => {
    const supervisor = await supervise([plan()]);
    busy(8_188);
    let isDone = false;
    const restarted = supervisor.restart("comfyui-cpu0", "new driver", NOBODY).then(() => {
      isDone = true;
    });
    await clock.advance(10_000);
    expect(host.ends).toEqual([]);
    host.onStart = () => undefined;
    host.jobEnds(8_188);
    await clock.advance(3_000);
    expect(host.ends).toEqual(["comfyui-cpu0 removed"]);
    expect(isDone).toBe(false);
    host.serve(host.of("comfyui-cpu0"), host.starts.at(-1) ?? { args: [] });
    await clock.advance(2_000);
    await restarted;
    expect(supervisor.status("comfyui-cpu0")?.exits.at(-1)).toMatchObject({ wasAsked: true });
  });

  test("waits no longer than the time for draining", async () => {
    const supervisor = await supervise([plan()]);
    busy(8_188);
    const restarted = supervisor.restart("comfyui-cpu0", "new driver", NOBODY);
    await clock.advance(32_000);
    await restarted;
    expect(host.ends).toEqual(["comfyui-cpu0 removed"]);
  });

  test("throws when it does not become healthy, or is unknown; the signal ends the waiting", async () => {
    const supervisor = await supervise([plan()]);
    await expect(supervisor.restart("comfyui-gpu9", "x", NOBODY)).rejects.toThrow(
      "expected one of the instances (comfyui-cpu0), found comfyui-gpu9",
    );
    host.onStart = (process) => {
      process.isListening = true;
      host.setHealth(8_188, "unhealthy", { reason: "lacks KSampler", isMendedByRestart: false });
    };
    const failed = failureOf(supervisor.restart("comfyui-cpu0", "x", NOBODY));
    await clock.advance(65_000);
    expect(await failed).toBe("comfyui-cpu0 was not healthy 60 s after its start: lacks KSampler");
    const patience = new AbortController();
    const waiting = failureOf(supervisor.restart("comfyui-cpu0", "x", patience.signal));
    patience.abort(new Error("no patience"));
    expect(await waiting).toBe("no patience");
  });
});

describe("another release", () => {
  test("one instance after the other, each when its job is over and the one before serves", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1), gpuPlan(2)]);
    busy(8_188);
    busy(8_189);
    busy(8_190);
    host.onStart = () => undefined;
    await supervisor.setDesired([gpuPlan(0), gpuPlan(1), gpuPlan(2)], release("r2"));
    await clock.advance(100_000);
    expect(host.ends).toEqual([]);
    expect([...host.paused]).toEqual([urlOf(8_188)]);
    host.jobEnds(8_188);
    await clock.advance(20_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
    expect(host.paused.size).toBe(0);
    host.serve(host.of("comfyui-gpu0"), host.starts.at(-1) ?? { args: [] });
    await clock.advance(5_000);
    expect([...host.paused]).toEqual([urlOf(8_189)]);
    host.onStart = (process, spec) => host.serve(process, spec);
    host.jobEnds(8_189);
    await clock.advance(5_000);
    host.jobEnds(8_190);
    await clock.advance(5_000);
    expect(supervisor.statuses().every(({ isCurrent }) => isCurrent)).toBe(true);
    expect(failures).toEqual([]);
  });

  test("one that does not come up stops the roll; the others go on, also through a crash", async () => {
    const plans = [gpuPlan(0), gpuPlan(1)];
    const supervisor = await supervise(plans);
    const old = host.of("comfyui-gpu1").digest;
    host.onStart = (process, spec) => {
      if (spec.cwd.includes("/r1/")) host.serve(process, spec);
    };
    await supervisor.setDesired(plans, release("r2"));
    await clock.advance(30_000);
    host.die(host.of("comfyui-gpu1"));
    await clock.advance(20_000);
    expect(host.of("comfyui-gpu1").digest).toBe(old);
    await clock.advance(120_000);
    expect(failures).toEqual([
      { release: "r2", instance: "comfyui-gpu0", reason: expect.stringContaining("60 s") },
    ]);
    expect(host.of("comfyui-gpu1").digest).toBe(old);
    expect(supervisor.status("comfyui-gpu1")?.check.state).toBe("passing");
    await supervisor.setDesired(plans, release("r1"));
    await clock.advance(30_000);
    expect(supervisor.statuses().map(({ check }) => check.state)).toEqual(["passing", "passing"]);
    expect(host.of("comfyui-gpu1").digest).toBe(old);
    expect(failures).toHaveLength(1);
  });

  test.each(["card", "lock"])(
    "whose turn is cut off by its %s condemns no release: the next one has its turn",
    async (what) => {
      const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
      host.onStart = (process, spec) => {
        if (spec.name === "comfyui-gpu1") host.serve(process, spec);
      };
      const isLocked = what === "lock";
      const plans = [gpuPlan(0, isLocked ? { port: 9_000, url: urlOf(9_000) } : {}), gpuPlan(1)];
      if (isLocked) locks.refusalOf.set("comfyui-gpu0", "held by another");
      await supervisor.setDesired(plans, release("r2"));
      await clock.advance(10_000);
      if (!isLocked) cardFaults.set("GPU-00000000", "GPU 0 has fallen off the bus. Reboot");
      await clock.advance(300_000);
      expect(failures).toEqual([]);
      expect(supervisor.status("comfyui-gpu1")).toMatchObject({
        isCurrent: true,
        check: { state: "passing" },
      });
      expect(host.of("comfyui-gpu1").digest).toBe(digestOf(gpuPlan(1), release("r2")));
    },
  );

  test("a change that is taken back ends the drain", async () => {
    const supervisor = await supervise([plan()]);
    busy(8_188);
    await supervisor.setDesired([plan()], release("r2"));
    await clock.advance(5_000);
    expect(host.paused.size).toBe(1);
    await supervisor.setDesired([plan()], release("r1"));
    await clock.advance(5_000);
    expect(host.paused.size).toBe(0);
    expect(host.ends).toEqual([]);
  });

  test("ports that change hands are given on", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
    await supervisor.setDesired(
      [gpuPlan(0, { port: 8_189 }), gpuPlan(1, { port: 8_188 })].map((one) => ({
        ...one,
        url: urlOf(one.port),
      })),
      release(),
    );
    await clock.advance(60_000);
    expect(supervisor.statuses().map(({ isCurrent, check }) => [isCurrent, check.state])).toEqual([
      [true, "passing"],
      [true, "passing"],
    ]);
    expect(failures).toEqual([]);
  });

  test("an instance that is no longer in the plan is drained, ended and forgotten", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
    busy(8_189);
    await supervisor.setDesired([gpuPlan(0)], release());
    await clock.advance(5_000);
    expect(host.alive("comfyui-gpu1")).toBe(1);
    host.jobEnds(8_189);
    await clock.advance(5_000);
    expect(host.alive("comfyui-gpu1")).toBe(0);
    expect(supervisor.statuses().map(({ name }) => name)).toEqual(["comfyui-gpu0"]);
    expect(JSON.stringify(locks.kept)).not.toContain("8189");
  });
});
