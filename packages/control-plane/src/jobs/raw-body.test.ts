import { isHoldfastError } from "@holdfast/contract";
import { expect, test } from "vitest";
import { refuseMistakenBody } from "./raw-body.ts";

const GRAPH = { "1": { class_type: "SaveImage", inputs: {} } };
const EDITOR = { last_node_id: 1, nodes: [], links: [], version: 0.4 };

function told(body: unknown): string {
  try {
    refuseMistakenBody(body);
    return "nothing";
  } catch (error) {
    return isHoldfastError(error) ? `${error.code}: ${error.message}` : String(error);
  }
}

test.each([
  ["a graph by itself", GRAPH, /^invalid_request: the body is a graph by itself.*\{"graph"/],
  ["ComfyUI's own request", { prompt: GRAPH, client_id: "x" }, /^invalid_request: "prompt" is/],
  ["an editor's workflow", EDITOR, /^graph_editor_format:/],
  ["one among many", { jobs: [{ graph: GRAPH }, GRAPH] }, /^invalid_request: the body is a graph/],
  ["a graph that is a list", { graph: [] }, /^graph_not_object:.*list/],
  ["a graph that is text", { jobs: [{ graph: "x" }] }, /^graph_not_object:.*string/],
])("%s is recognised, and told what to send", (_what, body, expected) => {
  expect(told(body)).toMatch(expected);
});

test.each([
  ["a right body", { graph: GRAPH }],
  ["no object", [GRAPH]],
  ["nothing", undefined],
  ["jobs that are no list", { jobs: 3 }],
  ["jobs that are no objects", { jobs: [3] }],
  ["a job without a graph", { name: "x" }],
  ["a prompt that is text", { prompt: "a cat" }],
])("%s is left to the schema", (_what, body) => {
  expect(told(body)).toBe("nothing");
});
