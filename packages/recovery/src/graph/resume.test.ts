import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  applyPatch,
  canonicalJson,
  isLink,
  nodeOf,
  promisedOutputs,
  type Graph,
} from "@holdfast/comfyui/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkpointNodes } from "./add-checkpoints.ts";
import { findCheckpointSites, type CheckpointSite } from "./checkpoint-sites.ts";
import { applyRecipe } from "./recipe.ts";
import { resumeGraph, type Resumed } from "./resume.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const example = (name: string): Graph =>
  JSON.parse(
    readFileSync(new URL(`../../../../examples/${name}.json`, import.meta.url), "utf8"),
  ) as Graph;
const sitesOf = (graph: Graph): readonly CheckpointSite[] =>
  findCheckpointSites(graph, sha256, { minWork: 0 });
const NO_PROMISES: readonly string[] = [];

function apply(graph: Graph, resumed: Resumed): Graph {
  if (resumed.kind === "nothing") throw new Error("nothing to resume");
  return applyPatch(graph, resumed.patch);
}

/** What a node computes, as one text: loaded latents count as what their samplers computed. */
function valueOf(graph: Graph, nodeId: string, loaded: ReadonlyMap<string, string>): string {
  const known = new Map<string, string>();
  const value = (id: string): string => {
    const before = known.get(id);
    if (before !== undefined) return before;
    const node = nodeOf(graph, id);
    if (node === undefined) throw new Error(`node ${id} is missing`);
    const inputs = Object.fromEntries(
      Object.entries(node.inputs).map(([input, held]) => [
        input,
        isLink(held) ? at(held[0], held[1]) : held,
      ]),
    );
    const made = sha256(canonicalJson([node.class_type, inputs]));
    known.set(id, made);
    return made;
  };
  const at = (id: string, output: number): string => {
    const node = nodeOf(graph, id);
    if (node?.class_type === "LoadLatent") {
      const name = String(node.inputs["latent"]);
      const latent = loaded.get(name);
      if (latent !== undefined) return latent;
    }
    return `${value(id)}:${String(output)}`;
  };
  return value(nodeId);
}

function expectSameOutputs(graph: Graph, sites: readonly CheckpointSite[], resumed: Graph): void {
  const loaded = new Map(
    sites.map(({ key, source }) => [
      `${key}.latent`,
      `${valueOf(graph, source[0], new Map())}:${String(source[1])}`,
    ]),
  );
  for (const { nodeId } of promisedOutputs(graph)) {
    expect(valueOf(resumed, nodeId, loaded), nodeId).toBe(valueOf(graph, nodeId, new Map()));
  }
}

