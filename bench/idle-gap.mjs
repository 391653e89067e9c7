/**
 * How long an instance idles between two prompts while jobs wait: from `execution_success` of one to
 * `execution_start` of the next, as the simulator sends them. Beside it the same simulator with all
 * prompts in its own queue, which is the least it can do.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openBareClient } from "./lib/bare-client.mjs";
import { smallGraph } from "./lib/graphs.mjs";
import { openHoldfastClient } from "./lib/holdfast-client.mjs";
import { median, percentile, printTable, round, summary } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { startSimulatorProcess, startUp, withScratch } from "./lib/programs.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const RECORDER = new URL("lib/record-prompts.mjs", import.meta.url).href;
/** The first gaps belong to the warm-up, the last to an empty queue. */
const SKIPPED = 5;
const GOAL_MS = 2;

const options = readOptions({ jobs: 200, rounds: (quick) => (quick ? 2 : 4), "sleep-ms": 20 });
const machine = await machineFacts();
announce("idle-gap", machine);
const workloads = [
  { name: "prompts that take no time", sleepMs: 0 },
  { name: `prompts of ${options["sleep-ms"]} ms`, sleepMs: options["sleep-ms"] },
];
const results = [];
for (const { name, sleepMs } of workloads) {
  const gaps = { bare: [], holdfast: [] };
  for (let index = 0; index < options.rounds; index += 1) {
    gaps.bare.push(await measure(renderBare, sleepMs));
    gaps.holdfast.push(await measure(renderWithHoldfast, sleepMs));
  }
  const holdfastP50 = median(gaps.holdfast.map((round) => median(round)));
  const bareP50 = median(gaps.bare.map((round) => median(round)));
  results.push({
    workload: name,
    goalP50Ms: GOAL_MS,
    holdfastP50Ms: round(holdfastP50),
    holdfastP90Ms: round(percentile(gaps.holdfast.flat(), 0.9)),
    bareP50Ms: round(bareP50),
    addedP50Ms: round(holdfastP50 - bareP50),
    ratio: round(holdfastP50 / bareP50),
    holdfast: summary(gaps.holdfast.flat()),
    bare: summary(gaps.bare.flat()),
  });
}
printTable(
  `gap between two prompts, ${options.jobs} jobs waiting, ms (median of rounds)`,
  results.map((one) => ({
    workload: one.workload,
    bare: one.bareP50Ms,
    holdfast: one.holdfastP50Ms,
    "holdfast p90": one.holdfastP90Ms,
    added: one.addedP50Ms,
    ratio: one.ratio,
    goal: one.goalP50Ms,
  })),
);
await saveResult("idle-gap", machine, { jobs: options.jobs, rounds: options.rounds, results });

async function measure(render, sleepMs) {
  return await withScratch(async (folder, keep) => {
    const file = join(folder, "prompts.json");
    const simulator = keep(
      await startSimulatorProcess(folder, {
        nodeArgs: ["--import", RECORDER],
        env: { HOLDFAST_BENCH_PROMPTS: file },
      }),
    );
    await render(folder, keep, simulator.url, sleepMs);
    await simulator.stop();
    return gapsOf(JSON.parse(await readFile(file, "utf8")));
  });
}

function gapsOf(noted) {
  const gaps = [];
  for (let at = 1; at < noted.length; at += 1) {
    const [begun, kind] = noted[at];
    const [ended, before] = noted[at - 1];
    if (kind === "execution_start" && before === "execution_success") gaps.push(begun - ended);
  }
  return gaps.slice(SKIPPED, -SKIPPED);
}

async function renderBare(_folder, _keep, url, sleepMs) {
  const client = await openBareClient(url);
  const graphs = Array.from({ length: options.jobs }, () => smallGraph(sleepMs));
  await Promise.all(graphs.map((graph) => client.render(graph)));
  await client.close();
}

async function renderWithHoldfast(folder, keep, url, sleepMs) {
  const up = keep(await startUp(folder, url));
  const client = await openHoldfastClient(up.url);
  const graphs = Array.from({ length: options.jobs }, () => smallGraph(sleepMs));
  const ids = await client.submitMany(graphs);
  await Promise.all(ids.map((id) => client.untilEnded(id)));
  await client.close();
  await up.stop();
}
