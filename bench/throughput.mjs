/**
 * Jobs per second of a bare ComfyUI client and of Holdfast on the same ComfyUI process, in rounds
 * that take turns; beside it latency, `/history` calls and CPU time a job. Every job of Holdfast is
 * durable: submitted, leased, collected and told from its Postgres with the usual settings.
 */
import { openBareClient } from "./lib/bare-client.mjs";
import { processCpuMs, treeCpuMs } from "./lib/cpu.mjs";
import { smallGraph } from "./lib/graphs.mjs";
import { openHoldfastClient } from "./lib/holdfast-client.mjs";
import { inParallel, median, now, pause, printTable, round, summary } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { startSimulatorProcess, startUp, withScratch } from "./lib/programs.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

/** What Holdfast does after a client has its pictures: the history is swept within this time. */
const SETTLE_MS = 700;
/** The engine compiles what runs often: a job's CPU time falls by a third over the first 3,000. */
const WARM_UP_JOBS = 4000;
/** jobs/s of Holdfast over the bare client's that the design asks for. */
const GOALS = { 1: 0.62, 4: 0.75, 16: 0.85, 256: 0.75, sleep: 0.98 };

const options = readOptions({
  rounds: (quick) => (quick ? 3 : 5),
  cases: "1,4,16,256,sleep",
  "wait-by": "events",
  scale: (quick) => (quick ? 0.5 : 1),
});
const CASES = {
  1: { name: "1 at a time", width: 1, jobs: 100, sleepMs: 0 },
  4: { name: "4 at a time", width: 4, jobs: 200, sleepMs: 0 },
  16: { name: "16 at a time", width: 16, jobs: 400, sleepMs: 0 },
  256: { name: "256 waiting", width: 256, jobs: 768, sleepMs: 0 },
  sleep: { name: "50 ms prompts, 4", width: 4, jobs: 40, sleepMs: 50 },
};

const machine = await machineFacts();
announce("throughput", machine);
const realUrl = process.env.HOLDFAST_BENCH_COMFYUI_URL;
await withScratch(async (folder, keep) => {
  const simulator = realUrl === undefined ? keep(await startSimulatorProcess(folder)) : undefined;
  const comfyUrl = realUrl ?? simulator.url;
  const up = keep(await startUp(folder, comfyUrl));
  const bare = await openBareClient(comfyUrl);
  const holdfast = await openHoldfastClient(up.url, options["wait-by"]);
  const sides = { bare, holdfast };
  const results = [];
  try {
    for (const client of Object.values(sides)) {
      await inParallel(WARM_UP_JOBS, 16, () => client.render(smallGraph()));
    }
    for (const key of options.cases.split(",")) {
      const wanted = CASES[key];
      if (wanted === undefined) throw new Error(`--cases: there is no case ${key}`);
      if (wanted.sleepMs > 0 && !(await hasNode(comfyUrl, "HoldfastSleep"))) {
        process.stdout.write(`skipped: ${wanted.name} (this ComfyUI has no node that sleeps)\n`);
        continue;
      }
      results.push(await runCase(key, wanted, sides, { up, simulator, comfyUrl }));
    }
  } finally {
    await bare.close();
    await holdfast.close();
  }
  print(results);
  await saveResult(realUrl === undefined ? "throughput" : "throughput-real", machine, {
    comfyui: realUrl === undefined ? "simulator, time scale 0" : "real",
    waitBy: options["wait-by"],
    results,
  });
});

async function hasNode(comfyUrl, name) {
  return name in (await (await fetch(`${comfyUrl}/object_info/${name}`)).json());
}

