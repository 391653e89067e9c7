/**
 * The fleet's leader with 10,000 machines: one round on a real Postgres, every machine with its agent's
 * heartbeat, report and instance, its provider's list in memory. And, simulated: what a night with a bad
 * image costs against a scaler that replaces whatever fails, and 200 machines that follow 20,000 jobs
 * while they die by chance (written as a page with plots).
 *
 * Flags: --machines N (10000), --rounds N (20), --parts round,night,follow, --page FILE of the plots.
 */
import { writeFile } from "node:fs/promises";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createIdSource } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { DEFAULT_BREAKER_POLICY, DEFAULT_FLEET_POLICY } from "../packages/fleet/dist/index.js";
import { takeLead } from "../packages/control-plane/dist/fleet/lead-store.js";
import { createReconciler } from "../packages/control-plane/dist/fleet/reconcile-service.js";
import { fleetPage } from "./lib/fleet-page.mjs";
import { openServices, startPostgres } from "./lib/in-process.mjs";
import { median, now, percentile, printTable, round } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { withScratch } from "./lib/programs.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";
import { simulateFollow, simulateNight } from "./lib/fleet-simulation.mjs";

const ROUND_GOAL_MS = 200;
const options = readOptions({
  machines: (quick) => (quick ? 2_000 : 10_000),
  rounds: (quick) => (quick ? 5 : 20),
  parts: "round,night,follow",
  page: "fleet.html",
});
const machine = await machineFacts();
announce("fleet", machine);
const parts = options.parts.split(",");
const result = {};
if (parts.includes("round")) result.round = await withScratch(measureRound);
if (parts.includes("night")) result.night = reportNight(await simulateNight());
if (parts.includes("follow")) result.follow = await reportFollow(await simulateFollow());
await saveResult("fleet", machine, result);

async function measureRound(folder, keep) {
  const postgres = keep(await startPostgres(folder));
  const { url } = await postgres.createDatabase("fleet");
  const services = keep(await openServices(folder, url));
  const { db } = services;
  // The loops of the services lead a fleet of their own: this one has to have the lead.
  for (const loop of services.loops) if (loop.name.startsWith("fleet:")) await loop.stop();
  await fill(db, options.machines);
  const machines = Array.from({ length: options.machines }, (_, at) => ({
    ref: `ref-${at}`,
    name: `hf-gpu-bench0-${at}`,
    state: "running",
    reason: null,
    offer: null,
    pricePerHour: 1,
    address: null,
    createdAt: null,
  }));
  const ok = async (value) => ({ kind: "ok", value });
  const provider = {
    kind: "runpod",
    offers: [{ gpuType: null, zone: null, isSpot: false }],
    list: () => ok(machines),
    create: () => ok(machines[0]),
    terminate: () => ok(null),
  };
  const pool = {
    name: "gpu",
    provider: "runpod",
    min: options.machines,
    max: options.machines,
    instancesPerMachine: 1,
    pricePerHour: 1,
    offerCount: 1,
    startTimeoutMs: 600_000,
    progressTimeoutMs: 300_000,
  };
  const silent = () => undefined;
  const reconciler = createReconciler({
    db,
    clock: systemClock,
    random: systemRandom,
    ids: createIdSource(systemClock, systemRandom),
    log: { debug: silent, info: silent, warn: silent, error: console.error },
    settings: {
      installation: "bench0",
      policy: { ...DEFAULT_FLEET_POLICY, pools: [pool] },
      pools: [{ name: "gpu", provider, env: async () => ({ kind: "ok", env: {} }), health: null }],
      breaker: DEFAULT_BREAKER_POLICY,
      publicUrl: () => "http://127.0.0.1:1",
    },
    ports: {
      demand: async () => ({
        waitingJobs: 50_000,
        runningJobs: 10_000,
        jobMs: 30_000,
        oldestWaitMs: 60_000,
      }),
      cordon: async () => undefined,
      enrol: async () => null,
      ping: async () => null,
    },
    onEvents: silent,
  });
  const epoch = await takeLead(db, "bench", 3_600_000);
  const lead = { epoch, isLeading: () => true };
  const { signal } = new AbortController();
  await reconciler.round(lead, signal);
  const delay = monitorEventLoopDelay({ resolution: 5 });
  const times = [];
  delay.enable();
  for (let index = 0; index < options.rounds; index += 1) {
    const begun = now();
    await reconciler.round(lead, signal);
    times.push(now() - begun);
  }
  delay.disable();
  const changed = await db.query(
    "select count(*)::int as n from fleet_machines where state <> 'ready'",
  );
  if (changed.rows[0].n > 0)
    throw new Error(`${changed.rows[0].n} machines are not ready any more`);
  const measured = {
    machines: options.machines,
    p50Ms: round(median(times)),
    p99Ms: round(percentile(times, 0.99)),
    goalMs: ROUND_GOAL_MS,
    loopDelayP99Ms: round(delay.percentile(99) / 1e6),
  };
  printTable(`one round with ${options.machines} machines, ms`, [
    { what: "p50", measured: measured.p50Ms, goal: ROUND_GOAL_MS },
    { what: "p99", measured: measured.p99Ms, goal: null },
    { what: "event loop delay p99", measured: measured.loopDelayP99Ms, goal: null },
  ]);
  return measured;
}

