import { readFileSync } from "node:fs";
import { applyPatch, nodeOf, type Graph, type GraphPatch } from "@holdfast/comfyui/protocol";
import { leaseSchema } from "@holdfast/contract";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NO_CHECKPOINTS, planCheckpoints, type CheckpointPlan } from "./checkpoint-plan.ts";

const example = (name: string): Graph =>
  JSON.parse(
    readFileSync(new URL(`../../../../examples/${name}.json`, import.meta.url), "utf8"),
  ) as Graph;
const SDXL = example("sdxl-text-to-image");
const STAGES = example("two-stage-upscale");
const OFF = { mode: "off", maxLoss: null, minWork: 20 } as const;
const AUTO = { mode: "auto", maxLoss: null, minWork: 20 } as const;
const SEGMENTS = { mode: "segments", maxLoss: null, minWork: 20 } as const;
const wire = leaseSchema.pick({ graph: true, checkpoints: true, resume: true });
const keysOf = (plan: CheckpointPlan): readonly string[] =>
  (plan.checkpoints ?? []).map(({ key }) => key);
const savedAs = (keys: readonly string[], sha256: string | null = "a".repeat(64)) => ({
  promised: [],
  known: keys.map((key) => ({ key, sha256, sizeBytes: 7 })),
});

describe("what a lease says of checkpoints", () => {
  it("is nothing when they are off, or when nothing is worth one", () => {
    expect(planCheckpoints(SDXL, OFF)).toEqual({ graph: SDXL });
    const small = example("sd15-text-to-image");
    expect(planCheckpoints(small, AUTO, NO_CHECKPOINTS)).toEqual({ graph: small });
  });

  it("names what to save on a first attempt, and fits on the wire", () => {
    const plan = planCheckpoints(SDXL, AUTO);
    expect(plan.graph).toBe(SDXL);
    expect(plan.checkpoints?.length).toBeGreaterThan(0);
    expect(plan.resume).toBeUndefined();
    expect(wire.parse(JSON.parse(JSON.stringify(plan)))).toEqual(plan);
  });

  it("goes on from what fits, and still names what is yet to be saved", () => {
    const first = planCheckpoints(STAGES, SEGMENTS);
    const stage = first.checkpoints?.find(({ ofNodeId }) => ofNodeId === "3");
    const plan = planCheckpoints(STAGES, SEGMENTS, savedAs([stage?.key ?? ""]));
    expect(keysOf(plan)).toEqual(keysOf(first));
    expect(plan.resume?.files).toEqual([
      {
        nodeId: "resume:3:0",
        input: "latent",
        name: `${stage?.key ?? ""}.latent`,
        key: stage?.key,
        sha256: "a".repeat(64),
        sizeBytes: 7,
      },
    ]);
    const resumed = applyPatch(plan.graph as Graph, plan.resume?.patch as GraphPatch);
    expect(nodeOf(resumed, "3")).toBeUndefined();
    expect(wire.parse(JSON.parse(JSON.stringify(plan)))).toEqual(plan);
  });

  it("uses nothing of another graph, and nothing that was of no use before", () => {
    const keys = keysOf(planCheckpoints(STAGES, SEGMENTS));
    const other = applyPatch(STAGES, { set: [{ nodeId: "3", input: "seed", value: 1 }] });
    expect(planCheckpoints(other, SEGMENTS, savedAs(keys)).resume).toBeUndefined();
    const plan = planCheckpoints(STAGES, SEGMENTS, savedAs(keys, null));
    expect(plan.resume).toBeUndefined();
    expect(plan.checkpoints).toEqual([]);
  });

  it("puts long euler samplers into segments where that is asked for", () => {
    const long = applyPatch(example("sd15-text-to-image"), {
      set: [{ nodeId: "3", input: "steps", value: 40 }],
    });
    const plan = planCheckpoints(long, SEGMENTS);
    expect(plan.checkpoints?.map(({ ofNodeId }) => ofNodeId)).toEqual([
      "3:segment1",
      "3:segment2",
      "3:segment3",
      "3",
    ]);
    expect(planCheckpoints(long, AUTO).graph).toBe(long);
    // They are not identical to one piece.
    const whole = planCheckpoints(long, { mode: "segments", maxLoss: "none", minWork: 20 });
    expect(whole.graph).toBe(long);
    expect(whole.checkpoints).toHaveLength(1);
  });
});

