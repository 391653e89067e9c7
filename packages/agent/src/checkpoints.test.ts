import type { Lease, LeaseCheckpoint } from "@holdfast/contract";
import { afterEach, describe, expect, it } from "vitest";
import { createHarness, outputsOf, textToImage, type Harness } from "../testing/harness.ts";
import { toCheckpointGraph } from "./checkpoint-graph.ts";
import { Checkpoints, type CheckpointsDeps } from "./checkpoints.ts";
import type { PlaceDeps } from "./place-input.ts";

let harness: Harness;
afterEach(async () => {
  await harness.end();
});

const KEY = "c".repeat(64);
const SAVER: LeaseCheckpoint = {
  nodeId: "checkpoint:5:0",
  node: {
    class_type: "SaveLatent",
    inputs: { samples: ["5", 0], filename_prefix: "checkpoint/c" },
  },
  key: KEY,
  ofNodeId: "5",
};
const resumeFrom = (sha256: string, sizeBytes: number): NonNullable<Lease["resume"]> => ({
  patch: {
    set: [{ nodeId: "6", input: "samples", value: ["resume:5:0", 0] }],
    putNodes: [
      {
        nodeId: "resume:5:0",
        node: { class_type: "LoadLatent", inputs: { latent: `${KEY}.latent` } },
      },
    ],
    removeNodes: ["2", "3", "4", "5"],
  },
  files: [
    { nodeId: "resume:5:0", input: "latent", name: `${KEY}.latent`, key: KEY, sha256, sizeBytes },
  ],
});

/** A picture that takes its time behind the sampler, so that the latent comes through. */
const UNHURRIED = {
  ...textToImage(1),
  "7": { class_type: "SaveImage", inputs: { filename_prefix: "page", images: ["9", 0] } },
  "9": { class_type: "HoldfastSleep", inputs: { image: ["6", 0], seconds: 0.5, poll: true } },
};

/** Runs the picture once with a checkpoint; what was told of it. */
async function save() {
  const lease = await harness.plane.submit({ graph: UNHURRIED, checkpoints: [SAVER] });
  const told = harness.plane.until(() => harness.plane.checkpoints.length > 0);
  const { outcome } = await harness.plane.reported(lease.attemptId);
  await told;
  return { lease, outcome, saved: harness.plane.checkpoints[0]?.saved[0] };
}

describe("a latent that is put away", { timeout: 20_000 }, () => {
  it.each([
    ["OSError", "[Errno 28] No space left on device", "failed"],
    [
      "safetensors_rust.SafetensorError",
      "Error while serializing: I/O error: No space left on device (os error 28)",
      "failed",
    ],
    ["RuntimeError", "latents of this kind cannot be saved", "released"],
  ])(
    "that cannot be saved for %s (%s) has the attempt %s",
    async (exceptionType, message, kind) => {
      const match = { nodeClass: "SaveLatent" };
      harness = await createHarness({
        simulator: { faults: [{ kind: "raise", exceptionType, message, match }] },
      });
      const lease = await harness.plane.submit({ graph: UNHURRIED, checkpoints: [SAVER] });
      const { outcome } = await harness.plane.reported(lease.attemptId);
      // A full disk is full for the job's outputs too; what only the latent is at fault for costs nothing.
      expect(outcome).toMatchObject({ kind });
    },
  );

  it("is in the store and told of, and no output of the job", async () => {
    harness = await createHarness({
      // Long enough after the sampler for the file to come through.
      simulator: { faults: [{ kind: "hang", match: { nodeClass: "VAEDecode" } }] },
    });
    const lease = await harness.plane.submit({
      graph: textToImage(1),
      checkpoints: [SAVER],
      stall: { progressMs: 1_000, firstLoadMs: 1_000 },
    });
    await harness.plane.until(() => harness.plane.checkpoints.length > 0);
    const [told] = harness.plane.checkpoints;
    expect(told).toMatchObject({
      attemptId: lease.attemptId,
      leaseEpoch: lease.leaseEpoch,
      saved: [{ key: KEY, nodeId: "5" }],
    });
    const [saved] = told?.saved ?? [];
    expect(harness.plane.blobs.get(saved?.sha256 ?? "")?.length).toBe(saved?.sizeBytes);
    expect(saved?.percent).toBeGreaterThan(0);
    const { outcome } = await harness.plane.reported(lease.attemptId);
    expect(outcome.kind).toBe("stalled");
    expect(outputsOf(outcome)).toEqual([]);
  });

  it("spares the next attempt its sampler, and gives the same picture", async () => {
    harness = await createHarness({ simulator: { timeScale: 0.2 } });
    const first = await save();
    if (first.saved === undefined) throw new Error("nothing was saved");
    const requests = harness.plane.checkpoints.length;
    const second = await harness.plane.submit({
      graph: UNHURRIED,
      checkpoints: [SAVER],
      resume: resumeFrom(first.saved.sha256, first.saved.sizeBytes),
    });
    const { outcome } = await harness.plane.reported(second.attemptId);
    expect(outcome.kind).toBe("succeeded");
    expect(harness.plane.checkpoints.slice(requests)).toEqual([
      expect.objectContaining({ attemptId: second.attemptId, resumedFrom: [KEY], saved: [] }),
    ]);
    const [one] = outputsOf(first.outcome);
    const [two] = outputsOf(outcome);
    const bytesOf = (sha256 = "") => Buffer.from(harness.plane.blobs.get(sha256) ?? []);
    expect(pixels(bytesOf(two?.sha256))).toBe(pixels(bytesOf(one?.sha256)));
  });
});

