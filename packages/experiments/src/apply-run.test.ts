import { parseGraph, type Graph } from "@holdfast/comfyui/protocol";
import { describe, expect, test } from "vitest";
import { readPlan, textGraph } from "../testing/read-plan.ts";
import { applyRun } from "./apply-run.ts";
import { experimentSequence } from "./expansion/sequence.ts";
import { EXPERIMENT_EXAMPLE, EXPERIMENT_EXAMPLE_GRAPH } from "./spec/reference.ts";

const plan = readPlan(EXPERIMENT_EXAMPLE, EXPERIMENT_EXAMPLE_GRAPH);
const runs = [...experimentSequence(plan, 200).runs()];
const withLoras = (told: string) => {
  const run = runs.find(({ values }) => values["loras"] === told);
  if (run === undefined) throw new Error(`no run with ${told}`);
  return { run, graph: applyRun(plan.graph, run) };
};

describe("the graph of a run", () => {
  test("has its variables, its values with their type, and its seed", () => {
    const { run, graph } = withLoras("InkWash@0.5+FilmGrain@0.3");
    const { values } = run;
    expect(graph["6"]?.inputs["text"]).toBe(
      `${values["mood"]}, ${values["subject"]} in ${values["armour"]}, ${values["setting"]}, ${values["lens"]} shot`,
    );
    expect(graph["3"]?.inputs).toMatchObject({
      seed: run.seed,
      steps: values["steps"],
      cfg: values["cfg"],
      sampler_name: values["sampler"],
    });
    expect(graph["9"]?.inputs["filename_prefix"]).toBe(`castle/${run.name}`);
  });

  test("has its LoRAs in the named nodes, in their order", () => {
    const { graph } = withLoras("InkWash@0.5+FilmGrain@0.3");
    expect(graph["10"]?.inputs).toMatchObject({
      lora_name: "InkWash.safetensors",
      strength_model: 0.5,
      strength_clip: 0.5,
    });
    expect(graph["11"]?.inputs).toMatchObject({
      lora_name: "FilmGrain.safetensors",
      strength_model: 0.3,
      model: ["10", 0],
    });
  });

  test("goes past LoRA nodes that nothing is left for", () => {
    const { graph } = withLoras("InkWash@0.8/0.6");
    expect(graph["10"]?.inputs).toMatchObject({ strength_model: 0.8, strength_clip: 0.6 });
    expect(graph["11"]).toBeUndefined();
    expect(graph["3"]?.inputs["model"]).toEqual(["10", 0]);
    expect(graph["6"]?.inputs["clip"]).toEqual(["10", 1]);
    const { graph: none } = withLoras("none");
    expect(none["10"]).toBeUndefined();
    expect(none["3"]?.inputs["model"]).toEqual(["4", 0]);
    expect(none["7"]?.inputs["clip"]).toEqual(["4", 1]);
  });

  test("is a graph, and the template is untouched", () => {
    const before = JSON.stringify(plan.graph);
    for (const run of runs) expect(parseGraph(applyRun(plan.graph, run)).kind).toBe("graph");
    expect(JSON.stringify(plan.graph)).toBe(before);
  });

  test("takes prompts that look like variables as they are", () => {
    const text = `name: v\nworkflow: w\ndimensions: {a: ["{{b}} $& {{a}}"], b: ["{{seed}}"]}\n`;
    const graph: Graph = textGraph("{{a}}/{{b}}");
    const run = experimentSequence(readPlan(text, graph), 1).runAt(0);
    expect(applyRun(graph, run)["1"]?.inputs["text"]).toBe("{{b}} $& {{a}}/{{seed}}");
  });

  test("of another template is a bug", () => {
    const run = runs[0]!;
    expect(() => applyRun(textGraph("{{other}}"), run)).toThrow("exp_0000 has not all values");
  });
});
