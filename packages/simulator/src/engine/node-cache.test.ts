import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, it } from "vitest";
import { createMemoryFiles } from "../files/memory-files.ts";
import { NodeCache } from "./node-cache.ts";
import type { PostedGraph } from "./validation.ts";

const files = createMemoryFiles(createFakeClock(), 1e6);
const surroundings = { files, modelNames: () => [] };

function graph(color: number, prefix: string): PostedGraph {
  return {
    "1": { class_type: "EmptyImage", inputs: { color } },
    "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: prefix } },
  };
}

function filled(): NodeCache {
  const cache = new NodeCache();
  cache.usePrompt(graph(1, "a"), surroundings);
  cache.setOutputs("1", []);
  cache.setOutputs("2", []);
  return cache;
}

function hits(cache: NodeCache, ids: readonly string[]): readonly string[] {
  return ids.filter((id) => cache.outputs(id) !== undefined);
}

describe("the node cache", () => {
  it("keeps what the next prompt has too, under other ids as well", () => {
    const cache = filled();
    cache.usePrompt(graph(1, "b"), surroundings);
    expect(hits(cache, ["1", "2"])).toEqual(["1"]);
    const renamed: PostedGraph = { "9": { class_type: "EmptyImage", inputs: { color: 1 } } };
    cache.usePrompt(renamed, surroundings);
    expect(hits(cache, ["9"])).toEqual(["9"]);
  });

  it("a change upstream makes everything below run again", () => {
    const cache = filled();
    cache.usePrompt(graph(2, "a"), surroundings);
    expect(hits(cache, ["1", "2"])).toEqual([]);
  });

  it("forgets what one prompt in between did not have", () => {
    const cache = filled();
    cache.usePrompt(graph(2, "b"), surroundings);
    cache.usePrompt(graph(1, "a"), surroundings);
    expect(hits(cache, ["1", "2"])).toEqual([]);
  });

  it("other bytes under the same name make a loader run again", () => {
    const cache = new NodeCache();
    const load: PostedGraph = { "1": { class_type: "LoadImage", inputs: { image: "x.png" } } };
    files.write("input", "", "x.png", Buffer.from("one"));
    cache.usePrompt(load, surroundings);
    cache.setOutputs("1", []);
    cache.usePrompt(load, surroundings);
    expect(hits(cache, ["1"])).toEqual(["1"]);
    files.write("input", "", "x.png", Buffer.from("two"));
    cache.usePrompt(load, surroundings);
    expect(hits(cache, ["1"])).toEqual([]);
  });
});