describe("a latent that cannot be used", { timeout: 20_000 }, () => {
  it("is reported, and the whole graph runs in the same attempt", async () => {
    harness = await createHarness();
    const lease = await harness.plane.submit({
      graph: textToImage(1),
      resume: resumeFrom("d".repeat(64), 10),
    });
    const { outcome } = await harness.plane.reported(lease.attemptId);
    expect(outcome.kind).toBe("succeeded");
    expect(harness.plane.checkpoints).toEqual([
      expect.objectContaining({
        resumedFrom: [],
        unusable: [expect.objectContaining({ key: KEY })],
      }),
    ]);
  });

  it("gives the attempt back at no cost when only ComfyUI finds it broken", async () => {
    harness = await createHarness();
    const bytes = Buffer.from("no latent");
    const sha256 = harness.plane.putFile(bytes);
    const lease = await harness.plane.submit({
      graph: textToImage(1),
      resume: resumeFrom(sha256, bytes.length),
    });
    const { outcome } = await harness.plane.reported(lease.attemptId);
    expect(outcome).toMatchObject({
      kind: "released",
      reason: expect.stringContaining("a checkpoint is of no use"),
    });
    expect(harness.plane.checkpoints.at(-1)?.unusable).toEqual([
      { key: KEY, nodeId: "resume:5:0", reason: expect.any(String) },
    ]);
  });

  it("is not loaded when that would leave out a promised output", async () => {
    harness = await createHarness();
    const bytes = Buffer.from("no latent");
    const resume = resumeFrom(harness.plane.putFile(bytes), bytes.length);
    const lease = await harness.plane.submit({
      graph: {
        ...textToImage(1),
        "8": { class_type: "PreviewAny", inputs: { source: ["5", 0] } },
      },
      resume: { ...resume, patch: { ...resume.patch, removeNodes: ["2", "3", "4", "5", "8"] } },
    });
    const { outcome } = await harness.plane.reported(lease.attemptId);
    expect(outcome.kind).toBe("succeeded");
    expect(harness.plane.checkpoints).toEqual([]);
  });
});

it("a latent is no output either for an agent whose lease does not name it any more", async () => {
  harness = await createHarness();
  const lease = await harness.plane.submit({
    graph: { ...textToImage(1), [SAVER.nodeId]: SAVER.node },
  });
  const { outcome } = await harness.plane.reported(lease.attemptId);
  // Here it is the caller's own node.
  expect(outputsOf(outcome).map(({ kind }) => kind)).toEqual(["image", "latent"]);
  const checkpoints = new Checkpoints({
    lease: () => ({ ...lease, graph: textToImage(1) }),
    stopped: new AbortController().signal,
  } as unknown as CheckpointsDeps);
  const shown = { latents: [{ filename: "x.latent", subfolder: "", type: "output" }] };
  expect(checkpoints.show(SAVER.nodeId, shown)).toBe(true);
  expect(checkpoints.show("7", shown)).toBe(false);
}, 20_000);

it("an instance without the classes runs the graph as it is", async () => {
  harness = await createHarness();
  const lease = await harness.plane.submit({
    graph: textToImage(1),
    checkpoints: [SAVER],
    resume: resumeFrom("d".repeat(64), 10),
  });
  const none = { kind: "ready", graph: lease.graph, resumedFrom: [], unusable: [] };
  expect(await toCheckpointGraph(lease, ["7"], {}, {} as PlaceDeps)).toEqual(none);
  await harness.plane.reported(lease.attemptId);
}, 20_000);

it("a node that cannot save its latent costs the job nothing", async () => {
  harness = await createHarness({
    simulator: {
      faults: [{ kind: "raise", message: "odd tensor", match: { nodeClass: "SaveLatent" } }],
    },
  });
  const lease = await harness.plane.submit({ graph: textToImage(1), checkpoints: [SAVER] });
  const { outcome } = await harness.plane.reported(lease.attemptId);
  expect(outcome.kind).toBe("released");
  expect(harness.plane.checkpoints.at(-1)?.unusable).toEqual([
    { key: KEY, nodeId: "5", reason: expect.stringContaining("odd tensor") },
  ]);
}, 20_000);

/** The compressed pixels of a PNG, without the text beside them. */
function pixels(png: Buffer): string {
  const at = png.indexOf("IDAT", 0, "latin1");
  return png.subarray(at).toString("base64");
}
