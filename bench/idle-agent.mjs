/**
 * What an agent costs that has nothing to do: CPU and memory of `holdfast agent` with eight instances
 * of the stand-in (real Python, real PM2) connected to a control plane; and of the control plane.
 * Each window is told apart: code is compiled and pools fill in the first minutes.
 *
 * Flags: --instances N (8), --windows N (5), --seconds N of each (60), --settle N s before the first (60),
 * --keep FOLDER for a CPU profile of the agent (which itself takes some 3 % of a core).
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { processCpuMs, residentMb } from "./lib/cpu.mjs";
import { importGround } from "./lib/ground.mjs";
import { median, now, pause, printTable, round, until } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { freePort, startHoldfast, until200, untilReady, withScratch } from "./lib/programs.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const GOAL_PERCENT = 1;
const MS_PER_SECOND = 1_000;
const HEALTHY_LIMIT_MS = 300_000;

const options = readOptions({
  instances: 8,
  windows: (quick) => (quick ? 2 : 5),
  seconds: (quick) => (quick ? 15 : 60),
  settle: (quick) => (quick ? 15 : 60),
  keep: "",
});
const { startLocalInternet } = await importGround("local-internet");
const { standInManifest } = await importGround("manifest");
const { makeMachineFolder } = await importGround("machine-folder");
const { findPython } = await importGround("python");
const { findPm2, findUv } = await importGround("tools");

const [python, uv, pm2] = [findPython(), await findUv(), await findPm2()];
if (python === undefined || uv === undefined || pm2 === undefined) {
  process.stderr.write("idle-agent: not measured, it needs Python, uv and PM2\n");
  process.exit(1);
}
const folder = await makeMachineFolder();
const internet = await startLocalInternet(folder.path);
try {
  await withScratch(measure);
} finally {
  await internet.close();
  await folder.close();
}

async function measure(scratch, keep) {
  const [serverPort, healthPort, basePort] = [await freePort(), await freePort(), 21_700];
  folder.writeManifest(
    standInManifest(internet, python, basePort, {
      instances: { gpus: "none", cpu: options.instances, basePort, startTimeoutSec: 120 },
    }),
  );
  const env = {
    HOLDFAST_HOME: join(scratch, "home"),
    HOLDFAST_MACHINE_DIR: folder.machine,
    HOLDFAST_MACHINE_MANIFEST: join(folder.path, "machine.yaml"),
    HOLDFAST_UV: uv,
    HOLDFAST_PM2: pm2,
    HOLDFAST_PORT: String(serverPort),
    HOLDFAST_HEALTH_PORT: String(healthPort),
    HOLDFAST_URL: `http://127.0.0.1:${serverPort}`,
  };
  const server = keep(startHoldfast(["server"], { folder: scratch, env }));
  await until200(`${env.HOLDFAST_URL}/healthz`);
  const nodeArgs = options.keep === "" ? [] : ["--cpu-prof", `--cpu-prof-dir=${options.keep}`];
  if (options.keep !== "") await mkdir(options.keep, { recursive: true });
  const agent = keep(startHoldfast(["agent", "--name", "box"], { folder: scratch, env, nodeArgs }));
  await until(() => areHealthy(healthPort, agent), "all instances healthy", {
    limitMs: HEALTHY_LIMIT_MS,
  });
  await untilReady(env.HOLDFAST_URL);
  // Only now: what is beside is counted by what runs before.
  await pause(options.settle * MS_PER_SECOND);
  const machine = await machineFacts();
  announce("idle-agent", machine);
  const windows = [];
  for (let index = 0; index < options.windows; index += 1) {
    windows.push(await window({ agent, server }));
    process.stdout.write(`  ${JSON.stringify(windows.at(-1))}\n`);
  }
  const agentPercent = median(windows.map((one) => one.agentPercent));
  const serverPercent = median(windows.map((one) => one.serverPercent));
  const memoryMb = residentMb(agent.pid);
  printTable(`idle agent with ${options.instances} instances`, [
    { what: "agent, % of a core (median)", measured: agentPercent, goal: GOAL_PERCENT },
    {
      what: "agent, % of a core (highest)",
      measured: Math.max(...windows.map((one) => one.agentPercent)),
    },
    { what: "control plane, % of a core (median)", measured: serverPercent, goal: null },
    { what: "agent's memory, MB", measured: memoryMb, goal: null },
  ]);
  await saveResult("idle-agent", machine, {
    instances: options.instances,
    secondsEach: options.seconds,
    agentPercent,
    goalPercent: GOAL_PERCENT,
    ratioToGoal: round(agentPercent / GOAL_PERCENT),
    serverPercent,
    memoryMb: round(memoryMb),
    windows,
  });
}

/** Shares of one core over some time. */
async function window({ agent, server }) {
  const pids = [agent.pid, server.pid];
  const begun = now();
  const before = pids.map(processCpuMs);
  await pause(options.seconds * MS_PER_SECOND);
  const tookMs = now() - begun;
  const [agentPercent, serverPercent] = pids.map((pid, at) =>
    round((100 * (processCpuMs(pid) - before[at])) / tookMs),
  );
  return { agentPercent, serverPercent };
}

async function areHealthy(port, agent) {
  const answer = await fetch(`http://127.0.0.1:${port}/services`).catch(() => undefined);
  if (answer === undefined) return false;
  const { services } = await answer.json();
  const instances = services.filter(({ kind }) => kind === "instance");
  if (
    instances.length === options.instances &&
    instances.every(({ state }) => state === "healthy")
  ) {
    return true;
  }
  const broken = services.find(({ reason }) => reason.includes("installation failed"));
  if (broken === undefined) return false;
  throw new Error(`${broken.reason}\n${agent.output().slice(-3000)}`);
}
