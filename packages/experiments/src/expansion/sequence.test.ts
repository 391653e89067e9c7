import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readPlan, textGraph } from "../../testing/read-plan.ts";
import { applyRun } from "../apply-run.ts";
import { EXPERIMENT_EXAMPLE, EXPERIMENT_EXAMPLE_GRAPH } from "../spec/reference.ts";
import { runName } from "./run.ts";
import { experimentSequence } from "./sequence.ts";

const example = readPlan(EXPERIMENT_EXAMPLE, EXPERIMENT_EXAMPLE_GRAPH);
const GRID = `name: g
workflow: w.json
dimensions:
  a: [x, y]
  b: {min: 0, max: 0.3, step: 0.1}
  c: {values: [1, 2, 3], label: "c={value}"}
constraints:
  - {a: x, b: [0, 0.1]}
  - {c: 3, b: 0.3}
`;
const grid = readPlan(GRID, textGraph("{{a}} {{b}} {{c}} {{seed}}"));

describe("a sequence", () => {
  test("of chance is the same for ever", () => {
    // These are promised: a folder of results continues what another version began.
    const runs = [0, 1, 2, 99, 99_999].map((index) =>
      experimentSequence(example, 100_000).runAt(index),
    );
    expect(runs.map(({ name, title, seed }) => `${name} ${title} ${seed}`)).toEqual([
      "exp_0000 cliff_dusk_close 4280980246067318",
      "exp_0001 cliff_dusk_wide 5271101294188631",
      "exp_0002 cliff_dusk_wide 1780273652074442",
      "exp_0099 castle_close 3450326554811538",
      "exp_99999 cliff_dusk_wide 2644510644489702",
    ]);
    expect(runs.map(({ lines }) => lines.join(" | "))).toEqual([
      "Subject: knight silver_armour | Setting: cliff_dusk close | Tech: euler s=20 cfg=7 sched=karras | LoRAs: InkWash@0.5+FilmGrain@0.3",
      "Subject: knight silver_armour | Setting: cliff_dusk wide | Tech: euler s=20 cfg=8.5 sched=karras | LoRAs: InkWash@0.8/0.6",
      "Subject: knight rusty | Setting: cliff_dusk wide | Tech: euler s=20 cfg=9 sched=karras | LoRAs: none",
      "Subject: knight silver_armour | Setting: castle close | Tech: euler s=80 cfg=7.5 sched=normal | LoRAs: none",
      "Subject: knight rusty | Setting: cliff_dusk wide | Tech: euler s=20 cfg=5 sched=normal | LoRAs: InkWash@0.8/0.6",
    ]);
    expect(runs.map(({ values }) => values["mood"])).toEqual([
      "misty",
      "misty",
      "misty",
      "golden hour",
      "misty",
    ]);
  });

  test("of a grid is the same for ever, and begins again with other seeds", () => {
    const sequence = experimentSequence(grid, 18);
    expect(sequence.roundLength).toBe(16);
    const told = [...sequence.runs()].map(({ values, round, seed }) => ({
      key: Object.values(values).join(),
      round,
      seed,
    }));
    expect(told.map(({ key }) => key).join(" ")).toBe(
      "x,0.2,1 x,0.2,2 x,0.2,3 x,0.3,1 x,0.3,2 " +
        "y,0,1 y,0,2 y,0,3 y,0.1,1 y,0.1,2 y,0.1,3 " +
        "y,0.2,1 y,0.2,2 y,0.2,3 y,0.3,1 y,0.3,2 x,0.2,1 x,0.2,2",
    );
    expect(told.map(({ round }) => round)).toEqual([...Array.from({ length: 16 }, () => 0), 1, 1]);
    expect(told.map(({ seed }) => seed).slice(0, 3)).toEqual([
      3470735826401871, 1978196095875186, 468934027597325,
    ]);
  });

  test("begins at every index with the same run", () => {
    for (const plan of [example, grid]) {
      const all = [...experimentSequence(plan, 60).runs()];
      fc.assert(
        fc.property(fc.nat(59), fc.integer({ min: 60, max: 100_000 }), (from, count) => {
          const later = experimentSequence(plan, count);
          expect(later.runs(from).next().value).toEqual(all[from]);
          expect(later.runAt(from)).toEqual(all[from]);
        }),
      );
    }
  });

  test("gives no two of a hundred thousand the same seed", () => {
    const seeds = new Set<unknown>();
    for (const run of experimentSequence(grid, 100_000).runs()) seeds.add(run.seed);
    expect(seeds.size).toBe(100_000);
  });

  test("never has what a constraint leaves out, and chooses by weight", () => {
    const counts = new Map<unknown, number>();
    const count = (value: unknown): void => {
      counts.set(value, (counts.get(value) ?? 0) + 1);
    };
    for (const { values } of experimentSequence(example, 4_000).runs()) {
      expect(values["subject"] === "wizard" && values["armour"] === "silver_armour").toBe(false);
      expect(values["steps"] === 80 && Number(values["cfg"]) >= 8).toBe(false);
      for (const name of ["subject", "sampler", "mood"]) count(values[name]);
    }
    // 3 knights to 1 wizard, of which half are left out: 6/7.
    expect((counts.get("knight") ?? 0) / 4_000).toBeCloseTo(6 / 7, 1);
    expect((counts.get("euler") ?? 0) / 4_000).toBeCloseTo(1 / 2, 1);
    expect((counts.get("misty") ?? 0) / 4_000).toBeCloseTo(1 / 2, 1);
  });

  test("of chance takes more constraints than a grid can count", () => {
    const names = Array.from({ length: 40 }, (_, at) => `d${at}`);
    const spec = (mode: string): string =>
      [
        `name: c\nworkflow: w\nmode: ${mode}\ndimensions:`,
        ...names.map((name) => `  ${name}: [1, 2, 3, 4, 5, 6, 7, 8, 9]`),
        "constraints:",
        ...names.slice(0, 20).map((name, at) => `  - {${name}: 1, d${at + 20}: 1}`),
      ].join("\n");
    expect(() => readPlan(spec("grid"), textGraph(""))).toThrow("take `mode: random`");
    const plan = readPlan(spec("random"), textGraph(""));
    for (const { values } of experimentSequence(plan, 200).runs()) {
      expect(
        names.slice(0, 20).some((name, at) => values[name] === 1 && values[`d${at + 20}`] === 1),
      ).toBe(false);
    }
    // A grid of two values each is small enough, and its constraints still cannot be counted.
    const small = spec("grid").replaceAll(", 3, 4, 5, 6, 7, 8, 9]", "]");
    expect(() => readPlan(small, textGraph(""))).toThrow("too many that depend on each other");
  });

  test("of a list has its runs, without what is left out", () => {
    const plan = readPlan(
      `name: l
workflow: w.json
mode: list
title: "{a}-{index}"
dimensions:
  a: {as: Subject}
  b: [1, 2]
  always: [same]
  loras: {nodes: [10], stacks: [[{name: InkWash}]]}
constraints: [{a: q, b: 2}]
runs:
  - {a: p, b: 1, loras: InkWash@1}
  - {a: q, b: 2, loras: InkWash@1}
  - {a: r, b: 2, loras: [{name: Own, weight: 0.25, clipWeight: 0.5}]}
`,
      {
        ...textGraph("{{a}} {{b}} {{always}}"),
        "10": {
          class_type: "LoraLoaderModelOnly",
          inputs: { lora_name: "x", strength_model: 1, model: ["1", 0] },
        },
      },
    );
    const sequence = experimentSequence(plan, 3);
    expect(sequence.roundLength).toBe(2);
    expect([...sequence.runs()].map(({ title, lines }) => [title, ...lines])).toEqual([
      ["p-0", "Subject: p same", "Tech: b=1", "LoRAs: InkWash@1"],
      ["r-1", "Subject: r same", "Tech: b=2", "LoRAs: Own@0.25/0.5"],
      ["p-2", "Subject: p same", "Tech: b=1", "LoRAs: InkWash@1"],
    ]);
  });

  test("gives a run its own seed, unless a dimension is it", () => {
    const graph = {
      "1": { class_type: "A", inputs: { seed: 5, noise_seed: "18446744073709551615" } },
      "2": { class_type: "B", inputs: { seed: ["1", 0], text: "{{seed}} {{run}} {{index}}" } },
      "3": { class_type: "C", inputs: { seed: 7 } },
    };
    const own = readPlan(
      "name: s\nworkflow: w\ndimensions: {x: {values: [9], input: 3.seed}}\n",
      graph,
    );
    const run = experimentSequence(own, 2).runAt(1);
    const made = applyRun(graph, run);
    expect(made["1"]?.inputs).toEqual({ seed: run.seed, noise_seed: run.seed });
    expect(made["2"]?.inputs).toEqual({ seed: ["1", 0], text: `${run.seed} exp_0001 1` });
    expect(made["3"]?.inputs).toEqual({ seed: 9 });
    const fixed = readPlan("name: s\nworkflow: w\ndimensions: {seed: [42]}\n", graph);
    expect(applyRun(graph, experimentSequence(fixed, 2).runAt(1))["3"]?.inputs).toEqual({
      seed: 42,
    });
  });

  test("takes an input with dots as everything else does: at the last one that fits", () => {
    const dotted = {
      "3": { class_type: "A", inputs: { "b.seed": 1 } },
      "3.b": { class_type: "B", inputs: { seed: 2 } },
    };
    const plan = readPlan(
      "name: d\nworkflow: w\ndimensions: {x: {values: [9], input: 3.b.seed}}\n",
      dotted,
    );
    const made = applyRun(dotted, experimentSequence(plan, 1).runAt(0));
    expect(made).toMatchObject({
      "3": { inputs: { "b.seed": 1 } },
      "3.b": { inputs: { seed: 9 } },
    });
  });

  test("gives its seed to a node that only holds one for others", () => {
    const graph = {
      "1": { class_type: "PrimitiveInt", inputs: { value: 5 } },
      "2": { class_type: "A", inputs: { seed: ["1", 0] } },
      "3": { class_type: "B", inputs: { noise_seed: ["1", 0] } },
    };
    const plan = readPlan("name: p\nworkflow: w\n", graph);
    const run = experimentSequence(plan, 2).runAt(1);
    expect(run.set).toEqual([{ nodeId: "1", input: "value", value: run.seed }]);
  });

  test("of nothing but seeds is a grid of one", () => {
    const plan = readPlan("name: only-seeds\nworkflow: w\n", textGraph("a"));
    const sequence = experimentSequence(plan, 3);
    expect(sequence.roundLength).toBe(1);
    expect(sequence.runAt(2)).toMatchObject({ title: "only-seeds", round: 2, lines: [] });
  });

  test("tells nothing of an empty text", () => {
    const plan = readPlan(
      `name: t\nworkflow: w\ndimensions: {a: [knight], b: {values: [""], as: Subject}, c: {values: ["", " "], as: Look}, d: {values: [x], as: Subject}}\n`,
      textGraph("{{a}}{{b}}{{c}}{{d}}"),
    );
    expect(experimentSequence(plan, 1).runAt(0).lines).toEqual(["Subject: knight x"]);
  });

  test("tells values on one line, without what moves a cursor", () => {
    const plan = readPlan(
      `name: t\nworkflow: w\ndimensions: {a: {values: ["one\\n  two \\u001b[31mred\\u202e ${"long ".repeat(60)}"], as: Look}, b: {values: [1], as: Subject}}\n`,
      textGraph("{{a}}{{b}}"),
    );
    const [first, second] = experimentSequence(plan, 1).runAt(0).lines;
    expect(first).toBe("Subject: 1");
    expect(second).toMatch(/^Look: one two \[31mred long .*…$/);
    expect(second?.length).toBeLessThan(220);
  });

  test("has names of four digits, and of more where it takes them", () => {
    expect([0, 99, 9_999, 10_000].map((index) => runName(index))).toEqual([
      "exp_0000",
      "exp_0099",
      "exp_9999",
      "exp_10000",
    ]);
    expect(() => experimentSequence(grid, 0)).toThrow("0 runs");
    expect(() => experimentSequence(grid, 5).runAt(5)).toThrow("no run 5 of 5");
  });
});
