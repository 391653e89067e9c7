import * as fc from "fast-check";
import { expect, test } from "vitest";
import { arbitraryGraph } from "../../testing/arbitrary-graph.ts";
import { readFixture } from "../../testing/fixtures.ts";
import { parseObjectInfo } from "./object-info.ts";
import { collectOutputFiles, prefixOutputs, promisedOutputs } from "./outputs.ts";

const node = (class_type: string, inputs: Record<string, unknown> = {}) => ({ class_type, inputs });

test("output nodes are known by table, and by the instance's word when it is given", () => {
  const graph = {
    a: node("KSampler"),
    b: node("SaveImage"),
    c: node("PreviewImage"),
    d: node("CustomSaver"),
    e: node("SaveImageWebsocket"),
  };
  expect(promisedOutputs(graph)).toEqual([
    { nodeId: "b", classType: "SaveImage", kind: "file" },
    { nodeId: "c", classType: "PreviewImage", kind: "temp" },
    { nodeId: "e", classType: "SaveImageWebsocket", kind: "any" },
  ]);
  const custom = parseObjectInfo({
    CustomSaver: { output_node: true },
    PreviewImage: { output_node: false },
  });
  expect(promisedOutputs(graph, custom).map(({ nodeId, kind }) => [nodeId, kind])).toEqual([
    ["b", "file"],
    ["d", "any"],
    ["e", "any"],
  ]);
  expect(promisedOutputs({ x: node("constructor") })).toEqual([]);
});

test("the recorded declarations agree with the table", () => {
  const objectInfo = parseObjectInfo(readFixture("object-info-core")) ?? {};
  const all = Object.fromEntries(Object.keys(objectInfo).map((name) => [name, node(name)]));
  expect(promisedOutputs(all, objectInfo)).toEqual(promisedOutputs(all));
});

test("files are collected from any key, in order, texts beside them", () => {
  const output = {
    images: [{ filename: "a.png", subfolder: "s", type: "output" }, { filename: "" }, 5, null],
    animated: [true],
    gifs: [{ filename: "b.mp4", subfolder: "", type: "temp", format: "video/h264" }],
    text: ["hello"],
    latents: [{ filename: "c.latent" }],
    other: ["no text"],
  };
  expect(collectOutputFiles(output)).toEqual({
    files: [
      { filename: "a.png", subfolder: "s", type: "output", key: "images" },
      { filename: "b.mp4", subfolder: "", type: "temp", key: "gifs" },
      { filename: "c.latent", subfolder: "", type: "output", key: "latents" },
    ],
    texts: ["hello"],
  });
});

test("whatever a node shows is read without throwing", () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => void collectOutputFiles(value)));
  expect(collectOutputFiles(null)).toEqual({ files: [], texts: [] });
});

test("literal prefixes go below the attempt's, tokens unharmed; linked ones are told", () => {
  const graph = {
    "1": node("SaveImage", {
      filename_prefix: "shots/%date:yyyy-MM-dd%/%KSampler.seed%",
      images: ["9", 0],
    }),
    "2": node("SaveImage", { filename_prefix: ["8", 0] }),
    "3": node("SaveLatent", { filename_prefix: "/abs" }),
    "4": node("KSampler", { seed: 1 }),
    "5": node("SaveImage", { filename_prefix: "" }),
  };
  const result = prefixOutputs(graph, "job_1/a2");
  expect(result.graph["1"]?.inputs["filename_prefix"]).toBe(
    "job_1/a2/shots/%date:yyyy-MM-dd%/%KSampler.seed%",
  );
  expect(result.graph["3"]?.inputs["filename_prefix"]).toBe("job_1/a2/abs");
  expect(result.graph["5"]?.inputs["filename_prefix"]).toBe("job_1/a2/");
  expect(result.graph["2"]).toBe(graph["2"]);
  expect(result.graph["4"]).toBe(graph["4"]);
  expect(result.prefixed).toEqual(["1", "3", "5"]);
  expect(result.linked).toEqual(["2"]);
  expect(graph["1"].inputs["filename_prefix"]).toBe("shots/%date:yyyy-MM-dd%/%KSampler.seed%");
});

test("two attempts never share a prefix, whatever the graph", () => {
  fc.assert(
    fc.property(arbitraryGraph, (graph) => {
      const { graph: prefixed, prefixed: ids } = prefixOutputs(graph, "a1");
      for (const id of ids)
        expect(String(prefixed[id]?.inputs["filename_prefix"]).startsWith("a1/")).toBe(true);
      expect(Object.keys(prefixed)).toEqual(Object.keys(graph));
    }),
  );
});
