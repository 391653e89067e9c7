import { applyPatch, type Graph } from "@holdfast/comfyui/protocol";
import type { SubmitJob } from "@holdfast/contract";
import * as fc from "fast-check";
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { MAX_OVERRIDES } from "./model.ts";
import { planSubmission, type PlannedJob } from "./submission.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const facts = { allowedClasses: null, sha256 };

function plan(request: SubmitJob): PlannedJob {
  const planned = planSubmission(request, facts);
  if (planned.kind === "refused") throw new Error(planned.message);
  return planned.job;
}

function graphWith(more: Record<string, unknown>, seed = 1): SubmitJob["graph"] {
  return {
    "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "b.safetensors" } },
    "2": { class_type: "LoraLoader", inputs: { model: ["1", 0], lora_name: "a.safetensors" } },
    "3": { class_type: "KSampler", inputs: { model: ["2", 0], seed, ...more } },
    "4": { class_type: "SaveImage", inputs: { images: ["3", 0] }, _meta: { title: "end" } },
  };
}

describe("a planned job", () => {
  test("template and patch give back the graph that was sent, overrides in it", () => {
    const sent = graphWith({ steps: 20, cfg: 7.5 });
    const job = plan({ graph: sent, set: { "3.seed": 99 } });
    const made = applyPatch(JSON.parse(job.templateJson) as Graph, job.patch);
    expect(JSON.stringify(made)).toBe(JSON.stringify(graphWith({ steps: 20, cfg: 7.5 }, 99)));
    expect(job.graphHash).toBe(sha256(job.templateJson));
    expect(job.nodeCount).toBe(4);
  });

  test("graphs that differ in usual values only share template and requirement", () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 100 }), (seed, steps) => {
        const a = plan({ graph: graphWith({ steps }, seed) });
        const b = plan({ graph: graphWith({ steps: 20 }) });
        expect([a.graphHash, a.requirementHash]).toEqual([b.graphHash, b.requirementHash]);
      }),
    );
  });

  test("graphs with other titles or models do not share what differs", () => {
    const a = plan({ graph: graphWith({}) });
    const titled = graphWith({});
    titled["4"] = { class_type: "SaveImage", inputs: { images: ["3", 0] }, _meta: { title: "x" } };
    const b = plan({ graph: titled });
    expect(b.graphHash).not.toBe(a.graphHash);
    expect(b.requirementHash).toBe(a.requirementHash);
    const c = plan({ graph: graphWith({}), set: { "1.ckpt_name": "c.safetensors" } });
    expect(c.requirementHash).not.toBe(a.requirementHash);
  });

  test("needs, promised outputs and files are read off; files on the machine are not asked for", () => {
    const graph = {
      ...graphWith({}),
      "5": { class_type: "LoadImage", inputs: { image: "a.png" } },
      "6": { class_type: "LoadImage", inputs: { image: "sub/b.png [output]" } },
    };
    const job = plan({ graph });
    expect(job.needs.models).toEqual([
      { folder: "checkpoints", name: "b.safetensors" },
      { folder: "loras", name: "a.safetensors" },
    ]);
    expect(job.needs.nodeClasses).toEqual([...job.needs.nodeClasses].sort());
    expect(job.promised).toEqual([{ nodeId: "4", classType: "SaveImage", kind: "file" }]);
    expect(job.inputFiles.map(({ name }) => name)).toEqual(["a.png"]);
  });

  test("what was not said has its default, doubled tags are one", () => {
    expect(plan({ graph: graphWith({}), tags: ["a", "a"] })).toMatchObject({
      priority: 0,
      timeoutMs: 1_800_000,
      tags: ["a"],
      metadata: {},
      policy: {},
      webhook: null,
      name: null,
      batchId: null,
    });
  });

  test("a graph that ends in a class of a pack is taken, one of core classes alone is not", () => {
    const packed = plan({ graph: { "1": { class_type: "PackSaver", inputs: {} } } });
    expect(packed.promised).toEqual([]);
    const bare = planSubmission(
      { graph: { "1": { class_type: "EmptyImage", inputs: {} } } },
      facts,
    );
    expect(bare).toMatchObject({ kind: "refused", code: "graph_no_outputs" });
  });
});

