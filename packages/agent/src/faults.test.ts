import { afterEach, describe, expect, it } from "vitest";
import {
  createHarness,
  eventually,
  outputsOf,
  phasesOf,
  plainImage,
  textToImage,
  type Harness,
} from "../testing/harness.ts";

let harness: Harness;
afterEach(async () => {
  await harness.end();
});

describe("socket trouble", { timeout: 20_000 }, () => {
  it("completes when the socket is cut in mid-run", async () => {
    harness = await createHarness({ simulator: { timeScale: 0.2 } });
    harness.simulator.faults.add({ kind: "drop_socket", afterEvents: 5 });
    const lease = await harness.plane.submit({ graph: textToImage(1, 20) });
    expect((await harness.plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("completes when ComfyUI forgets who the socket belongs to (F8)", async () => {
    harness = await createHarness({ simulator: { timeScale: 0.2 } });
    harness.simulator.faults.add({ kind: "lose_registration", afterEvents: 3 });
    const lease = await harness.plane.submit({ graph: textToImage(1, 20) });
    expect((await harness.plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("completes when the socket falls silent for ever", async () => {
    harness = await createHarness();
    harness.simulator.faults.add({ kind: "stall_socket" });
    for (let n = 0; n < 2; n += 1) {
      const lease = await harness.plane.submit({ graph: plainImage(n) });
      expect((await harness.plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
    }
  });
});

describe("ambiguous answers", { timeout: 20_000 }, () => {
  it("runs a prompt once whose POST was answered by a reset although it was queued (F1)", async () => {
    harness = await createHarness();
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
    const before = harness.simulator.stats().promptsRun;
    harness.simulator.faults.add({
      kind: "reset",
      when: "after",
      match: { path: "/prompt", method: "POST" },
    });
    const lease = await harness.plane.submit({ graph: plainImage(1) });
    expect((await harness.plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
    expect(harness.simulator.stats().promptsRun - before).toBe(1);
  });

  it("posts again after a reset before anything was queued", async () => {
    harness = await createHarness();
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
    harness.simulator.faults.add({
      kind: "reset",
      when: "before",
      match: { path: "/prompt", method: "POST" },
    });
    const lease = await harness.plane.submit({ graph: plainImage(1) });
    expect((await harness.plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
  });
});

describe("failing runs", { timeout: 20_000 }, () => {
  it("keeps what a node raised as evidence, and what was made before as outputs", async () => {
    harness = await createHarness();
    harness.simulator.faults.add({ kind: "oom", match: { nodeClass: "VAEDecode" } });
    const graph = { ...textToImage(1), ...renumbered(plainImage(1), "9") };
    const lease = await harness.plane.submit({ graph });
    const { outcome } = await harness.plane.reported(lease.attemptId);
    expect(outcome).toMatchObject({
      kind: "failed",
      evidence: { channel: "execution", nodeType: "VAEDecode" },
    });
    expect(JSON.stringify(outcome)).not.toContain("a house");
    expect(outputsOf(outcome).length).toBeLessThanOrEqual(1);
    // It proves itself before it is given more work.
    const next = await harness.plane.submit({ graph: plainImage(2) });
    expect((await harness.plane.reported(next.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("fails when ComfyUI takes a graph and drops one of its outputs (F2)", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const graph = {
      ...textToImage(1, 200),
      "8": { class_type: "LoadImage", inputs: { image: "nobody-has-this.png" } },
      "9": { class_type: "PreviewImage", inputs: { images: ["8", 0] } },
    };
    const lease = await harness.plane.submit({ graph });
    expect((await harness.plane.reported(lease.attemptId)).outcome).toMatchObject({
      kind: "failed",
      evidence: {
        channel: "validation",
        validationType: "custom_validation_failed",
        nodeId: "8",
        httpStatus: 200,
      },
    });
    expect(harness.simulator.stats().queueRemaining).toBe(0);
  });

  it("calls a run whose file was deleted a failure, never a success (F16)", async () => {
    harness = await createHarness();
    harness.simulator.faults.add({ kind: "delete_file", match: { nodeClass: "SaveImage" } });
    const lease = await harness.plane.submit({ graph: plainImage(1) });
    const { outcome } = await harness.plane.reported(lease.attemptId);
    expect(outcome).toMatchObject({ kind: "failed", evidence: { channel: "collection" } });
  });

  it("makes a cached preview run again, so that its file is there", async () => {
    harness = await createHarness();
    const graph = {
      "1": plainImage(5)["1"],
      "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
    };
    const names = new Set<string>();
    for (let n = 0; n < 2; n += 1) {
      const lease = await harness.plane.submit({ graph });
      const { outcome } = await harness.plane.reported(lease.attemptId);
      expect(outputsOf(outcome)).toHaveLength(1);
      names.add(outputsOf(outcome)[0]?.name ?? "");
    }
    // A cached node would have named the first run's file, which somebody may have deleted.
    expect(names.size).toBe(2);
  });

  it("waits for a store that is down, and then completes", async () => {
    harness = await createHarness();
    const { plane } = harness;
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
    plane.outage("store");
    const lease = await plane.submit({ graph: plainImage(1) });
    await eventually(() => harness.agent().status().spoolBytes > 0);
    await eventually(() => harness.logged.some((line) => line.includes("store does not take")));
    expect(plane.reports).toHaveLength(0);
    plane.outage("none");
    expect((await plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
    await eventually(() => harness.agent().status().spoolBytes === 0);
  });
});

describe("a dying ComfyUI", { timeout: 20_000 }, () => {
  it("blames the running prompt and gives back the staged one", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const first = await plane.submit({ graph: textToImage(1, 50) });
    const second = await plane.submit({ graph: textToImage(2, 50) });
    await eventually(() => harness.simulator.stats().queueRemaining === 2);
    await eventually(() => phasesOf(harness).includes("running"));
    harness.simulator.crash(100);
    const died = await plane.reported(first.attemptId);
    expect(died.timings["executeMs"]).toBeGreaterThan(0);
    expect(died.outcome).toMatchObject({
      kind: "instance_died",
      evidence: { channel: "process_exit" },
    });
    expect((await plane.reported(second.attemptId)).outcome.kind).toBe("released");
    const next = await plane.submit({ graph: plainImage(2) });
    expect((await plane.reported(next.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("is told to have run the prompt that killed it before anything was heard of it", async () => {
    harness = await createHarness();
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
    harness.simulator.faults.add({ kind: "stall_socket" });
    harness.simulator.faults.add({ kind: "crash", match: { nodeClass: "VAEDecode" } });
    const lease = await harness.plane.submit({ graph: textToImage(1) });
    const { outcome, started } = await harness.plane.reported(lease.attemptId);
    expect(outcome.kind).toBe("instance_died");
    expect(started).toBe(true);
  });

  it("notices a restart that is too quick to be seen as a refusal", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const lease = await plane.submit({ graph: textToImage(1, 50) });
    await eventually(() => phasesOf(harness).includes("running"));
    harness.simulator.crash(0);
    expect((await plane.reported(lease.attemptId)).outcome.kind).toBe("instance_died");
  });

  it("is given work again soon after it serves again, however long it was away", async () => {
    // Looks at an instance that is slow would be minutes apart by now; these are refused.
    const limits = { troubleEveryMs: 60_000, healthEveryMs: 60_000, goneEveryMs: 20 };
    harness = await createHarness({ isIdle: true });
    await harness.startAgent({ limits });
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
    const killing = await harness.plane.submit({ graph: textToImage(1) });
    harness.simulator.faults.add({ kind: "crash", match: { nodeClass: "VAEDecode" } });
    expect((await harness.plane.reported(killing.attemptId)).outcome.kind).toBe("instance_died");
    const next = await harness.plane.submit({ graph: plainImage(2) });
    expect((await harness.plane.reported(next.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("is not called healthy while nothing comes through its queue (F26)", async () => {
    harness = await createHarness({ isIdle: true });
    harness.simulator.faults.add({ kind: "zombie" });
    await harness.startAgent({ limits: { deepCheckMs: 200 } });
    await eventually(() => harness.agent().status().instances[0]?.state === "unhealthy");
    expect(harness.agent().status().instances[0]?.reason).toContain("deep check");
    harness.simulator.crash(50);
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
  });
});

describe("a run without an end", { timeout: 20_000 }, () => {
  it("is a stall, and leaves the instance unhealthy when no interrupt helps", async () => {
    harness = await createHarness({ agent: { limits: { stopConfirmMs: 300, deepCheckMs: 200 } } });
    harness.simulator.faults.add({ kind: "hang", polls: false, match: { nodeClass: "VAEDecode" } });
    const stall = { progressMs: 300, firstLoadMs: 300 };
    const { plane } = harness;
    const hung = await plane.submit({ graph: textToImage(1), stall });
    const staged = await plane.submit({ graph: plainImage(1), stall });
    const report = await plane.reported(hung.attemptId);
    expect(report.outcome).toMatchObject({ kind: "stalled", evidence: { channel: "stall" } });
    expect(report.timings["executeMs"]).toBeGreaterThanOrEqual(300);
    expect((await plane.reported(staged.attemptId)).outcome.kind).toBe("released");
    expect(harness.agent().status().instances[0]?.state).toBe("unhealthy");
  });

  it("leaves the instance at work when the interrupt is confirmed", async () => {
    harness = await createHarness();
    harness.simulator.faults.add({ kind: "hang", polls: true, match: { nodeClass: "VAEDecode" } });
    const stall = { progressMs: 300, firstLoadMs: 300 };
    const hung = await harness.plane.submit({ graph: textToImage(1), stall });
    expect((await harness.plane.reported(hung.attemptId)).outcome.kind).toBe("stalled");
    const next = await harness.plane.submit({ graph: plainImage(2) });
    expect((await harness.plane.reported(next.attemptId)).outcome.kind).toBe("succeeded");
  });

  it("is ended at its execution limit", async () => {
    harness = await createHarness();
    harness.simulator.faults.add({ kind: "hang", polls: true, match: { nodeClass: "VAEDecode" } });
    const lease = await harness.plane.submit({ graph: textToImage(1), executionLimitMs: 300 });
    const report = await harness.plane.reported(lease.attemptId);
    expect(report.outcome).toMatchObject({
      kind: "failed",
      evidence: { channel: "stall", exceptionType: "execution_time_limit" },
    });
    expect(report.timings["executeMs"]).toBeGreaterThanOrEqual(300);
  });
});

function renumbered(graph: Record<string, unknown>, prefix: string): Record<string, unknown> {
  const text = JSON.stringify(graph).replaceAll(/"(\d)"/g, `"${prefix}$1"`);
  return JSON.parse(text) as Record<string, unknown>;
}