/** Machines as they are when all is well, each with what its agent has told. */
async function fill(db, count) {
  const services = Array.from({ length: 6 }, (_, at) => ({
    name: `service-${at}`,
    kind: "instance",
    state: "healthy",
    reason: "running, its check passes",
    since: 1,
    installation: { state: "installed", detail: null, version: null },
    runtime: { state: "running", pid: 1, startedAt: 1, restarts: 0, detail: null },
    check: { state: "passing", detail: null, checkedAt: 1 },
    dependencies: [],
  }));
  const report = JSON.stringify({ services, healthPort: 9090, gpus: [], host: {} });
  await db.query(
    `insert into machines (id, name, boot_id, session, state, agent_version)
     select 'mch_' || n, 'hf-gpu-bench0-' || n, 'boot', 1, 'online', 'bench' from generate_series(0, $1 - 1) n`,
    [count],
  );
  await db.query(
    `insert into instances (id, machine_id, key, name, state)
     select 'ins_' || n, 'mch_' || n, 'k', 'k', 'healthy' from generate_series(0, $1 - 1) n`,
    [count],
  );
  await db.query(
    `insert into machine_reports (machine_id, report, summary, offers, fetches)
     select 'mch_' || n, $2::jsonb, '{}', '{}', '[]' from generate_series(0, $1 - 1) n`,
    [count, report],
  );
  await db.query(
    `insert into fleet_machines (id, name, pool, provider, state, ref, offer_index, asked_count,
       created_at, healthy_at)
     select 'flm_' || lpad(n::text, 26, '0'), 'hf-gpu-bench0-' || n, 'gpu', 'runpod', 'ready', 'ref-' || n,
       0, 1, now(), now() from generate_series(0, $1 - 1) n`,
    [count],
  );
  await db.query("analyze");
}
function reportNight({ holdfast, naive }) {
  printTable("a night of 8 h with a bad image, at a dollar an hour for a machine", [
    { what: "holdfast", "machines started": holdfast.started, dollars: holdfast.dollars },
    { what: "replaces what fails", "machines started": naive.started, dollars: naive.dollars },
  ]);
  return {
    holdfast: { ...holdfast, dollars: round(holdfast.dollars) },
    naive: { ...naive, dollars: round(naive.dollars) },
    ratio: round(holdfast.dollars / naive.dollars),
  };
}

async function reportFollow(followed) {
  const { points, ...rest } = followed;
  const title = `${rest.jobs} jobs on up to ${rest.machinesMax} machines that die by chance`;
  await writeFile(options.page, fleetPage(followed, { title, madeAt: machine.at }));
  printTable(
    title,
    Object.entries(rest).map(([what, value]) => ({ what, value })),
  );
  process.stdout.write(`\nplots: ${options.page} (${points.length} minutes)\n`);
  if (rest.done !== rest.jobs || rest.leftBehind > 0) {
    throw new Error("not every job was completed, or machines were left behind");
  }
  return Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, round(value)]));
}
