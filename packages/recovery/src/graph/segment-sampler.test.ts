import { readFileSync } from "node:fs";
import { applyPatch, inputOf, nodeOf, type Graph } from "@holdfast/comfyui/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { segmentSamplers } from "./segment-sampler.ts";

const GRAPH = JSON.parse(
  readFileSync(new URL("../../../../examples/sd15-text-to-image.json", import.meta.url), "utf8"),
) as Graph;
const sampling = (inputs: Record<string, unknown>, classType = "KSampler"): Graph => ({
  ...GRAPH,
  "3": { class_type: classType, inputs: { ...GRAPH["3"]?.inputs, ...inputs } },
});
/** The same sampler as `KSamplerAdvanced`, which has other names and no `denoise`. */
const advanced = (inputs: Record<string, unknown>): Graph => {
  const { seed, denoise, ...shared } = GRAPH["3"]?.inputs ?? {};
  expect(denoise).toBe(1);
  return {
    ...GRAPH,
    "3": { class_type: "KSamplerAdvanced", inputs: { ...shared, noise_seed: seed, ...inputs } },
  };
};

/** The segments of node 3, first to last, by the links between them. */
function chainOf(graph: Graph): Graph[string][] {
  const chain: Graph[string][] = [];
  for (let id: string | undefined = "3"; id !== undefined;) {
    const node: Graph[string] | undefined = nodeOf(graph, id);
    if (node === undefined || !node.class_type.startsWith("KSampler")) break;
    chain.unshift(node);
    id = (inputOf(node, "latent_image") as [string, number] | undefined)?.[0];
  }
  return chain;
}

/** Why the only sampler stays whole. */
const whyWhole = (graph: Graph): string | undefined => {
  const { cut, whole } = segmentSamplers(graph);
  expect(cut).toEqual([]);
  return whole[0]?.reason;
};

describe("a sampler in segments", () => {
  it("adds its noise first, leaves the rest of it in, and ends where the whole one ends", () => {
    const graph = sampling({ steps: 30 });
    const { patch, cut, whole } = segmentSamplers(graph);
    expect(cut).toEqual([{ nodeId: "3", cuts: [10, 20] }]);
    expect(whole).toEqual([]);
    const after = applyPatch(graph, patch);
    const { seed, denoise: _, latent_image: latent, ...shared } = graph["3"]?.inputs ?? {};
    const segment = (from: number, to: number, more: object): object => ({
      class_type: "KSamplerAdvanced",
      inputs: { ...shared, noise_seed: seed, start_at_step: from, end_at_step: to, ...more },
    });
    expect(after["3:segment1"]).toEqual(
      segment(0, 10, {
        latent_image: latent,
        add_noise: "enable",
        return_with_leftover_noise: "enable",
      }),
    );
    expect(after["3:segment2"]).toEqual(
      segment(10, 20, {
        latent_image: ["3:segment1", 0],
        add_noise: "disable",
        return_with_leftover_noise: "enable",
      }),
    );
    expect(after["3"]).toMatchObject(
      segment(20, 30, {
        latent_image: ["3:segment2", 0],
        add_noise: "disable",
        return_with_leftover_noise: "disable",
      }),
    );
    expect(after["8"]).toEqual(graph["8"]);
  });

  it("covers the steps of an advanced sampler, whose own ends stay", () => {
    const graph = advanced({
      steps: 40,
      start_at_step: 5,
      end_at_step: 10_000,
      add_noise: "disable",
      return_with_leftover_noise: "enable",
    });
    const chain = chainOf(applyPatch(graph, segmentSamplers(graph).patch));
    expect(chain).toHaveLength(3);
    expect(chain[0]?.inputs).toMatchObject({ start_at_step: 5, add_noise: "disable" });
    expect(chain[2]?.inputs).toMatchObject({
      end_at_step: 10_000,
      return_with_leftover_noise: "enable",
    });
  });

  it("leaves whole what is short, and what would come out otherwise, with the reason", () => {
    expect(whyWhole(sampling({ steps: 19 }))).toBeUndefined();
    expect(whyWhole(sampling({ steps: 30, sampler_name: "dpmpp_2m" }))).toContain(
      "another picture",
    );
    expect(whyWhole(sampling({ steps: 30, sampler_name: "lms" }))).toContain("another picture");
    expect(whyWhole(sampling({ steps: 30, sampler_name: "euler_ancestral" }))).toContain("euler_a");
    expect(whyWhole(sampling({ steps: 30, denoise: 0.5 }))).toContain("schedule of its own");
    const masked: Graph = {
      ...sampling({ steps: 30, latent_image: ["20", 0] }),
      "20": { class_type: "SetLatentNoiseMask", inputs: { samples: ["5", 0], mask: ["21", 0] } },
    };
    expect(whyWhole(masked)).toContain("mask");
    const cached: Graph = {
      ...sampling({ steps: 30, model: ["20", 0] }),
      "20": { class_type: "TeaCache", inputs: { model: ["4", 0] } },
    };
    expect(whyWhole(cached)).toContain("TeaCache");
    // Steps are in the schedule there, and nobody can cut it as surely.
    const custom = {
      ...GRAPH,
      "3": { class_type: "SamplerCustom", inputs: GRAPH["3"]?.inputs ?? {} },
    };
    expect(segmentSamplers(custom)).toEqual({ patch: { set: [] }, cut: [], whole: [] });
  });

  it("runs every step once, in order, with one noise, however many there are", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 400 }), fc.nat(60), (steps, from) => {
        const graph = advanced({
          steps,
          start_at_step: from,
          end_at_step: steps,
          add_noise: "enable",
          return_with_leftover_noise: "disable",
        });
        const after = applyPatch(graph, segmentSamplers(graph).patch);
        const chain = chainOf(after);
        let at = from;
        for (const [index, { inputs }] of chain.entries()) {
          expect(inputs["start_at_step"]).toBe(at);
          expect(inputs["add_noise"]).toBe(index === 0 ? "enable" : "disable");
          at = inputs["end_at_step"] as number;
          if (chain.length > 1) expect(at - (inputs["start_at_step"] as number)).toBeGreaterThan(8);
        }
        expect(at).toBe(steps);
        expect(chain.length).toBeLessThanOrEqual(8);
      }),
    );
  });

  it("leaves a graph without samplers as it is", () => {
    const graph: Graph = { "1": { class_type: "EmptyImage", inputs: {} } };
    expect(segmentSamplers(graph)).toEqual({ patch: { set: [] }, cut: [], whole: [] });
  });
});
