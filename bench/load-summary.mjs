/**
 * What summing up a load run costs: samples as a run of two workflows gives them, taken one by one, then the
 * summary. Beside it what is usually done: all samples kept, and each phase sorted at the end. The heap after
 * each fifth of ours has to be what it was after the first: nothing is kept of a sample.
 *
 * Flags: --samples N (default 1,000,000), --rounds N, --quick.
 */
import { createLoadCollector, PHASES, phasesOf, toJobSample } from "@holdfast/load";
import { seededRandom } from "@holdfast/runtime";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { median, printTable, round } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const BYTES_PER_MB = 1024 * 1024;
const GOAL_SECONDS = 5;
/** What the heap may differ by between two looks at it: code that was compiled meanwhile. */
const FLAT_MB = 2;
const PARTS = 5;
const SHARES = [0.5, 0.9, 0.95, 0.99, 1];

const options = readOptions({
  samples: (quick) => (quick ? 100_000 : 1_000_000),
  rounds: (quick) => (quick ? 2 : 5),
});
const machine = await machineFacts();
announce("load-summary", machine);
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");

const making = [];
const ours = { seconds: [], heapMb: [], p95: 0 };
const sorted = { seconds: [], heapMb: [], p95: 0 };
for (let at = 0; at < options.rounds; at += 1) {
  making.push(makeAlone());
  // In turns: what the one leaves behind of garbage and of compiled code meets both.
  const inTurn = [sumUp, sortAll];
  for (const side of at % 2 === 0 ? inTurn : inTurn.reverse()) side();
}

const makingSeconds = median(making);
const net = (one) => Math.max(0, median(one.seconds) - makingSeconds);
const grewMb = Math.max(...ours.heapMb.map((heap) => heap.at(-1) - heap[0]));
const results = [row("summed up as they come", ours), row("all kept, sorted at the end", sorted)];
printTable(
  `${options.samples} samples; goal: under ${GOAL_SECONDS} s with a flat heap; making them (${round(makingSeconds)} s) is left out`,
  results,
);
const ratio = round(net(sorted) / net(ours));
console.log(
  `sorting takes ${ratio} times as long; p95 of ours is ${round(ours.p95 / sorted.p95)} of the exact one`,
);
await saveResult("load-summary", machine, {
  samples: options.samples,
  goalSeconds: GOAL_SECONDS,
  flatMb: FLAT_MB,
  makingSeconds: round(makingSeconds),
  ratio,
  results,
});
if (net(ours) > GOAL_SECONDS || grewMb > FLAT_MB) process.exitCode = 1;

function makeAlone() {
  const startedAt = performance.now();
  let last;
  for (const sample of samples()) last = sample;
  if (last === undefined) throw new Error("no samples");
  return (performance.now() - startedAt) / 1000;
}

function sumUp() {
  collect();
  const collector = createLoadCollector();
  const heapMb = [];
  let seconds = 0;
  let startedAt = performance.now();
  for (const sample of samples()) {
    collector.add(sample);
    if ((sample.index + 1) % Math.floor(options.samples / PARTS) !== 0) continue;
    seconds += (performance.now() - startedAt) / 1000;
    heapMb.push(heapNow());
    startedAt = performance.now();
  }
  const measured = collector.measured();
  collector.timeline();
  ours.seconds.push(seconds + (performance.now() - startedAt) / 1000);
  ours.heapMb.push(heapMb);
  ours.p95 = measured.phases.total.p95;
}

/** The same figures by sorting: of all and of each workflow, every phase. */
function sortAll() {
  collect();
  const startedAt = performance.now();
  const kept = [];
  for (const sample of samples()) kept.push(sample);
  const percentiles = new Map();
  for (const workflow of [null, "small", "large"]) {
    const own = kept.filter(
      (one) => !one.warmUp && (workflow === null || one.workflow === workflow),
    );
    const times = own.map(phasesOf);
    for (const phase of PHASES) {
      const values = Float64Array.from(times, (one) => one[phase] ?? 0).sort();
      percentiles.set(
        `${workflow} ${phase}`,
        SHARES.map((share) => values[Math.ceil(share * values.length) - 1]),
      );
    }
  }
  const seconds = (performance.now() - startedAt) / 1000;
  sorted.seconds.push(seconds);
  sorted.heapMb.push([heapNow()]);
  sorted.p95 = percentiles.get("null total")[2];
  if (kept.length !== options.samples) throw new Error("samples were lost");
}

function* samples() {
  const random = seededRandom(42);
  for (let index = 0; index < options.samples; index += 1) {
    const begunAt = index * 50 + random.next() * 5;
    const startedAt = begunAt + 20 - 500 * Math.log(1 - random.next());
    const executedAt = startedAt + 3_000 - 1_500 * Math.log(1 - random.next());
    yield toJobSample(
      {
        index,
        workflow: index % 3 === 0 ? "large" : "small",
        level: 20,
        intendedMs: index * 50,
        warmUp: index < 10,
      },
      {
        begunAt,
        acceptedAt: begunAt + 10,
        startedAt,
        loadedAt: startedAt + 1,
        executedAt,
        endedAt: executedAt + 30 + random.next() * 20,
        outcome: "completed",
        errorClass: null,
        retries: 0,
        changed: false,
        outputs: 1,
        bytes: 1_000_000,
      },
      0,
    );
  }
}

function heapNow() {
  collect();
  return (
    process.memoryUsage().heapUsed / BYTES_PER_MB +
    process.memoryUsage().arrayBuffers / BYTES_PER_MB
  );
}

function row(kind, side) {
  return {
    kind,
    "seconds (median)": round(net(side)),
    "heap, MB": side.heapMb
      .at(-1)
      .map((one) => round(one))
      .join(" "),
  };
}
