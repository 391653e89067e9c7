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

const refuse = (): Promise<void> => Promise.reject(new Error("connection reset"));

let harness: Harness;
afterEach(async () => {
  await harness.end();
});

describe("an agent beside a living ComfyUI", { timeout: 20_000 }, () => {
  it("runs a lease and stores its picture under the caller's own name", async () => {
    harness = await createHarness();
    const lease = await harness.plane.submit({ graph: textToImage(1) });
    const { outcome, started } = await harness.plane.reported(lease.attemptId);
    expect(outcome).toMatchObject({
      kind: "succeeded",
      outputs: [
        { nodeId: "7", ordinal: 0, kind: "image", mediaType: "image/png", temporary: false },
      ],
    });
    const [output] = outputsOf(outcome);
    expect(output?.name).toMatch(/^books\/page_\d+_\.png$/);
    expect(harness.plane.blobs.has(output?.sha256 ?? "")).toBe(true);
    expect(started).toBe(true);
  });

  it("asks the history about once for each of many jobs", async () => {
    harness = await createHarness();
    const granted = Array.from({ length: 40 }, (_, n) =>
      harness.plane.submit({ graph: plainImage(n) }),
    );
    for (const lease of await Promise.all(granted)) {
      const { outcome } = await harness.plane.reported(lease.attemptId);
      expect(outcome.kind).toBe("succeeded");
    }
    const { requests } = harness.simulator.stats();
    expect(requests["POST /prompt"]).toBe(41); // The deep check is one of them.
    expect(requests["GET /history"]).toBeLessThanOrEqual(44);
  });

  it("stages the next prompt while one runs, and wants no third", async () => {
    harness = await createHarness({ simulator: { timeScale: 1 } });
    const { plane } = harness;
    const first = await plane.submit({ graph: textToImage(1, 30) });
    const second = await plane.submit({ graph: textToImage(2, 30) });
    await eventually(() => phasesOf(harness).join() === "running,staged");
    await eventually(() => harness.simulator.stats().queueRemaining === 2);
    expect(harness.agent().status().instances[0]?.wants).toBe(0);
    await plane.reported(first.attemptId);
    await plane.reported(second.attemptId);
  });

  it("deletes collected entries from the history", async () => {
    harness = await createHarness();
    const lease = await harness.plane.submit({ graph: plainImage(1) });
    await harness.plane.reported(lease.attemptId);
    // The deep check's own entry stays: it tells which process this is.
    await eventually(() => harness.simulator.stats().historySize === 1);
  });

  it("does not fetch what the store has of an earlier attempt", async () => {
    harness = await createHarness();
    const stored = [{ nodeId: "2", ordinal: 0, sha256: "a".repeat(64) }];
    const lease = await harness.plane.submit({ graph: plainImage(1), storedOutputs: stored });
    const { outcome } = await harness.plane.reported(lease.attemptId);
    expect(outcome).toEqual({ kind: "succeeded", outputs: [] });
    expect(harness.simulator.stats().requests["GET /view"]).toBeUndefined();
  });

  it("brings an input file to the instance under its hash, once for two jobs", async () => {
    harness = await createHarness();
    const { plane } = harness;
    const source = await plane.submit({ graph: plainImage(77) });
    const [picture] = outputsOf((await plane.reported(source.attemptId)).outcome);
    const sha256 = picture?.sha256 ?? "";
    for (let n = 0; n < 2; n += 1) {
      const lease = await plane.submit({
        graph: {
          "1": { class_type: "LoadImage", inputs: { image: "photo.png" } },
          "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
        },
        inputs: [
          {
            nodeId: "1",
            input: "image",
            name: "photo.png",
            sha256,
            sizeBytes: picture?.sizeBytes ?? 0,
          },
        ],
      });
      const { outcome } = await plane.reported(lease.attemptId);
      expect(outcome).toMatchObject({
        kind: "succeeded",
        outputs: [{ nodeId: "2", temporary: true }],
      });
    }
    expect(harness.simulator.stats().requests["POST /upload"]).toBe(1);
  });

  it("refuses a graph that the instance cannot run before anything is posted", async () => {
    harness = await createHarness();
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
    const before = harness.simulator.stats().requests["POST /prompt"];
    const graph = { ...textToImage(1) };
    graph["1"] = {
      class_type: "CheckpointLoaderSimple",
      inputs: { ckpt_name: "gone.safetensors" },
    };
    const lease = await harness.plane.submit({ graph });
    const report = await harness.plane.reported(lease.attemptId);
    expect(report.outcome).toMatchObject({
      kind: "failed",
      evidence: { channel: "validation", validationType: "value_not_in_list", nodeId: "1" },
    });
    expect(report.started).toBe(false);
    expect(harness.simulator.stats().requests["POST /prompt"]).toBe(before);
  });

  it("tells at once what an instance has, and what its model files say when that is read", async () => {
    const models = { checkpoints: ["said.safetensors", "silent.safetensors"] };
    const metadata = { "modelspec.architecture": "stable-diffusion-v1" };
    harness = await createHarness({
      simulator: {
        models,
        modelFiles: { checkpoints: { "said.safetensors": { metadata, sizeBytes: 7 } } },
      },
    });
    const { plane } = harness;
    await eventually(() => plane.inventories.size === 2);
    const [first, second] = [...plane.inventories.values()].map(({ inventory }) => inventory);
    expect(first?.models).toMatchObject(models);
    expect(first).not.toHaveProperty("modelFacts");
    expect(second?.digest).not.toBe(first?.digest);
    expect(second).toEqual({
      ...first,
      digest: second?.digest,
      modelFacts: [
        {
          folder: "checkpoints",
          name: "said.safetensors",
          architecture: "stable-diffusion-v1",
          baseModel: null,
          tensorHash: null,
          sizeBytes: 7,
        },
      ],
    });
  });

  it("does not poll in a storm for an inventory that cannot be sent", async () => {
    harness = await createHarness({ isIdle: true });
    const { plane } = harness;
    await harness.startAgent({ link: { ...plane.link, putInventory: refuse } });
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
    const polls = plane.counts.polls + 1;
    await plane.until(() => plane.counts.polls > polls);
    const begun = performance.now();
    await plane.until(() => plane.counts.polls > polls + 4);
    expect(performance.now() - begun).toBeGreaterThan(700);
  });

  it("tells whether the control plane answers, registered as it is", async () => {
    harness = await createHarness({ isIdle: true });
    const { plane } = harness;
    await harness.startAgent();
    await plane.until(() => plane.polls.length > 0);
    expect(harness.agent().status()).toMatchObject({ isRegistered: true, isAnswered: true });
    plane.outage("all");
    await eventually(() => !harness.agent().status().isAnswered);
    expect(harness.agent().status().isRegistered).toBe(true);
    plane.outage("none");
    await eventually(() => harness.agent().status().isAnswered);
  });

  it("registers again when the control plane does not know it any more", async () => {
    harness = await createHarness();
    await harness.plane.until(() => harness.plane.polls.length > 0);
    harness.plane.forgetMachine();
    const lease = await harness.plane.submit({ graph: plainImage(1) });
    expect((await harness.plane.reported(lease.attemptId)).outcome.kind).toBe("succeeded");
    expect(harness.plane.registrations.length).toBe(2);
  });
});

describe("outputs that are in no file", { timeout: 20_000 }, () => {
  it("come over the socket and are stored like the others", async () => {
    harness = await createHarness();
    await eventually(() => harness.agent().status().instances[0]?.state === "healthy");
    const graph = {
      "1": plainImage(9)["1"],
      "2": { class_type: "SaveImageWebsocket", inputs: { images: ["1", 0] } },
    };
    const lease = await harness.plane.submit({ graph });
    const { outcome } = await harness.plane.reported(lease.attemptId);
    expect(outcome).toMatchObject({
      kind: "succeeded",
      outputs: [{ nodeId: "2", ordinal: 0, kind: "image", name: "2-1.png" }],
    });
  });

  it("are kept as text when a node shows text", async () => {
    harness = await createHarness();
    const graph = {
      "1": { class_type: "PrimitiveString", inputs: { value: "seven words" } },
      "2": { class_type: "PreviewAny", inputs: { source: ["1", 0] } },
    };
    const lease = await harness.plane.submit({ graph });
    const { outcome } = await harness.plane.reported(lease.attemptId);
    expect(outcome).toMatchObject({
      kind: "succeeded",
      outputs: [{ nodeId: "2", kind: "text", text: "seven words", name: "2-1.txt" }],
    });
  });
});
