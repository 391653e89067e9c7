import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { readPlan, textGraph, told } from "../../testing/read-plan.ts";
import { experimentSequence } from "../expansion/sequence.ts";
import { runLines } from "../lines.ts";
import { roundLength } from "../plan.ts";
import { EXPERIMENT_EXAMPLE, EXPERIMENT_EXAMPLE_GRAPH, experimentReference } from "./reference.ts";
import { EXPERIMENT_BYTES_MAX, readExperiment } from "./read-experiment.ts";

const graph = { ...EXPERIMENT_EXAMPLE_GRAPH, "6": textGraph("{{a}}")["1"]! };
const of = (rest: string): readonly string[] => told(`name: e\nworkflow: w.json\n${rest}`, graph);
const dimension = (a: string, rest = ""): readonly string[] =>
  of(`dimensions:\n  a: ${a}\n${rest}`);

describe("an experiment", () => {
  test("is read with its graph", () => {
    expect(told(EXPERIMENT_EXAMPLE, EXPERIMENT_EXAMPLE_GRAPH)).toEqual([]);
    const plan = readPlan(EXPERIMENT_EXAMPLE, EXPERIMENT_EXAMPLE_GRAPH);
    expect(plan).toMatchObject({ name: "castle", seed: 42, title: "{setting}_{lens}" });
    expect(plan.dimensions.map(({ name, heading, label }) => [name, heading, label])).toEqual([
      ["subject", "Subject", "{value}"],
      ["armour", "Subject", "{value}"],
      ["setting", "Setting", "{value}"],
      ["lens", "Setting", "{value}"],
      ["sampler", "Tech", "{value}"],
      ["steps", "Tech", "s={value}"],
      ["cfg", "Tech", "{name}={value}"],
      ["scheduler", "Tech", "sched={value}"],
      ["loras", "LoRAs", "{value}"],
      ["mood", null, "{value}"],
    ]);
  });

  test("may be JSON, indented by tabs, with its graph inside", () => {
    const spec = { name: "j", graph: textGraph("{{a}}"), dimensions: { a: ["x", "y"] } };
    for (const indent of [undefined, 2, "\t"]) {
      const reading = readExperiment(JSON.stringify(spec, null, indent));
      if (reading.kind === "invalid") throw new Error(JSON.stringify(reading.problems));
      const { experiment } = reading;
      const { workflow } = experiment;
      if (workflow.kind !== "inline") throw new Error("expected a graph");
      expect(workflow.graph).toEqual(textGraph("{{a}}"));
      const planned = experiment.plan(workflow.graph);
      expect(planned.kind === "ok" && roundLength(planned.plan.source)).toBe(2);
    }
  });

  test("that is nothing, no mapping or too large is refused whole", () => {
    expect(told("", graph)).toEqual([
      "e:1:1: the file is empty: expected `name`, `workflow` and `dimensions`",
    ]);
    expect(told("- a\n", graph)).toEqual([
      "e:1:1: expected a mapping (`name: castle`, `dimensions: …`) at the top of the file",
    ]);
    // In bytes: a "é" has two, a "🏰" four.
    expect(told(`${" ".repeat(EXPERIMENT_BYTES_MAX - 6)}é🏰 `, graph)).toEqual([
      "e:1:1: expected at most 4194304 bytes, found 4194305",
    ]);
  });

  test("has every wrong key and value told, with line, column and the name that was meant", () => {
    const text = `name: a b
workflow: w.json
graph: {}
seeds: 4
mode: gird
dimension: {}
dimensions:
  a: []
  b: 7
  c: {values: [1], weight: [1]}
  d:
`;
    expect(told(text, graph)).toEqual([
      "e:1:7: name: expected 1 to 80 characters of A-Z, a-z, 0-9, '.', '_' and '-', beginning with a letter or digit, found \"a b\"",
      "e:3:8: graph: there is a `workflow` as well: remove one of them",
      'e:4:1: seeds: unknown key "seeds"; did you mean "seed"?',
      'e:5:7: mode: expected grid or random or list, found "gird"',
      'e:6:1: dimension: unknown key "dimension"; did you mean "dimensions"?',
      "e:8:6: dimensions.a: expected a list that is not empty, found an empty list",
      expect.stringContaining("e:9:6: dimensions.b: expected a list of"),
      'e:10:20: dimensions.c.weight: unknown key "weight"; did you mean "weights"?',
      expect.stringMatching(/^e:11:\d+: dimensions.d: expected a list of .*, found nothing: /),
    ]);
    expect(told("name: e\n", graph)).toEqual([
      "e:1:1: workflow: missing: expected `workflow`, the file with the graph, or `graph`, the graph",
    ]);
    expect(of("seed: -1\n")).toEqual([
      "e:3:7: seed: expected a whole number, 0 or more, found the number -1",
    ]);
  });

  test("has values, or a range, or stacks", () => {
    expect(dimension("{as: Subject}")).toEqual([
      "e:4:6: dimensions.a: expected `values`, or `min` and `max`, or `stacks`, found none of them",
    ]);
    expect(dimension("{values: [1], min: 2, max: 3}")).toEqual([
      "e:4:25: dimensions.a.min: there is `values` as well: remove one of them",
    ]);
    expect(dimension("{min: 2}")).toEqual([
      "e:4:3: dimensions.a.max: missing: a range has `min` and `max`",
    ]);
    expect(dimension("{min: 3, max: 2}")).toEqual([
      "e:4:12: dimensions.a.min: expected at most `max` (2), found 3",
    ]);
    expect(dimension("{min: 0, max: 1000000, step: 0.001}")).toEqual([
      "e:4:35: dimensions.a.step: expected at most 1000 values, found 1000000001: take a larger `step`",
    ]);
    expect(dimension("[x, y, x]")).toEqual([
      'e:4:13: dimensions.a[2]: "x" is there already: give it a weight instead',
    ]);
    expect(dimension("[9007199254740993]")[0]).toContain("put a larger one in quotes");
  });

  test("has a positive weight for each value, which chance alone looks at", () => {
    expect(dimension("{values: [x, y], weights: [1]}", "mode: random\n")).toEqual([
      "e:4:32: dimensions.a.weights: expected 2 weights, one for each value, found 1",
    ]);
    expect(dimension("{values: [x, y], weights: [0, -1]}", "mode: random\n")).toEqual([
      "e:4:33: dimensions.a.weights[0]: expected a number, over 0 to 1000000, found the number 0",
      "e:4:36: dimensions.a.weights[1]: expected a number, over 0 to 1000000, found the number -1",
    ]);
    expect(dimension("{values: [x, y], weights: [1, 2]}")).toEqual([
      "e:4:32: dimensions.a.weights: weights are for `mode: random`; `mode: grid` does not look at them",
    ]);
    expect(dimension("{min: 1, max: 2, weights: [1, 2]}", "mode: random\n")).toEqual([]);
  });

  test("has names, titles, labels and seeds that mean something", () => {
    expect(of("dimensions: {a: [x], run: [y]}\nfragments: {a: [z]}\n")).toEqual([
      "e:3:27: dimensions.run: expected another name: every run has `run` by itself",
      "e:4:16: fragments.a: is a dimension already: take another name",
    ]);
    expect(of("dimensions: {__proto__: [x], constructor: [y]}\n")).toEqual([
      'e:3:25: dimensions.__proto__: expected another name: "__proto__" is not taken',
    ]);
    expect(of("dimensions: {a: [x], a b: [y]}\n")[0]).toContain("beginning with a letter");
    expect(dimension("[x]", "title: '{b}_{a}_{index}'\n")).toEqual([
      'e:5:8: title: there is no dimension "b"; did you mean "a"?',
    ]);
    expect(dimension("{values: [x], label: '{a}={value}'}")).toEqual([
      "e:4:27: dimensions.a.label: a label has `{value}` and `{name}`, found `{a}`",
    ]);
    expect(of("dimensions: {a: [x], seed: [1, -1, x]}\n").map((line) => line.slice(0, 25))).toEqual(
      ["e:3:32: dimensions.seed[1", "e:3:36: dimensions.seed[2"],
    );
  });

  test("leaves out by dimensions and values that there are", () => {
    expect(
      dimension("[knight, wizard]", "constraints: [{b: x}, {a: knihgt}, {a: [wizard, 1]}, {}]\n"),
    ).toEqual([
      'e:5:19: constraints[0].b: there is no dimension "b"; did you mean "a"?',
      'e:5:27: constraints[1].a: "a" is never "knihgt"; did you mean "knight"?',
      'e:5:49: constraints[2].a[1]: "a" is never 1; known here: "knight", "wizard"',
      "e:5:54: constraints[3]: expected a mapping of dimensions to values, found an empty one, which would leave out every run",
    ]);
    expect(dimension("{values: [20, 40]}", 'constraints: [{a: "20"}]\n')).toEqual([
      'e:5:19: constraints[0].a: "a" is never "20"; did you mean 20?',
    ]);
    expect(dimension("[x]", "constraints: [{a: x}]\n")).toEqual([
      "e:5:14: constraints: they leave out every run: remove one, or add values",
    ]);
  });

  test("of mode list has runs that say everything, and no other has them", () => {
    const list = (runs: string): readonly string[] =>
      of(
        `mode: list\ndimensions:\n  a: [x, y]\n  b: [1]\n  l: {stacks: [[{name: A}]], nodes: [10]}\n${runs}`,
      ).filter((line) => !line.includes("has no effect"));
    expect(list("")).toEqual(["e:1:1: runs: missing: `mode: list` has its runs written out"]);
    expect(list("runs: [{a: x}, {a: z}, {}, {a: y, l: [{name: A}, {name: B}], c: 1}]\n")).toEqual([
      'e:8:20: runs[1].a: "a" is never "z"; did you mean "x"?',
      "e:8:24: runs[2].a: missing: a run has a value for each dimension that is not always the same",
      "e:8:38: runs[3].l: expected at most 1 LoRAs, one for each of its `nodes`, found 2",
      'e:8:65: runs[3].c: there is no dimension "c"; did you mean "a"?',
    ]);
    expect(list("runs: [{a: [{name: A}]}]\n")).toEqual([
      'e:8:12: runs[0].a: expected one value: "a" has no `nodes` for LoRAs',
    ]);
    expect(dimension("[x]", "runs: [{a: x}]\n")).toEqual([
      "e:5:7: runs: runs are for `mode: list`, and this is `mode: grid`",
    ]);
    expect(
      of("mode: list\ndimensions: {a: {nodes: [10]}}\nruns: [{a: x}]\n").filter(
        (line) => !line.includes("{{"),
      ),
    ).toEqual(['e:5:12: runs[0].a: expected a list of LoRAs for "a", found "x"']);
  });

  test("of mode list has runs whose seeds are seeds", () => {
    const seeds = (values: string): readonly string[] =>
      of(`mode: list\ndimensions: {a: [x], seed: {}}\nruns: [${values}]\n`);
    expect(seeds('{seed: 7}, {seed: "18446744073709551615"}')).toEqual([]);
    expect(seeds("{seed: 1.5}, {seed: many}")).toEqual([
      "e:5:15: runs[0].seed: expected a whole number, 0 or more: it is the runs' seed, found 1.5",
      `e:5:28: runs[1].seed: expected a whole number, 0 or more: it is the runs' seed, found "many"`,
    ]);
  });

  test("has stacks that fit their nodes", () => {
    expect(dimension("{stacks: [[{name: A}, {name: B}]], nodes: [10], input: 3.cfg}")).toEqual([
      "e:4:16: dimensions.a.stacks[0]: expected at most 1 LoRAs, one for each of `nodes`, found 2",
      "e:4:61: dimensions.a.input: stacks go into `nodes`: remove the input",
    ]);
    expect(dimension("{stacks: [[]]}")).toEqual([
      "e:4:3: dimensions.a.nodes: missing: expected the LoraLoader nodes of the graph that take the stacks",
    ]);
    expect(dimension("{values: [x], nodes: [10]}")).toEqual([
      "e:4:27: dimensions.a.nodes: is for `stacks` of LoRAs, and there are none",
    ]);
    expect(
      of("dimensions:\n  a: {stacks: [[]], nodes: [10]}\n  b: {stacks: [[]], nodes: ['10']}\n"),
    ).toEqual(['e:5:29: dimensions.b.nodes[0]: node "10" is among those of "a" already']);
    expect(dimension("{stacks: [[]], nodes: [12, 3, 10]}")).toEqual([
      'e:4:29: dimensions.a.nodes[0]: the graph has no node "12"; did you mean "10"?',
      'e:4:33: dimensions.a.nodes[1]: node "3" (KSampler) is no LoraLoader: expected inputs `lora_name` and `strength_model`, and `model` linked to another node',
    ]);
  });

  test("names inputs that the graph has, each once", () => {
    const wrong = "[3.step, 33.cfg, steps, 3.model, 3.steps]";
    expect(
      of(
        `dimensions:\n  a: [x]\n  b: {values: [1], input: ${wrong}}\n  c: {values: [1], input: 3.steps}\n`,
      ),
    ).toEqual([
      'e:5:28: dimensions.b.input[0]: node "3" (KSampler) has no input "step"; did you mean "steps"?',
      'e:5:36: dimensions.b.input[1]: the graph has no node "33"; did you mean "3"?',
      'e:5:44: dimensions.b.input[2]: expected `node.input`, like "6.text", found "steps"',
      'e:5:51: dimensions.b.input[3]: "3.model" is linked to another node: name an input with a value',
      'e:6:27: dimensions.c.input: "3.steps" is set by "b" already',
    ]);
    const dotted = { "1.5": { class_type: "A", inputs: { "images.image0": "", text: "" } } };
    const plan = readPlan(
      "name: e\nworkflow: w\ndimensions: {a: {values: [x], input: 1.5.images.image0}}\n",
      dotted,
    );
    expect(plan.dimensions[0]?.inputs).toEqual([{ nodeId: "1.5", input: "images.image0" }]);
  });

  test("gives the graph's variables their values, and says what has no effect", () => {
    expect(
      told("name: e\nworkflow: w\ndimensions:\n  subjct: [x]\n", textGraph("{{subject}}")),
    ).toEqual([
      'e:4:3: dimensions: the graph has {{subject}} (node "1", input "text"), and there is no dimension or fragment of that name; did you mean "subjct"?',
    ]);
    expect(told("name: e\nworkflow: w\n", textGraph("{{subject}}"))[0]).toMatch(
      /^e:1:1: dimensions: /,
    );
    expect(dimension("[x]", "  b: [y]\nfragments: {c: [z]}\n")).toEqual([
      "e:5:6: dimensions.b: has no effect on the graph: give it an `input`, or write {{b}} in one of its texts",
      "e:6:16: fragments.c: has no effect on the graph: write {{c}} in one of its texts",
    ]);
  });

  test("is refused where its graph is none, or too much is asked for", () => {
    expect(told("name: e\ngraph:\n  '1': {class_type: A, inputs: {b: ['2', 0]}}\n", graph)).toEqual(
      [
        'e:3:8: graph["1"]: Input "b" of node "1" links to node "2", which the graph does not have.',
      ],
    );
    expect(told('name: e\ngraph: {"1": 7}\n', graph)).toEqual([
      'e:2:14: graph["1"]: expected a mapping, found the number 7',
    ]);
    const many = Array.from({ length: 17 }, (_, at) => `  d${at}: {min: 1, max: 10}\n`).join("");
    expect(told(`name: e\nworkflow: w\ndimensions:\n${many}`, textGraph(""))[0]).toContain(
      "found about 1.0e+17: take `mode: random`",
    );
  });

  test("is documented with every key and the example", () => {
    const page = readFileSync(
      new URL("../../../../docs/experiment-yaml.md", import.meta.url),
      "utf8",
    );
    for (const { path, meaning } of experimentReference()) {
      expect(page).toContain(`\`${path}\``);
      expect(meaning, path).not.toBe("");
    }
    expect(page).toContain(EXPERIMENT_EXAMPLE.trimEnd());
    const plan = readPlan(EXPERIMENT_EXAMPLE, EXPERIMENT_EXAMPLE_GRAPH);
    const run = experimentSequence(plan, 250).runAt(99);
    expect(page).toContain(runLines(run, 250).join("\n"));
  });
});
