/**
 * Where the CPU time of a job goes in the process of `holdfast up`, and which SQL statements a job
 * takes: a V8 profile and a count of statements, each taken in a run of its own so that neither
 * disturbs the other; then the statements of single jobs, one after the other, in order of time.
 */
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { processCpuMs } from "./lib/cpu.mjs";
import { smallGraph } from "./lib/graphs.mjs";
import { openHoldfastClient } from "./lib/holdfast-client.mjs";
import { inParallel, now, pause, printTable, round, until } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { startSimulatorProcess, startUp, withScratch } from "./lib/programs.mjs";
import { areaOf, functionOf, ownTimes, totalTimes } from "./lib/read-profile.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const RECORDER = new URL("lib/record-statements.mjs", import.meta.url).href;
const WARM_UP_JOBS = 400;
const LISTED = 40;
const SINGLE_JOBS = 5;
/** Statements of a background loop may fall between two jobs. */
const BETWEEN_JOBS_MS = 300;

const options = readOptions({
  jobs: (quick) => (quick ? 300 : 1000),
  width: 16,
  /** A folder to keep the whole profile in, for a viewer. */
  keep: "",
});
const machine = await machineFacts();
announce("profile", machine);
const statements = await countStatements();
const cpu = await profileCpu();
print();
await saveResult("profile", machine, {
  jobs: options.jobs,
  width: options.width,
  ...cpu,
  statements: statements.perJob,
  singleJob: statements.singleJob,
});

async function run(nodeArgs, env, work) {
  return await withScratch(async (folder, keep) => {
    const simulator = keep(await startSimulatorProcess(folder));
    const settings = typeof env === "function" ? env(folder) : env;
    const args = typeof nodeArgs === "function" ? nodeArgs(folder) : nodeArgs;
    const up = keep(await startUp(folder, simulator.url, { nodeArgs: args, env: settings }));
    const client = await openHoldfastClient(up.url);
    try {
      await inParallel(WARM_UP_JOBS, options.width, () => client.render(smallGraph()));
      return await work({ folder, up, client });
    } finally {
      await client.close();
    }
  });
}

function fileIn(folder) {
  return join(folder, "statements.json");
}

async function countStatements() {
  return await run(
    ["--import", RECORDER],
    (folder) => ({ HOLDFAST_BENCH_STATEMENTS: fileIn(folder) }),
    async ({ folder, up, client }) => {
      const read = async () => {
        process.kill(up.pid, "SIGUSR2");
        await pause(BETWEEN_JOBS_MS);
        return JSON.parse(await readFile(fileIn(folder), "utf8"));
      };
      process.kill(up.pid, "SIGUSR1");
      await inParallel(options.jobs, options.width, () => client.render(smallGraph()));
      const { counts } = await read();
      const perJob = counts
        .map(([name, { count, ms }]) => ({
          statement: name,
          perJob: round(count / options.jobs),
          msEach: round(ms / count),
        }))
        .sort((a, b) => b.perJob - a.perJob);
      process.kill(up.pid, "SIGUSR1");
      const jobs = [];
      for (let index = 0; index < SINGLE_JOBS; index += 1) {
        await pause(BETWEEN_JOBS_MS);
        const begun = performance.timeOrigin + now();
        await client.render(smallGraph());
        jobs.push([begun, performance.timeOrigin + now()]);
      }
      const { timeline } = await read();
      return { perJob, singleJob: jobs.map((job) => timelineOf(job, timeline)) };
    },
  );
}

function timelineOf([begun, ended], timeline) {
  const own = timeline.filter(([at]) => at >= begun - 1 && at <= ended + BETWEEN_JOBS_MS / 2);
  return {
    totalMs: round(ended - begun),
    statements: own.map(([at, ms, name]) => [round(at - begun), round(ms), name]),
  };
}

async function profileCpu() {
  return await run(
    (folder) => ["--cpu-prof", "--cpu-prof-interval", "500", "--cpu-prof-dir", join(folder, "cpu")],
    {},
    async ({ folder, up, client }) => {
      const before = processCpuMs(up.pid);
      const start = now();
      await inParallel(options.jobs, options.width, () => client.render(smallGraph()));
      const seconds = (now() - start) / 1000;
      const used = processCpuMs(up.pid) - before;
      await client.close();
      await up.stop();
      const cpuFolder = join(folder, "cpu");
      const name = await until(async () => (await readdir(cpuFolder))[0], "the CPU profile");
      const text = await readFile(join(cpuFolder, name), "utf8");
      if (options.keep !== "") {
        await mkdir(options.keep, { recursive: true });
        await writeFile(join(options.keep, "holdfast.cpuprofile"), text);
      }
      const profile = lastPart(JSON.parse(text), seconds);
      const perJob = (times) =>
        times.slice(0, LISTED).map(([key, ms]) => [key, round(ms / options.jobs)]);
      return {
        jobsPerSecond: round(options.jobs / seconds),
        cpuMsPerJob: round(used / options.jobs),
        areas: perJob(ownTimes(profile, areaOf)),
        functions: perJob(ownTimes(profile, functionOf)),
        callers: perJob(totalTimes(profile)),
      };
    },
  );
}

/** The samples of the measured jobs: the start-up and the warm-up are cut off. */
function lastPart(profile, seconds) {
  const stopMs = 1_500;
  let left = (seconds * 1000 + stopMs) * 1000;
  let first = profile.samples.length;
  while (first > 0 && left > 0) {
    first -= 1;
    left -= profile.timeDeltas[first] ?? 0;
  }
  return {
    ...profile,
    samples: profile.samples.slice(first),
    timeDeltas: profile.timeDeltas.slice(first),
  };
}

function print() {
  printTable(
    `${options.jobs} jobs, ${options.width} at a time: ${cpu.cpuMsPerJob} ms CPU a job (with the profiler), by area`,
    cpu.areas.slice(0, 25).map(([area, ms]) => ({ area, "ms a job": ms })),
  );
  printTable(
    "own time by function",
    cpu.functions.slice(0, 25).map(([name, ms]) => ({ function: name, "ms a job": ms })),
  );
  printTable(
    "time below our functions",
    cpu.callers.slice(0, 25).map(([name, ms]) => ({ function: name, "ms a job": ms })),
  );
  printTable("statements a job", statements.perJob.slice(0, 25));
  const [single] = [...statements.singleJob].sort((a, b) => a.totalMs - b.totalMs);
  printTable(
    `one job alone, the quickest of ${SINGLE_JOBS}: ${single.totalMs} ms`,
    single.statements.map(([at, ms, statement]) => ({ "at ms": at, "took ms": ms, statement })),
  );
}
