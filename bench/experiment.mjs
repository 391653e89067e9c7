/**
 * 250 runs by a bare ComfyUI client and by `holdfast experiment run`, on one ComfyUI process, in rounds
 * that take turns: the same graphs, one at a time. What an experiment costs a run beside ComfyUI's own
 * time, with every start and result flushed to the disk and services checked every ten runs. The start of
 * the program, its page at the end, and its first check that ComfyUI works are told apart, from the
 * times in its results.
 *
 * HOLDFAST_BENCH_COMFYUI_URL: a ComfyUI that runs, instead of a simulated one.
 * Flags: --runs N (default 250), --rounds N, --in-flight N (default 1; of both sides), --quick.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openBareClient } from "./lib/bare-client.mjs";
import { inParallel, median, now, printTable, round, summary } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { startHoldfast, startSimulatorProcess, withScratch } from "./lib/programs.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

/** Milliseconds a run beside ComfyUI's time. */
const GOAL_MS = 10;
const WARM_UP_RUNS = 1_000;
const FIRST_COLOR = 1;
const COLOR_MAX = 0xffffff;

const options = readOptions({
  runs: (quick) => (quick ? 100 : 250),
  rounds: (quick) => (quick ? 3 : 7),
  "in-flight": 1,
});
const machine = await machineFacts();
announce("experiment", machine);
const realUrl = process.env.HOLDFAST_BENCH_COMFYUI_URL;

await withScratch(async (folder, keep) => {
  const comfyUrl = realUrl ?? keep(await startSimulatorProcess(folder)).url;
  const bare = await openBareClient(comfyUrl);
  const rounds = [];
  try {
    await inParallel(WARM_UP_RUNS, 4, (at) => bare.render(graphOf(COLOR_MAX - at, "warm")));
    for (let at = 0; at < options.rounds; at += 1) {
      const place = join(folder, `round-${at}`);
      mkdirSync(place);
      const sides = {
        bare: () => runBare(bare, at),
        holdfast: () => runHoldfast(place, comfyUrl, at),
      };
      const order = at % 2 === 0 ? ["bare", "holdfast"] : ["holdfast", "bare"];
      const measured = {};
      for (const side of order) measured[side] = await sides[side]();
      rounds.push(measured);
    }
  } finally {
    await bare.close();
  }
  const added = rounds.map(({ bare: theirs, holdfast: ours }) => ours.msPerRun - theirs.msPerRun);
  const whole = rounds.map(
    ({ bare: theirs, holdfast: ours }) => ours.wholeMsPerRun - theirs.msPerRun,
  );
  const results = {
    runs: options.runs,
    inFlight: options["in-flight"],
    addedMsPerRun: round(median(added)),
    addedMsPerRunByRound: added.map(round),
    addedWithStartMsPerRun: round(median(whole)),
    ratio: round(median(rounds.map((one) => one.holdfast.msPerRun / one.bare.msPerRun))),
    bareMsPerRun: round(median(rounds.map((one) => one.bare.msPerRun))),
    holdfastMsPerRun: round(median(rounds.map((one) => one.holdfast.msPerRun))),
    holdfastRunMs: summary(rounds.flatMap((one) => one.holdfast.durations)),
    startMs: round(median(rounds.map((one) => one.holdfast.startMs))),
    endMs: round(median(rounds.map((one) => one.holdfast.endMs))),
  };
  printTable(`${options.runs} runs, ms a run; goal: added under ${GOAL_MS}`, [
    {
      "bare client": results.bareMsPerRun,
      "experiment run": results.holdfastMsPerRun,
      added: results.addedMsPerRun,
      "added, with start and end": results.addedWithStartMsPerRun,
      ratio: results.ratio,
      "start, ms": results.startMs,
      "end, ms": results.endMs,
    },
  ]);
  await saveResult(realUrl === undefined ? "experiment" : "experiment-real", machine, {
    goals: { addedMsPerRun: GOAL_MS },
    comfyui: realUrl === undefined ? "simulator, time scale 0" : "real",
    results,
  });
  if (results.addedMsPerRun >= GOAL_MS) process.exitCode = 1;
});

/** As `holdfast experiment run` sends them; another color in every round, so nothing is in a cache. */
function graphOf(color, name) {
  return {
    1: { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color } },
    2: {
      class_type: "SaveImage",
      // A folder each: ComfyUI counts the files of the folder at every save.
      inputs: { filename_prefix: `bench/${name}-${color}/picture`, images: ["1", 0] },
    },
  };
}

function firstColor(at, side) {
  return FIRST_COLOR + (at * 2 + side) * options.runs;
}

async function runBare(client, at) {
  const first = firstColor(at, 0);
  const start = now();
  await inParallel(options.runs, options["in-flight"], async (index) => {
    await client.render(graphOf(first + index, "bare"));
  });
  return { msPerRun: (now() - start) / options.runs };
}

async function runHoldfast(place, url, at) {
  const first = firstColor(at, 1);
  const graph = graphOf(0, "experiment");
  graph[2].inputs.filename_prefix = "bench/experiment-{{color}}/picture";
  writeFileSync(join(place, "graph.json"), JSON.stringify(graph));
  const spec = {
    name: "bench",
    workflow: "graph.json",
    dimensions: {
      color: { min: first, max: first + options.runs - 1, input: "1.color", as: "Tech" },
    },
  };
  writeFileSync(join(place, "bench.json"), JSON.stringify(spec));
  const output = join(place, "out");
  const startedAt = Date.now();
  const begun = now();
  const args = ["experiment", "run", join(place, "bench.json"), "--count", String(options.runs)];
  const program = startHoldfast(
    [...args, "--output", output, "--in-flight", String(options["in-flight"]), "--pre-flight"],
    { folder: place, env: { HOLDFAST_HOME: join(place, "home"), COMFYUI_URL: url } },
  );
  const code = await program.ended;
  const wholeMs = now() - begun;
  if (code !== 0) throw new Error(`experiment run ended with ${code}:\n${program.output()}`);
  const [name = ""] = existsSync(output) ? readdirSync(output) : [];
  const records = readFileSync(join(output, name, "results.ndjson"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  // The first run waits until the agent has seen ComfyUI work, which is told as the start.
  const ends = records.map(({ endedAt }) => Date.parse(endedAt)).sort((a, b) => a - b);
  const runsMs = ends[ends.length - 1] - ends[0];
  return {
    msPerRun: runsMs / (records.length - 1),
    wholeMsPerRun: wholeMs / options.runs,
    durations: records.map(({ durationMs }) => durationMs),
    startMs: ends[0] - startedAt,
    endMs: startedAt + wholeMs - ends[ends.length - 1],
  };
}