it("plans any graph that a caller may submit, and what it plans fits together", () => {
  const classes = [
    "KSampler",
    "KSamplerAdvanced",
    "SamplerCustomAdvanced",
    "EmptyLatentImage",
    "LatentUpscaleBy",
    "LatentFromBatch",
    "SetLatentNoiseMask",
    "VAEDecode",
    "SaveImage",
    "BasicScheduler",
    "Odd",
  ];
  const inputs = [
    "latent_image",
    "samples",
    "positive",
    "guider",
    "sigmas",
    "model",
    "images",
    "steps",
    "sampler_name",
    "width",
    "height",
    "batch_size",
    "length",
    "amount",
    "scale_by",
    "start_at_step",
    "end_at_step",
    "denoise",
    "seed",
    "__proto__",
  ];
  const value = fc.oneof(
    fc.tuple(fc.nat(30), fc.nat(2)).map(([to, output]) => ({ to, output })),
    fc.constantFrom(
      -1,
      0,
      1,
      24,
      64,
      4096,
      1e300,
      "euler",
      "ddim",
      null,
      true,
      "18446744073709551615",
    ),
  );
  const node = fc.record({
    id: fc.constantFrom("", "12:", "checkpoint:", "resume:", "constructor"),
    classType: fc.constantFrom(...classes),
    inputs: fc.array(fc.tuple(fc.constantFrom(...inputs), value), { maxLength: 8 }),
  });
  fc.assert(
    fc.property(fc.array(node, { maxLength: 25 }), fc.nat(1000), (nodes, salt) => {
      const ids = nodes.map(({ id }, at) => `${id}${String(at)}${at % 3 === 0 ? ":0" : ""}`);
      const graph: Graph = Object.fromEntries(
        nodes.map(({ classType, inputs: given }, at) => [
          ids[at] ?? "",
          {
            class_type: classType,
            // Links go backwards, for a graph in a circle is refused; some lead nowhere.
            inputs: Object.fromEntries(
              given.map(([name, held]) => [
                name,
                typeof held === "object" && held !== null
                  ? [held.to < at ? (ids[held.to] ?? "x") : "nowhere", held.output]
                  : held,
              ]),
            ),
          },
        ]),
      );
      for (const policy of [AUTO, SEGMENTS]) {
        const first = planCheckpoints(graph, policy);
        const saved = keysOf(first).filter((_, at) => (salt >> (at % 10)) % 2 === 0);
        const plan = planCheckpoints(graph, policy, savedAs(saved));
        expect(keysOf(plan)).toEqual(keysOf(first));
        const run = plan.graph as Graph;
        for (const { nodeId, ofNodeId } of plan.checkpoints ?? []) {
          expect(nodeOf(run, nodeId)).toBeUndefined();
          expect(nodeOf(run, ofNodeId)).toBeDefined();
        }
        for (const id of ids) expect(nodeOf(run, id)).toBeDefined();
        if (plan.resume === undefined) continue;
        const resumed = applyPatch(run, plan.resume.patch as GraphPatch);
        for (const { nodeId } of plan.resume.files) {
          expect(nodeOf(resumed, nodeId)?.class_type).toBe("LoadLatent");
        }
      }
    }),
    { numRuns: 500 },
  );
});

it("costs a short prompt next to nothing", () => {
  const small = example("sd15-text-to-image");
  for (let n = 0; n < 500; n += 1) planCheckpoints(small, AUTO);
  const begun = performance.now();
  for (let n = 0; n < 1_000; n += 1) planCheckpoints(small, AUTO);
  // 15 µs on a busy machine of two cores.
  expect((performance.now() - begun) / 1_000).toBeLessThan(1);
});
