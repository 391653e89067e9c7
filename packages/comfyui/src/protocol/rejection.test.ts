import * as fc from "fast-check";
import { expect, test } from "vitest";
import { callsOf } from "../../testing/fixtures.ts";
import { member } from "./json-shape.ts";
import { parseNodeErrors, parsePromptRejection, type PromptRejection } from "./rejection.ts";

function recorded(note: string): PromptRejection {
  const step = callsOf("validation-errors", "POST", "/prompt").find((s) =>
    s.note?.startsWith(note),
  );
  const res = step?.res;
  if (res === undefined) throw new Error(`no step ${note}`);
  return parsePromptRejection(res.status, res.text ?? JSON.stringify(res.json));
}

test("a body without a prompt is told as such", () => {
  expect(recorded("no_prompt")).toEqual({ kind: "no_prompt", message: "No prompt provided" });
});

test.each([
  ["required_input_missing", "1", "batch_size"],
  ["bad_linked_input", "2", "images"],
  ["return_type_mismatch", "2", "images"],
  ["value_smaller_than_min", "1", "width"],
  ["value_bigger_than_max", "1", "width"],
  ["value_not_in_list", "1", "ckpt_name"],
  ["invalid_input_type", "1", "width"],
  ["custom_validation_failed", "1", "image"],
  ["exception_during_validation", "2", undefined],
  ["exception_during_inner_validation", "1", "images"],
])("%s names node %s and input %s", (type, nodeId, inputName) => {
  const rejection = recorded(type);
  expect(rejection).toMatchObject({
    kind: "invalid_graph",
    type: "prompt_outputs_failed_validation",
    nodeErrors: [{ nodeId, dependentOutputs: [expect.any(String)] }],
  });
  const [node] = rejection.kind === "invalid_graph" ? rejection.nodeErrors : [];
  expect(node?.errors[0]).toMatchObject({ type, inputName });
});

const first = (r: PromptRejection) =>
  r.kind === "invalid_graph" ? r.nodeErrors[0]?.errors[0] : undefined;

test("the valid values of a choice come with it, unless ComfyUI left them out", () => {
  const short = recorded("value_not_in_list");
  const long = recorded("value_not_in_list (list longer");
  expect(first(short)?.validValues).toEqual(["tiny.safetensors"]);
  expect(first(short)?.receivedValue).toBe("nope.safetensors");
  expect(first(long)?.validValues).toBeUndefined();
});

test("an unknown class is named, in the words of both generations", () => {
  expect(recorded("invalid_prompt (unknown class)")).toMatchObject({
    type: "invalid_prompt",
    missingClass: "NopeNode",
  });
  expect(recorded("invalid_prompt (missing class_type)")).toMatchObject({
    missingClass: undefined,
  });
  const later = {
    error: {
      type: "missing_node_type",
      message: "Node 'Title' not found.",
      details: "",
      extra_info: { class_type: "Nope" },
    },
    node_errors: [],
  };
  expect(parsePromptRejection(400, JSON.stringify(later))).toMatchObject({
    missingClass: "Nope",
    nodeErrors: [],
  });
});

test("a cycle comes without any evidence", () => {
  expect(recorded("cycle")).toMatchObject({ kind: "invalid_graph", nodeErrors: [] });
});

test.each([
  [500, "500 Internal Server Error\n\nServer got itself in trouble", "server_error"],
  [502, "<html>", "server_error"],
  [413, "Maximum request body size exceeded", "too_large"],
  [403, "", "forbidden"],
  [401, "", "forbidden"],
  [404, "404: Not Found", "unexpected"],
  [400, "not json", "unexpected"],
  [400, '{"error":"plain"}', "unexpected"],
])("status %i with %j is %s", (status, body, kind) => {
  expect(parsePromptRejection(status, body).kind).toBe(kind);
});

test("a long body without JSON is cut", () => {
  const rejection = parsePromptRejection(500, "x".repeat(1e6));
  expect(rejection.kind === "server_error" && rejection.text.length).toBe(2000);
});

test("the dropped outputs of a 200 are read as well", () => {
  const [step] = callsOf("partial-invalid", "POST", "/prompt");
  const errors = parseNodeErrors(member(step?.res?.json, "node_errors"));
  expect(errors.length).toBeGreaterThan(0);
  expect(errors[0]?.dependentOutputs.length).toBeGreaterThan(0);
});

test("any body at all is read without throwing", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(400, 404, 500),
      fc.jsonValue(),
      fc.jsonValue(),
      (status, error, node_errors) => {
        expect(
          parsePromptRejection(status, JSON.stringify({ error, node_errors })).kind,
        ).toBeTruthy();
      },
    ),
  );
});