function refusalOf(request: SubmitJob, allowedClasses: string[] | null = null): string {
  const planned = planSubmission(request, { ...facts, allowedClasses });
  return planned.kind === "refused" ? planned.code : "planned";
}

function withPrefix(filename_prefix: unknown): SubmitJob["graph"] {
  return {
    ...graphWith({}),
    "5": { class_type: "SaveImage", inputs: { images: ["3", 0], filename_prefix } },
  };
}

describe("refusals", () => {
  test("too many overrides", () => {
    const set = Object.fromEntries(
      Array.from({ length: MAX_OVERRIDES + 1 }, (_, index) => [`3.seed${index}`, 1]),
    );
    expect(refusalOf({ graph: graphWith({}), set })).toBe("invalid_request");
  });

  test("classes that the key's list does not name, the first ten of them told", () => {
    const graph = Object.fromEntries(
      Array.from({ length: 12 }, (_, index) => [
        `${index}`,
        { class_type: `C${index}`, inputs: {} },
      ]),
    );
    const planned = planSubmission({ graph }, { ...facts, allowedClasses: ["C1"] });
    expect(planned).toMatchObject({ kind: "refused", code: "node_class_forbidden" });
    expect(planned.kind === "refused" && planned.message).toMatch(/C0, C10, .*, …$/);
    const named = ["CheckpointLoaderSimple", "KSampler", "LoraLoader", "SaveImage"];
    expect(refusalOf({ graph: graphWith({}) }, named)).toBe("planned");
    expect(refusalOf({ graph: graphWith({}) }, named.slice(1))).toBe("node_class_forbidden");
  });

  test.each([
    ["../a.png"],
    ["a/../../b.png"],
    [String.raw`a\..\b.png`],
    ["/etc/passwd"],
    [String.raw`C:\a.png`],
    ["../a.png [temp]"],
  ])("the file name %s", (image) => {
    const graph = { ...graphWith({}), "5": { class_type: "LoadImage", inputs: { image } } };
    expect(refusalOf({ graph })).toBe("invalid_file_name");
  });

  test("a prefix that climbs out, while dots in names and links as prefix are fine", () => {
    expect(refusalOf({ graph: withPrefix("a/../b") })).toBe("invalid_file_name");
    expect(refusalOf({ graph: withPrefix("a..b/c.d") })).toBe("planned");
    expect(refusalOf({ graph: withPrefix(["3", 0]) })).toBe("planned");
  });

  test("an override that brings a link to nowhere says that it was the override", () => {
    const planned = planSubmission({ graph: graphWith({}), set: { "3.seed": ["77", 0] } }, facts);
    expect(planned).toMatchObject({ code: "graph_dangling_link" });
    expect(planned.kind === "refused" && planned.message).toMatch(/^after set: /);
  });

  test("texts that Postgres cannot keep, metadata too deep or too large", () => {
    const graph = graphWith({});
    let deep: unknown = 1;
    for (let level = 0; level < 40; level += 1) deep = [deep];
    expect(refusalOf({ graph, name: "\0" })).toBe("invalid_request");
    expect(refusalOf({ graph, batchId: "\ud800" })).toBe("invalid_request");
    expect(refusalOf({ graph, tags: ["fine", "\0"] })).toBe("invalid_request");
    expect(refusalOf({ graph, metadata: { deep } })).toBe("invalid_request");
    expect(refusalOf({ graph, metadata: { a: "\0" } })).toBe("invalid_request");
    expect(refusalOf({ graph, metadata: { a: "ü".repeat(8_200) } })).toBe("invalid_request");
    expect(refusalOf({ graph, metadata: { a: "x".repeat(16_000) } })).toBe("planned");
  });

  test("whatever is sent as a graph is planned or refused, never thrown", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (graph) => {
        expect(["planned", "refused"]).toContain(planSubmission({ graph }, facts).kind);
      }),
    );
  });
});
