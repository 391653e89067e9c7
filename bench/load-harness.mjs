/**
 * `holdfast load` against the instant simulator: how many jobs a second the harness itself is good for, and
 * what it adds to a job's time. The other side is the bare client of these benches on the same ComfyUI, which
 * keeps no samples, files or cards. Both take turns, round by round.
 *
 * Flags: --jobs N, --width N (default 16), --rounds N, --quick.
 */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openBareClient } from "./lib/bare-client.mjs";
import { smallGraph } from "./lib/graphs.mjs";
import { inParallel, median, now, percentile, printTable, round } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { startSimulatorProcess, withScratch } from "./lib/programs.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

/** Jobs a second of the harness. */
const GOAL = 500;
const WARM_UP_JOBS = 2_000;
const BIN = join(dirname(dirname(fileURLToPath(import.meta.url))), "packages/cli/bin/holdfast.js");
const GRAPH = {
  1: {
    class_type: "EmptyImage",
    inputs: { width: 64, height: 64, batch_size: 1, color: "{{index}}" },
  },
  3: {
    class_type: "SaveImage",
    // A folder each, as the other side has it.
    inputs: { filename_prefix: "bench/{{seed}}/picture", images: ["1", 0] },
  },
};

const options = readOptions({
  jobs: (quick) => (quick ? 2_000 : 6_000),
  width: 16,
  rounds: (quick) => (quick ? 2 : 5),
});
const machine = await machineFacts();
announce("load-harness", machine);

await withScratch(async (folder, keep) => {
  const simulator = keep(await startSimulatorProcess(folder));
  const bare = await openBareClient(simulator.url);
  const workflow = join(folder, "small.json");
  await writeFile(workflow, JSON.stringify(GRAPH));
  const sides = {
    bare: () => runBare(bare),
    load: (seed) => runLoad(simulator.url, workflow, folder, seed),
  };
  const rounds = [];
  try {
    for (let at = 0; at < options.rounds; at += 1) {
      const order = at % 2 === 0 ? ["bare", "load"] : ["load", "bare"];
      const one = {};
      for (const side of order) one[side] = await sides[side](at + 1);
      rounds.push(one);
    }
  } finally {
    await bare.close();
  }
  const of = (side, fact) => round(median(rounds.map((one) => one[side][fact])));
  const result = {
    jobsPerSecond: of("load", "jobsPerSecond"),
    bareJobsPerSecond: of("bare", "jobsPerSecond"),
    addedP50Ms: round(median(rounds.map((one) => one.load.p50Ms - one.bare.p50Ms))),
    addedP99Ms: round(median(rounds.map((one) => one.load.p99Ms - one.bare.p99Ms))),
    lateP99Ms: of("load", "lateP99Ms"),
    eventLoopP99Ms: of("load", "eventLoopP99Ms"),
  };
  printTable(`holdfast load, ${options.width} at a time; goal: ${GOAL} jobs/s`, [result]);
  await saveResult("load-harness", machine, {
    goals: { jobsPerSecond: GOAL },
    jobs: options.jobs,
    width: options.width,
    result,
    rounds,
  });
});

async function runBare(client) {
  const latencies = [];
  const render = async () => {
    const begun = now();
    await client.render(smallGraph());
    latencies.push(now() - begun);
  };
  await inParallel(WARM_UP_JOBS, options.width, render);
  latencies.length = 0;
  const begun = now();
  await inParallel(options.jobs, options.width, render);
  const seconds = (now() - begun) / 1_000;
  return {
    jobsPerSecond: options.jobs / seconds,
    p50Ms: median(latencies),
    p99Ms: percentile(latencies, 0.99),
  };
}

async function runLoad(url, workflow, folder, seed) {
  const jobs = options.jobs + WARM_UP_JOBS;
  const amounts = ["--jobs", jobs, "--concurrency", options.width, "--warm-up", WARM_UP_JOBS];
  const files = ["--root", join(folder, "infra"), "--output", join(folder, "load.json")];
  const args = [...amounts, ...files, "--seed", seed, "--json"].map(String);
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [BIN, "load", "--server", url, "--workflow", workflow, ...args],
    { maxBuffer: 16 * 1024 * 1024 },
  );
  const { summary } = JSON.parse(stdout);
  return {
    jobsPerSecond: summary.throughputPerMinute / 60,
    p50Ms: summary.phases.total.p50,
    p99Ms: summary.phases.total.p99,
    ...summary.harness,
  };
}
