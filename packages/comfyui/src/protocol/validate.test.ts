import { expect, test } from "vitest";
import { callsOf, readFixture } from "../../testing/fixtures.ts";
import type { Graph } from "./graph.ts";
import { member } from "./json-shape.ts";
import { parseObjectInfo, type ObjectInfo } from "./object-info.ts";
import { promisedOutputs } from "./outputs.ts";
import { parseGraph } from "./parse.ts";
import { parsePromptRejection } from "./rejection.ts";
import { isRefusedForSure, validateGraph } from "./validate.ts";

const objectInfo = parseObjectInfo(readFixture("object-info-core")) ?? {};

function check(graph: Graph, info: ObjectInfo = objectInfo) {
  const issues = validateGraph(graph, info);
  return {
    issues,
    refused: isRefusedForSure(
      issues,
      promisedOutputs(graph, info).map((o) => o.nodeId),
    ),
  };
}

const EXCHANGES = [
  "validation-errors",
  "happy-path",
  "partial-invalid",
  "cached",
  "queue-pending",
  "previews-legacy",
  "prompt-ids",
  "history-list",
  "execution-error-oom",
];
const recorded = EXCHANGES.flatMap((name) => callsOf(name, "POST", "/prompt")).flatMap((step) => {
  const graph = member(step.http?.body, "prompt") as Graph | undefined;
  const { note = "", res } = step;
  if (graph === undefined || res === undefined || note.includes("partial_execution")) return [];
  return [
    { name: note === "" ? "an accepted graph" : note, graph, status: res.status, answer: res.json },
  ];
});
const known = recorded.filter(({ graph }) =>
  Object.values(graph).every(({ class_type: c }) => c === "NopeNode" || c in objectInfo),
);
const accepted = known.filter(({ status }) => status === 200);
// What parseGraph refuses never comes here; custom validation needs the instance's files.
const refusedByComfy = known.filter(
  ({ status, graph, name }) =>
    status === 400 &&
    !name.startsWith("custom_validation") &&
    (parseGraph(graph).kind === "graph" || Object.keys(graph).length === 0),
);

test("the recordings hold enough of both", () => {
  expect(accepted.length).toBeGreaterThan(8);
  expect(refusedByComfy.length).toBeGreaterThan(9);
});

test.each(accepted)(
  "$name is not refused for sure, and only warned of as ComfyUI did",
  ({ graph, answer }) => {
    const { issues, refused } = check(graph);
    expect(refused).toBe(false);
    const complained = Object.keys(member(answer, "node_errors") ?? {});
    for (const issue of issues) expect(complained).toContain(issue.nodeId);
  },
);

test.each(refusedByComfy)("$name is foreseen by type, node and input", ({ graph, answer }) => {
  const rejection = parsePromptRejection(400, JSON.stringify(answer));
  if (rejection.kind !== "invalid_graph") throw new Error("another kind of rejection");
  const told = rejection.nodeErrors.flatMap(({ nodeId, dependentOutputs, errors }) =>
    errors.map(({ type, inputName }) => ({ type, nodeId, input: inputName, dependentOutputs })),
  );
  const { issues, refused } = check(graph);
  expect(refused).toBe(true);
  const wanted =
    told.length > 0
      ? // An exception names no input; we do.
        told.map(({ input, ...rest }) => (input === undefined ? rest : { ...rest, input }))
      : [{ type: rejection.type }];
  for (const complaint of wanted) expect(issues).toContainEqual(expect.objectContaining(complaint));
  expect(issues).toHaveLength(wanted.length);
});

const image = {
  class_type: "EmptyImage",
  inputs: { width: 64, height: 64, batch_size: 1, color: 0 },
};
const saved = (source: object): Graph => ({
  "1": source as Graph[string],
  "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "x" } },
});
const withWidth = (width: unknown): Graph =>
  saved({ ...image, inputs: { ...image.inputs, width } });

test.each(["64", " 64 ", "1_024", 64.9, true, "+8", { __value__: "64" }])(
  "a width of %j is converted as Python does, and accepted",
  (width) => {
    expect(check(withWidth(width)).issues).toEqual([]);
  },
);

test.each([
  ["wide", "invalid_input_type"],
  ["64.0", "invalid_input_type"],
  ["1__0", "invalid_input_type"],
  [null, "invalid_input_type"],
  [{}, "invalid_input_type"],
  [0.9, "value_smaller_than_min"],
  [false, "value_smaller_than_min"],
  ["16385", "value_bigger_than_max"],
  [["1", 0, 0], "bad_linked_input"],
  [["9", 0], "exception_during_validation"],
  [[9, 0], "exception_during_validation"],
  [["2", 0], "exception_during_validation"],
])("a width of %j is a %s", (width, type) => {
  const { issues, refused } = check(withWidth(width));
  expect(issues).toMatchObject([{ type, nodeId: "1", input: "width", dependentOutputs: ["2"] }]);
  expect(refused).toBe(true);
});

