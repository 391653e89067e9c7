import { afterEach, describe, expect, it } from "vitest";
import {
  createHarness,
  eventually,
  phasesOf,
  plainImage,
  textToImage,
  type Harness,
} from "../testing/harness.ts";

let harness: Harness;
afterEach(async () => {
  await harness.end();
});

describe("leases", { timeout: 20_000 }, () => {
  it("stops silently when the lease cannot be renewed in time", async () => {
    harness = await createHarness({
      simulator: { timeScale: 1 },
      ttlMs: 600,
      renewEveryMs: 100,
    });
    const { plane } = harness;
    await plane.submit({ graph: textToImage(1, 200) });
    await eventually(() => phasesOf(harness).includes("running"));
    plane.outage("all");
    await eventually(() => harness.simulator.stats().queueRemaining === 0);
    expect(plane.reports).toHaveLength(0);
  });

  it("gives back at no cost what it stopped itself, when the lease turns out to live on", async () => {
    harness = await createHarness({
      simulator: { timeScale: 1 },
      // The entry of the prompt that was stopped stays, and says no more than that it was interrupted.
      agent: { limits: { forgetEveryMs: 60_000 } },
      ttlMs: 600,
      renewEveryMs: 100,
    });
    const { plane } = harness;
    const lease = await plane.submit({ graph: textToImage(1, 2_000) });
    await eventually(() => phasesOf(harness).includes("running"));
    plane.outage("all");
    await eventually(() => harness.simulator.stats().queueRemaining === 0);
    // Nothing is left of the attempt here, so that the lease comes as one of an earlier life.
    await eventually(() => harness.agent().status().instances[0]?.wants === 2);
    plane.outage("none");
    const { outcome } = await plane.reported(lease.attemptId);
    expect(outcome).toEqual({ kind: "released", reason: expect.stringContaining("renewed") });
  });

  it("interrupts and tells nothing when the job is somebody else's", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const lease = await plane.submit({ graph: textToImage(1, 200) });
    await eventually(() => phasesOf(harness).includes("running"));
    plane.revoke(lease.attemptId, "lost");
    await eventually(() => harness.simulator.stats().queueRemaining === 0);
    await eventually(() => harness.agent().status().instances[0]?.held.length === 0);
    expect(plane.reports).toHaveLength(0);
    expect(plane.counts.reports).toBe(0);
  });

  it("tells of a cancelled job when ComfyUI has really stopped it", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const lease = await plane.submit({ graph: textToImage(1, 200) });
    await eventually(() => phasesOf(harness).includes("running"));
    plane.revoke(lease.attemptId, "cancelled");
    await plane.until(() => plane.counts.reports > 0);
    expect(plane.lateReports.at(-1)).toMatchObject({
      started: true,
      outcome: { kind: "interrupted", reason: "cancel" },
      timings: { executeMs: expect.any(Number) as number },
    });
    expect(harness.simulator.stats().queueRemaining).toBe(0);
    const next = await plane.submit({ graph: plainImage(2) });
    expect((await plane.reported(next.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("gives back what is staged when it drains, and finishes what runs", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const first = await plane.submit({ graph: textToImage(1, 40) });
    const second = await plane.submit({ graph: textToImage(2, 40) });
    await eventually(() => phasesOf(harness).join() === "running,staged");
    await expect(harness.agent().drain(15_000)).resolves.toBe(true);
    expect((await plane.reported(first.attemptId)).outcome.kind).toBe("succeeded");
    expect((await plane.reported(second.attemptId)).outcome.kind).toBe("released");
  });

  it.each(["fresh", "resume"] as const)(
    "gives back a %s lease that was on its way when the drain began, at once",
    async (mode) => {
      harness = await createHarness({ simulator: { timeScale: 1 } });
      const { plane } = harness;
      await plane.submit({ graph: textToImage(1, 2_000) });
      await eventually(() => phasesOf(harness).join() === "running");
      await plane.until(() => plane.polls.at(-1)?.instances[0]?.wants === 1);
      const granted = plane.submit({ graph: plainImage(2), mode });
      const drained = harness.agent().drain(60_000);
      const { attemptId } = await granted;
      expect(await plane.reported(attemptId)).toMatchObject({
        outcome: { kind: "released", reason: "drain" },
        started: false,
      });
      // What runs goes on.
      await eventually(() => phasesOf(harness).join() === "running");
      await harness.agent().stop();
      await drained;
    },
  );

  it("renews while a job runs long, and is not stopped", async () => {
    harness = await createHarness({
      simulator: { timeScale: 0.5 },
      ttlMs: 400,
      renewEveryMs: 50,
    });
    const lease = await harness.plane.submit({ graph: textToImage(1, 60) });
    expect((await harness.plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
    expect(harness.plane.counts.renews).toBeGreaterThan(2);
  });

  it("leaves a foreign prompt alone and runs after it", async () => {
    harness = await createHarness({ simulator: { timeScale: 0.3 } });
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
    const posted = await fetch(`${harness.simulator.url}/prompt`, {
      method: "POST",
      body: JSON.stringify({ prompt: textToImage(9, 20), prompt_id: "foreign" }),
    });
    expect(posted.status).toBe(200);
    const lease = await harness.plane.submit({ graph: plainImage(1) });
    const report = await harness.plane.reported(lease.attemptId);
    expect(report.outcome.kind).toBe("succeeded");
    const history = (await (await fetch(`${harness.simulator.url}/history/foreign`)).json()) as {
      foreign: { status: { status_str: string } };
    };
    expect(history.foreign.status.status_str).toBe("success");
  });

  it("frees memory for a lease that asks for it, with nothing staged meanwhile", async () => {
    harness = await createHarness({ simulator: { timeScale: 0.05 } });
    const { plane } = harness;
    const warm = await plane.submit({ graph: textToImage(1) });
    await plane.reported(warm.attemptId);
    const lease = await plane.submit({ graph: plainImage(2), before: "free_memory" });
    const report = await plane.reported(lease.attemptId);
    expect(report.outcome.kind).toBe("succeeded");
    expect(report.timings["freedBytes"]).toBeGreaterThan(0);
  });
});

describe("a new agent process", { timeout: 20_000 }, () => {
  it("collects what ComfyUI finished while no agent was there, without rendering again", async () => {
    harness = await createHarness({ simulator: { timeScale: 0.3 } });
    const { plane } = harness;
    const lease = await plane.submit({ graph: textToImage(1, 20) });
    await eventually(() => phasesOf(harness).includes("running"));
    await harness.agent().stop();
    await eventually(() => harness.simulator.stats().queueRemaining === 0);
    const { promptsRun } = harness.simulator.stats();
    await harness.startAgent();
    expect((await plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
    expect(plane.registrations.at(-1)?.instances[0]?.foundPrompts).toEqual([lease.promptId]);
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
    // Its own deep check may have come on top, the job's prompt not.
    expect(harness.simulator.stats().promptsRun - promptsRun).toBeLessThanOrEqual(1);
  });

  it("takes over a running prompt", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const lease = await plane.submit({ graph: textToImage(1, 40) });
    await eventually(() => phasesOf(harness).includes("running"));
    await harness.restartAgent();
    expect((await plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("does not call a prompt stalled whose events it cannot hear", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const stall = { progressMs: 250, firstLoadMs: 250 };
    const lease = await plane.submit({ graph: textToImage(1, 60), stall });
    await eventually(() => phasesOf(harness).includes("running"));
    await harness.restartAgent();
    expect((await plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("makes the one before it step back without touching its prompts", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const first = harness.agent();
    const lease = await plane.submit({ graph: textToImage(1, 60) });
    await eventually(() => phasesOf(harness).includes("running"));
    await harness.startAgent();
    await eventually(() => first.status().isSuperseded);
    expect((await plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
    expect(plane.reports).toHaveLength(1);
  });

  it("takes its own work back when a newer session begins and no other process has", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const lease = await plane.submit({ graph: textToImage(1, 30) });
    await eventually(() => phasesOf(harness).includes("running"));
    plane.beginSession();
    expect((await plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
    expect(plane.registrations).toHaveLength(2);
    expect(harness.agent().status().isSuperseded).toBe(false);
  });

  it("makes room when it is superseded again at once", async () => {
    harness = await createHarness();
    const { plane } = harness;
    await plane.until(() => plane.polls.length > 0);
    plane.beginSession();
    const polls = plane.polls.length;
    await plane.until(() => plane.registrations.length === 2 && plane.polls.length > polls);
    plane.beginSession();
    await eventually(() => harness.agent().status().isSuperseded);
    expect(plane.registrations).toHaveLength(2);
  });

  it("never takes work back from a newer process, and signs off in its own name only", async () => {
    harness = await createHarness();
    const { plane } = harness;
    const first = harness.agent();
    await plane.until(() => plane.polls.length > 0);
    await harness.startAgent();
    await eventually(() => first.status().isSuperseded);
    await first.stop();
    expect(plane.registrations).toHaveLength(2);
    await harness.agent().stop();
    const last = plane.polls.filter((poll) => poll.instances[0]?.state === "stopped");
    expect(last.map((poll) => poll.session)).toEqual([2]);
  });

  it("tells that a prompt died with its process while nobody looked", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const lease = await plane.submit({ graph: textToImage(1, 40) });
    await eventually(() => phasesOf(harness).includes("running"));
    await harness.agent().stop();
    harness.simulator.crash(0);
    await eventually(() => harness.simulator.stats().starts === 2);
    await harness.startAgent();
    expect((await plane.reported(lease.attemptId)).outcome.kind).toBe("instance_died");
  });

  it("delivers a result that could not be reported before", async () => {
    harness = await createHarness();
    const { plane } = harness;
    plane.outage("reports");
    const lease = await plane.submit({ graph: plainImage(1) });
    await eventually(() => harness.agent().status().unsentReports === 1);
    await eventually(() => harness.logged.some((line) => line.includes("reports could not")));
    await harness.agent().stop();
    // ComfyUI has nothing to collect from any more.
    harness.simulator.crash(0);
    await eventually(() => harness.simulator.stats().starts === 2);
    plane.outage("none");
    await harness.startAgent();
    expect((await plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("removes prompts of ours that belong to nobody any more", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const lease = await plane.submit({ graph: textToImage(1, 200) });
    await eventually(() => phasesOf(harness).includes("running"));
    await harness.agent().stop();
    plane.revoke(lease.attemptId, "cancelled");
    await harness.startAgent();
    await eventually(() => harness.simulator.stats().queueRemaining === 0);
  });

  it("does not wait behind a prompt of ours that belongs to nobody any more", async () => {
    harness = await createHarness();
    const { plane } = harness;
    const inputs = { image: ["1", 0], seconds: 60, poll: true };
    const lease = await plane.submit({
      graph: {
        ...plainImage(1),
        "2": { class_type: "HoldfastSleep", inputs },
        "3": { class_type: "SaveImage", inputs: { filename_prefix: "x", images: ["2", 0] } },
      },
    });
    await eventually(() => phasesOf(harness).includes("running"));
    await harness.agent().stop();
    plane.revoke(lease.attemptId, "cancelled");
    await harness.startAgent();
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
  });
});