describe("a resumed graph", () => {
  const graph = example("two-stage-upscale");
  const sites = sitesOf(graph);
  const [first, second] = sites;

  it("loads the first stage instead of sampling it, and runs only what comes after", () => {
    const withOneOutput: Graph = Object.fromEntries(
      Object.entries(graph).filter(([id]) => promisesOf(graph, "3").every((own) => own !== id)),
    );
    const own = sitesOf(withOneOutput);
    const saved = own.find(({ source }) => source[0] === "3");
    const resumed = resumeGraph(withOneOutput, own, (key) => key === saved?.key, NO_PROMISES);
    const after = apply(withOneOutput, resumed);
    expect(nodeOf(after, "3")).toBeUndefined();
    expect(nodeOf(after, "5")).toBeUndefined();
    expect(after["resume:3:0"]).toEqual({
      class_type: "LoadLatent",
      inputs: { latent: `${saved?.key ?? ""}.latent` },
    });
    expect(after["10"]?.inputs["samples"]).toEqual(["resume:3:0", 0]);
    expect(resumed).toMatchObject({
      files: [{ nodeId: "resume:3:0", input: "latent", key: saved?.key, ofNodeId: "3" }],
    });
    expectSameOutputs(withOneOutput, own, after);
  });

  it("leaves out an earlier latent that a later one makes needless", () => {
    const linear = { ...graph, "8": graph["8"] ?? { class_type: "", inputs: {} } };
    for (const id of promisesOf(graph, "3")) delete (linear as Record<string, unknown>)[id];
    const own = sitesOf(linear);
    const resumed = resumeGraph(linear, own, () => true, NO_PROMISES);
    if (resumed.kind === "nothing") throw new Error("nothing");
    expect(resumed.files.map(({ ofNodeId }) => ofNodeId)).toEqual([own.at(-1)?.source[0]]);
    expect(resumed.skipped).toEqual(expect.arrayContaining(own.map(({ source }) => source[0])));
  });

  it("does nothing without a latent that fits, or when the sampler must run all the same", () => {
    expect(resumeGraph(graph, sites, () => false, NO_PROMISES)).toEqual({ kind: "nothing" });
    expect(resumeGraph(graph, sites, (key) => key === "other", NO_PROMISES)).toEqual({
      kind: "nothing",
    });
    // Another output of the sampler is needed as well.
    const odd: Graph = {
      ...graph,
      "50": { class_type: "OddSave", inputs: { preview: [second?.source[0] ?? "", 1] } },
    };
    const resumed = resumeGraph(odd, sitesOf(odd), (key) => key === second?.key, NO_PROMISES);
    expect(resumed).toEqual({ kind: "nothing" });
  });

  it("keeps every promised output, also one in the middle whose class nobody knows", () => {
    const bridged: Graph = {
      ...graph,
      // Shows its picture and hands it on: an output node that feeds another.
      "60": { class_type: "OddBridge", inputs: { latent: [first?.source[0] ?? "", 0] } },
      "61": { class_type: "VAEEncode", inputs: { pixels: ["60", 0], vae: ["16", 2] } },
      [second?.source[0] ?? ""]: {
        class_type: "KSampler",
        inputs: { ...graph[second?.source[0] ?? ""]?.inputs, latent_image: ["61", 0] },
      },
    };
    const own = sitesOf(bridged);
    const last = own.at(-1);
    const resumed = resumeGraph(bridged, own, (key) => key === last?.key, ["60"]);
    const after = apply(bridged, resumed);
    expect(nodeOf(after, "60")).toEqual(bridged["60"]);
    expectSameOutputs(bridged, own, after);
  });

  it("gives what the whole graph gives, whatever was saved, after any recovery; and can be repeated", () => {
    const graphs = ["two-stage-upscale", "sdxl-text-to-image", "flux-text-to-image"].map(example);
    const batch = applyPatch(example("sd15-text-to-image"), {
      set: [{ nodeId: "5", input: "batch_size", value: 4 }],
    });
    const parts = applyRecipe(batch, { reductions: ["all"], tiledNodes: ["8"], partSize: 1 });
    fc.assert(
      fc.property(
        fc.constantFrom(...graphs, batch, parts),
        fc.infiniteStream(fc.boolean()),
        (whole, chosen) => {
          const own = sitesOf(whole);
          const saved = new Set(own.filter(() => chosen.next().value === true).map((s) => s.key));
          const resumed = resumeGraph(whole, own, (key) => saved.has(key), NO_PROMISES);
          expect(resumeGraph(whole, own, (key) => saved.has(key), NO_PROMISES)).toEqual(resumed);
          if (resumed.kind === "nothing") return;
          const after = apply(whole, resumed);
          expectSameOutputs(whole, own, after);
          expect(
            promisedOutputs(after)
              .map(({ nodeId }) => nodeId)
              .sort(),
          ).toEqual(
            promisedOutputs(whole)
              .map(({ nodeId }) => nodeId)
              .sort(),
          );
          for (const { nodeId, key } of resumed.files) {
            expect(saved.has(key)).toBe(true);
            expect(nodeOf(after, nodeId)?.class_type).toBe("LoadLatent");
          }
          // The nodes that save what is still to come fit into it.
          for (const { nodeId } of checkpointNodes(whole, own)) {
            expect(nodeOf(after, nodeId)).toBeUndefined();
          }
        },
      ),
    );
  });
});

/** Nodes that only the pictures of a stage need: its decoder and what saves it. */
function promisesOf(graph: Graph, samplerId: string): readonly string[] {
  const decoder = Object.entries(graph).find(
    ([, { class_type: type, inputs }]) =>
      type === "VAEDecode" && canonicalJson(inputs["samples"]) === canonicalJson([samplerId, 0]),
  )?.[0];
  const saver = Object.entries(graph).find(
    ([, { inputs }]) => canonicalJson(inputs["images"]) === canonicalJson([decoder, 0]),
  )?.[0];
  return [decoder, saver].flatMap((id) => id ?? []);
}
