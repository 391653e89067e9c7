import type { Graph } from "@holdfast/comfyui/protocol";
import { describe, expect, it } from "vitest";
import { findMissingModels } from "./missing-models.ts";

const GRAPH: Graph = {
  "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "base.safetensors" } },
  "2": {
    class_type: "DualCLIPLoader",
    inputs: { clip_name1: "sd/clip_l.safetensors", clip_name2: "t5.safetensors" },
  },
};
const find = (evidence: { nodeId?: string; message: string } | null, lacking: string[] = []) =>
  findMissingModels(GRAPH, evidence, ({ name }) => !lacking.includes(name)).map(({ name }) => name);

describe("the models that a failure is about", () => {
  it("are those that nobody has, whatever the message says", () => {
    expect(find({ nodeId: "1", message: "base.safetensors" }, ["t5.safetensors"])).toEqual([
      "t5.safetensors",
    ]);
    expect(find(null, ["base.safetensors"])).toEqual(["base.safetensors"]);
  });

  it("are those of the failing node that the message names, in any spelling of the folder", () => {
    expect(find({ nodeId: "2", message: "C:\\models\\sd\\clip_l.safetensors not found" })).toEqual([
      "sd/clip_l.safetensors",
    ]);
  });

  it("is the only one of the failing node", () => {
    expect(find({ nodeId: "1", message: "file is corrupt" })).toEqual(["base.safetensors"]);
  });

  it("are none when nothing tells which", () => {
    expect(find({ nodeId: "2", message: "file is corrupt" })).toEqual([]);
    expect(find({ message: "file is corrupt" })).toEqual([]);
    expect(find(null)).toEqual([]);
  });
});
