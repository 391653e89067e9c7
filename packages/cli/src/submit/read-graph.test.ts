import { describe, expect, it } from "vitest";
import { readGraph } from "./read-graph.ts";

const node = { class_type: "EmptyImage", inputs: {} };

describe("reading a workflow file", () => {
  it("takes a graph as it is", () => {
    expect(readGraph(JSON.stringify({ "1": node }), "f")).toEqual({
      kind: "ok",
      graph: { "1": node },
    });
  });

  it("takes the graph out of a body for ComfyUI", () => {
    const body = { prompt: { "1": node }, client_id: "x" };
    expect(readGraph(JSON.stringify(body), "f")).toMatchObject({ graph: { "1": node } });
  });

  it("does not mistake a node called prompt for a body", () => {
    const graph = { prompt: node };
    expect(readGraph(JSON.stringify(graph), "f")).toMatchObject({ graph });
  });

  it("skips a byte order mark and keeps large seeds", () => {
    expect(readGraph('\uFEFF{"1":18446744073709551615}', "f")).toMatchObject({
      graph: { "1": "18446744073709551615" },
    });
  });

  it.each(["", "  ", "{", "hello"])("says of %j that it is no JSON, and what to give", (text) => {
    const read = readGraph(text, "my.json");
    expect(read).toMatchObject({ kind: "bad" });
    expect(read).toHaveProperty("message", expect.stringMatching(/^my\.json .*Export \(API\)/));
  });

  it("leaves the judgement of other JSON to the server", () => {
    expect(readGraph("[1]", "f")).toEqual({ kind: "ok", graph: [1] });
  });
});