async function runCase(key, wanted, sides, programs) {
  const jobs = Math.max(wanted.width, Math.round(wanted.jobs * options.scale));
  const rounds = [];
  for (let index = 0; index < options.rounds; index += 1) {
    const order = index % 2 === 0 ? ["bare", "holdfast"] : ["holdfast", "bare"];
    const measured = {};
    for (const side of order) {
      measured[side] = await runSide(sides[side], { ...wanted, jobs }, programs);
    }
    rounds.push(measured);
  }
  const of = (side, fact) => rounds.map((one) => one[side][fact]);
  const ratios = rounds.map((one) => one.holdfast.jobsPerSecond / one.bare.jobsPerSecond);
  return {
    case: wanted.name,
    width: wanted.width,
    jobsPerRound: jobs,
    goal: GOALS[key] ?? null,
    ratio: round(median(ratios)),
    ratios: ratios.map(round),
    bareJobsPerSecond: round(median(of("bare", "jobsPerSecond"))),
    holdfastJobsPerSecond: round(median(of("holdfast", "jobsPerSecond"))),
    addedP50Ms: round(median(rounds.map((one) => one.holdfast.p50Ms - one.bare.p50Ms))),
    bareLatencyMs: summary(rounds.flatMap((one) => one.bare.latencies)),
    holdfastLatencyMs: summary(rounds.flatMap((one) => one.holdfast.latencies)),
    historyPerJob: round(median(of("holdfast", "historyPerJob"))),
    historyDeletesPerJob: round(median(of("holdfast", "historyDeletesPerJob"))),
    cpuMsPerJob: round(median(of("holdfast", "cpuMsPerJob"))),
    postgresCpuMsPerJob: round(median(of("holdfast", "postgresCpuMsPerJob"))),
    clientCpuMsPerJob: {
      bare: round(median(of("bare", "clientCpuMsPerJob"))),
      holdfast: round(median(of("holdfast", "clientCpuMsPerJob"))),
    },
    comfyuiCpuMsPerJob: {
      bare: round(median(of("bare", "comfyuiCpuMsPerJob"))),
      holdfast: round(median(of("holdfast", "comfyuiCpuMsPerJob"))),
    },
  };
}

async function runSide(client, { jobs, width, sleepMs }, programs) {
  const before = await readCounters(programs);
  const latencies = [];
  const start = now();
  await inParallel(jobs, width, async () => {
    const begun = now();
    await client.render(smallGraph(sleepMs));
    latencies.push(now() - begun);
  });
  const seconds = (now() - start) / 1000;
  await pause(SETTLE_MS);
  const after = await readCounters(programs);
  const perJob = (fact) =>
    after[fact] === null || before[fact] === null ? null : (after[fact] - before[fact]) / jobs;
  return {
    jobsPerSecond: jobs / seconds,
    p50Ms: median(latencies),
    latencies,
    historyPerJob: perJob("historyGets"),
    historyDeletesPerJob: perJob("historyPosts"),
    cpuMsPerJob: perJob("holdfastCpu"),
    postgresCpuMsPerJob: perJob("postgresCpu"),
    clientCpuMsPerJob: perJob("clientCpu"),
    comfyuiCpuMsPerJob: perJob("comfyuiCpu"),
  };
}

async function readCounters({ up, simulator, comfyUrl }) {
  const { user, system } = process.cpuUsage();
  const requests =
    simulator === undefined
      ? undefined
      : (await (await fetch(`${comfyUrl}/simulator/stats`)).json()).requests;
  return {
    historyGets: requests === undefined ? null : (requests["GET /history"] ?? 0),
    historyPosts: requests === undefined ? null : (requests["POST /history"] ?? 0),
    holdfastCpu: processCpuMs(up.pid),
    postgresCpu: treeCpuMs(up.postgresPid),
    comfyuiCpu: simulator === undefined ? null : processCpuMs(simulator.pid),
    clientCpu: (user + system) / 1000,
  };
}

function print(results) {
  printTable(
    "jobs per second (median of rounds)",
    results.map((one) => ({
      case: one.case,
      bare: one.bareJobsPerSecond,
      holdfast: one.holdfastJobsPerSecond,
      ratio: one.ratio,
      goal: one.goal,
      "added p50 ms": one.addedP50Ms,
      "bare p50": one.bareLatencyMs.p50,
      "holdfast p50": one.holdfastLatencyMs.p50,
      "holdfast p99": one.holdfastLatencyMs.p99,
    })),
  );
  printTable(
    "per job",
    results.map((one) => ({
      case: one.case,
      "GET /history": one.historyPerJob,
      "POST /history": one.historyDeletesPerJob,
      "holdfast CPU ms": one.cpuMsPerJob,
      "postgres CPU ms": one.postgresCpuMsPerJob,
      "ComfyUI CPU ms (bare)": one.comfyuiCpuMsPerJob.bare,
      "ComfyUI CPU ms (holdfast)": one.comfyuiCpuMsPerJob.holdfast,
      "client CPU ms": one.clientCpuMsPerJob.holdfast,
    })),
  );
}
