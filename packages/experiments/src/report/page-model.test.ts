import { describe, expect, test } from "vitest";
import { comparedRun, comparisonFacts } from "../../testing/comparison-facts.ts";
import { COMPARISON_RUNS_MAX, pageModel } from "./page-model.ts";

const axes = (values: readonly Record<string, string | number>[]) =>
  pageModel(comparisonFacts({ runs: values.map((one, at) => comparedRun(at, { values: one })) }))
    .axes;

describe("the page's data", () => {
  test("has each run in its order, with its values by number and nothing that says nothing", () => {
    const model = pageModel(
      comparisonFacts({
        runs: [
          comparedRun(1, { values: { sampler: "dpmpp_2m", steps: 30 } }),
          comparedRun(0, { values: { steps: 80 }, set: [], images: [] }),
        ],
      }),
    );
    // A value that the file no longer has comes behind the others.
    expect(model.dimensions).toEqual([
      { name: "sampler", values: ["euler", "dpmpp_2m"] },
      { name: "steps", values: ["20", "40", "80", "30"] },
    ]);
    expect(model.runs.map(({ index, values }) => [index, values])).toEqual([
      [0, [-1, 2]],
      [1, [1, 3]],
    ]);
    expect(model.runs[0]).toEqual({
      index: 0,
      name: "exp_0000",
      title: "castle_wide",
      seed: "0",
      status: "completed",
      values: [-1, 2],
      startedAt: expect.any(String),
      endedAt: expect.any(String),
      durationMs: 4_200,
      attempts: 1,
    });
  });

  test("tells a failed run's error in words, what was tried and what is best", () => {
    const { runs, metrics } = pageModel(
      comparisonFacts({
        runs: [
          comparedRun(0, {
            status: "failed",
            error: { class: "oom", message: "x".repeat(5_000) },
            attempts: 2,
            earlier: [
              {
                attempt: 1,
                endedAt: "",
                class: "connection",
                message: "refused",
                isInfrastructure: true,
              },
            ],
            recovery: ["free_memory", "tiled_vae"],
            loss: 1,
            // The loss is a member of its own: told twice it would be two measures of one name.
            metrics: { rating: 4, loss: 1 },
          }),
        ],
        best: [
          { index: 0, why: "lowest loss" },
          { index: 0, why: "by hand" },
          { index: 9, why: "nobody" },
        ],
      }),
    );
    expect(runs[0]).toMatchObject({
      earlier: ["attempt 1: connection: refused"],
      recovery: ["free_memory", "tiled_vae"],
      loss: 1,
      metrics: { rating: 4 },
      best: "lowest loss, by hand",
    });
    expect(metrics).toEqual(["rating"]);
    expect(runs[0]?.metrics).toEqual({ rating: 4 });
    expect(runs[0]?.error).toMatch(/^oom: x+…$/);
    expect(runs[0]?.error?.length).toBeLessThan(2_100);
  });

  test("says where runs failed, and each traceback once", () => {
    const error = {
      class: "workflow_error",
      message: "cannot reshape tensor",
      nodeId: "5",
      nodeType: "MaskToImage",
      exceptionType: "RuntimeError",
      traceback: "x".repeat(9_000) + "in mask_to_image",
    };
    const failed = (at: number) => comparedRun(at, { status: "failed", error });
    const { runs, tracebacks } = pageModel(comparisonFacts({ runs: [failed(0), failed(1)] }));
    expect(runs.map((run) => [run.error, run.exception, run.traceback])).toEqual(
      [0, 1].map(() => [
        "workflow_error: node 5 MaskToImage: cannot reshape tensor",
        "RuntimeError",
        0,
      ]),
    );
    expect(tracebacks).toHaveLength(1);
    expect(tracebacks[0]).toMatch(/^…x+in mask_to_image$/);
    expect(tracebacks[0]?.length).toBeLessThan(4_100);
  });

  test("gives what was set once, whole, in the form that --set reads", () => {
    const prompt = "a castle, ".repeat(500);
    const set = [
      { nodeId: "6", input: "text", value: prompt },
      { nodeId: "3", input: "cfg", value: 7.5 },
      { nodeId: "9", input: "prefix", value: '"quoted"' },
    ];
    const model = pageModel(
      comparisonFacts({
        runs: [comparedRun(0, { set }), comparedRun(1, { set: set.slice(0, 1) })],
      }),
    );
    expect(model.sets).toEqual([
      `6.text=${prompt}`,
      "3.cfg=7.5",
      String.raw`9.prefix="\"quoted\""`,
    ]);
    expect(model.runs.map((run) => run.set)).toEqual([[0, 1, 2], [0]]);
  });

  test("loads pictures from beside the page alone", () => {
    const images = [
      { path: "images/a b.png", width: 8, height: 4 },
      { path: "s3://renders/a.png" },
      { path: "../secret.png" },
    ];
    const [run] = pageModel(comparisonFacts({ runs: [comparedRun(0, { images })] })).runs;
    expect(run?.images).toEqual([{ src: "./images/a%20b.png", width: 8, height: 4 }]);
    expect(run?.elsewhere).toEqual(["s3://renders/a.png", "../secret.png"]);
  });

  test("suggests axes that vary: the longer one downwards", () => {
    expect(axes([{ sampler: "euler", steps: 20 }])).toEqual({ columns: null, rows: null });
    expect(axes([{ steps: 20 }, { steps: 40 }])).toEqual({ columns: 1, rows: null });
    expect(
      axes([
        { sampler: "a", steps: 1 },
        { sampler: "b", steps: 2 },
        { sampler: "c", steps: 2 },
      ]),
    ).toEqual({ columns: 1, rows: 0 });
  });

  test("shows an empty text as a value", () => {
    const { dimensions } = pageModel(
      comparisonFacts({ dimensions: [{ name: "mood", values: ["", "misty"] }], runs: [] }),
    );
    expect(dimensions).toEqual([{ name: "mood", values: ["(empty)", "misty"] }]);
  });

  test("does not take what every object has for a value", () => {
    const model = pageModel(
      comparisonFacts({ dimensions: [{ name: "toString", values: [] }], runs: [comparedRun(0)] }),
    );
    expect(model.runs[0]?.values).toEqual([-1]);
  });

  test("says how many runs it does not hold", () => {
    const runs = Array.from({ length: COMPARISON_RUNS_MAX + 5 }, (_, at) => comparedRun(at));
    const model = pageModel(comparisonFacts({ runs: runs.reverse() }));
    expect(model).toMatchObject({ leftOut: 5 });
    expect(model.runs.at(-1)?.index).toBe(COMPARISON_RUNS_MAX - 1);
  });
});
