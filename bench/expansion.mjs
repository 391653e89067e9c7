/**
 * What the runs of an experiment cost before anything is rendered: the example of the documentation, one run
 * after the other as `holdfast experiment run` takes them, each with its graph. Beside it a grid of the same
 * length. The heap after each fifth has to be what it was after the first: nothing is kept of a run.
 *
 * Flags: --runs N (default 100,000), --quick.
 */
import {
  applyRun,
  EXPERIMENT_EXAMPLE,
  EXPERIMENT_EXAMPLE_GRAPH,
  experimentSequence,
  readExperiment,
} from "@holdfast/experiments";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { printTable, round } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const BYTES_PER_MB = 1024 * 1024;
/** What the heap may differ by between two looks at it: code that was compiled meanwhile. */
const FLAT_MB = 2;
const PARTS = 5;

const options = readOptions({ runs: (quick) => (quick ? 10_000 : 100_000) });
const machine = await machineFacts();
announce("expansion", machine);
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");

const grid = EXPERIMENT_EXAMPLE.replace("mode: random", "mode: grid");
const results = [
  measure("random, 2 constraints", EXPERIMENT_EXAMPLE),
  measure("grid, 2 constraints", grid),
];
printTable(`${options.runs} runs with their graphs; goal: a flat heap`, results);
await saveResult("expansion", machine, { runs: options.runs, flatMb: FLAT_MB, results });
if (results.some((one) => one["heap grew by, MB"] > FLAT_MB)) process.exitCode = 1;

function measure(kind, text) {
  const plan = planOf(text);
  const heapMb = [];
  let seconds = 0;
  let startedAt = performance.now();
  for (const run of experimentSequence(plan, options.runs).runs()) {
    applyRun(plan.graph, run);
    if ((run.index + 1) % Math.floor(options.runs / PARTS) !== 0) continue;
    seconds += (performance.now() - startedAt) / 1000;
    collect();
    heapMb.push(process.memoryUsage().heapUsed / BYTES_PER_MB);
    startedAt = performance.now();
  }
  return {
    kind,
    seconds: round(seconds),
    "heap, MB": heapMb.map((one) => round(one)).join(" "),
    "heap grew by, MB": round(heapMb.at(-1) - heapMb[0]),
  };
}

function planOf(text) {
  const reading = readExperiment(text);
  const planned =
    reading.kind === "ok" ? reading.experiment.plan(EXPERIMENT_EXAMPLE_GRAPH) : reading;
  if (planned.kind === "invalid") throw new Error(JSON.stringify(planned.problems));
  return planned.plan;
}