test("digits of other scripts are left to ComfyUI", () => {
  expect(check(withWidth("٦٤")).issues).toEqual([]);
});

const seedOf = (seed: unknown): readonly string[] => {
  const graph: Graph = {
    "3": { class_type: "KSampler", inputs: { seed } },
    "9": { class_type: "SaveLatent", inputs: { samples: ["3", 0], filename_prefix: "x" } },
  };
  return check(graph)
    .issues.filter((issue) => issue.input === "seed")
    .map(({ type }) => type);
};

test("a seed of 2^64-1 is not more than its maximum, rounded or as text", () => {
  expect(seedOf(2 ** 64)).toEqual([]);
  expect(seedOf("18446744073709551615")).toEqual([]);
  expect(seedOf(2 ** 65)).toEqual(["value_bigger_than_max"]);
});

test("a file that may yet be uploaded is not looked for in the list", () => {
  expect(
    check(saved({ class_type: "LoadImage", inputs: { image: "new/upload.png" } })).issues,
  ).toEqual([]);
  const latent: Graph = {
    "1": { class_type: "LoadLatent", inputs: { latent: "sub/name.latent" } },
    "2": { class_type: "SaveLatent", inputs: { samples: ["1", 0], filename_prefix: "x" } },
  };
  expect(check(latent).issues).toEqual([]);
});

test("a missing model names its folder and up to 20 similar values", () => {
  const names = Array.from({ length: 500 }, (_, i) => `model-${i}.safetensors`);
  const loader = objectInfo["CheckpointLoaderSimple"];
  const info = parseObjectInfo({
    ...objectInfo,
    CheckpointLoaderSimple: {
      ...loader,
      input: { required: { ckpt_name: [[...names, "dreamshaper_8.safetensors"], {}] } },
    },
    Out: { input: { required: { model: ["MODEL"] } }, output: [], output_node: true },
  });
  const graph: Graph = {
    "1": {
      class_type: "CheckpointLoaderSimple",
      inputs: { ckpt_name: "dreamshaper8.safetensors" },
    },
    "2": { class_type: "Out", inputs: { model: ["1", 0] } },
  };
  const [issue] = check(graph, info).issues;
  expect(issue).toMatchObject({
    type: "value_not_in_list",
    modelFolder: "checkpoints",
    isCertain: true,
  });
  expect(issue?.validValues).toHaveLength(20);
  expect(issue?.validValues?.[0]).toBe("dreamshaper_8.safetensors");
  expect(issue?.message).toContain("dreamshaper_8.safetensors");
});

const custom =
  parseObjectInfo({
    ...objectInfo,
    Custom: {
      input: {
        required: { mode: [["a", "b"], {}], strength: ["FLOAT", { min: 0, max: 1 }], any: ["*"] },
        optional: { v3: ["COMBO", { options: ["x", "y"] }], image: ["IMAGE,MASK"] },
      },
      output: ["IMAGE"],
      output_node: true,
      python_module: "custom_nodes.pack",
    },
  }) ?? {};
const customGraph = (inputs: object): Graph => ({
  "1": image,
  "5": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
  "2": { class_type: "Custom", inputs: { mode: "a", strength: 0.5, any: ["1", 0], ...inputs } },
});

test.each([{ mode: "c" }, { strength: 2 }, { v3: "z" }, { image: ["5", 0] }])(
  "a custom node may have rules of its own, so %j only warns",
  (inputs) => {
    const { issues, refused } = check(customGraph(inputs), custom);
    expect(issues).toHaveLength(1);
    expect(issues[0]?.isCertain).toBe(false);
    expect(refused).toBe(false);
  },
);

test.each([{ v3: "y" }, { image: ["1", 0] }, { any: ["5", 0] }, { undeclared: ["no", "list", 5] }])(
  "%j fits a custom node's declaration",
  (inputs) => {
    expect(check(customGraph(inputs), custom).issues).toEqual([]);
  },
);

test("an unknown class anywhere refuses all, and similar classes are named", () => {
  const { issues, refused } = check({
    ...saved(image),
    "7": { class_type: "KSamplr", inputs: {} },
  });
  expect(issues).toMatchObject([{ type: "invalid_prompt", nodeId: "7", isCertain: true }]);
  expect(issues[0]?.validValues?.[0]).toBe("KSampler");
  expect(refused).toBe(true);
});

test("what no output needs is not checked, and a graph without outputs is told", () => {
  const idle = { class_type: "EmptyImage", inputs: {} };
  expect(check({ ...saved(image), "7": idle }).issues).toEqual([]);
  expect(check({ "7": idle }).issues).toMatchObject([{ type: "prompt_no_outputs" }]);
});

test("one bad output of two is told, but the graph is not refused", () => {
  const graph: Graph = {
    ...saved(image),
    "8": { class_type: "SaveImage", inputs: { filename_prefix: "y" } },
  };
  const { issues, refused } = check(graph);
  expect(issues).toMatchObject([
    { type: "required_input_missing", input: "images", dependentOutputs: ["8"] },
  ]);
  expect(refused).toBe(false);
});
