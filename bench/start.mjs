/**
 * From the start of `holdfast up --simulator` to `/readyz` 200, first on a new home folder and then on
 * one that was used before; and the memory of the process when it has nothing to do.
 */
import { residentMb } from "./lib/cpu.mjs";
import { median, now, pause, printTable, round } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import {
  freePort,
  startHoldfast,
  untilReady,
  upEnvironment,
  withScratch,
} from "./lib/programs.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const READY_GOAL_MS = 5_000;
const MEMORY_GOAL_MB = 300;

const options = readOptions({
  rounds: (quick) => (quick ? 2 : 5),
  /** How long the process is left alone before its memory is read. */
  "idle-ms": (quick) => (quick ? 3_000 : 10_000),
});
const machine = await machineFacts();
announce("start", machine);
await withScratch(async (folder) => {
  const first = await startOnce(folder);
  const later = [];
  for (let index = 0; index < options.rounds; index += 1) {
    const isLast = index === options.rounds - 1;
    later.push(await startOnce(folder, isLast ? options["idle-ms"] : 0));
  }
  const readyMs = median(later.map((one) => one.readyMs));
  const { idleMb } = later.at(-1);
  printTable("start of `holdfast up --simulator` to ready", [
    { what: "first start, ms", measured: first.readyMs, goal: null },
    { what: "later starts, median ms", measured: readyMs, goal: READY_GOAL_MS },
    { what: "later starts, slowest ms", measured: Math.max(...later.map((one) => one.readyMs)) },
    { what: "idle memory of `up`, MB", measured: idleMb, goal: MEMORY_GOAL_MB },
  ]);
  await saveResult("start", machine, {
    firstReadyMs: round(first.readyMs),
    readyMs: round(readyMs),
    readyGoalMs: READY_GOAL_MS,
    ratioToGoal: round(readyMs / READY_GOAL_MS),
    laterMs: later.map((one) => round(one.readyMs)),
    idleMb: round(idleMb),
    idleGoalMb: MEMORY_GOAL_MB,
  });
});

async function startOnce(folder, idleMs = 0) {
  const port = await freePort();
  const begun = now();
  const up = startHoldfast(["up", "--simulator", "--port", String(port)], {
    folder,
    env: upEnvironment(folder),
  });
  try {
    await untilReady(`http://127.0.0.1:${port}`);
    const readyMs = now() - begun;
    await pause(idleMs);
    return { readyMs, idleMb: residentMb(up.pid) };
  } finally {
    await up.stop();
  }
}
