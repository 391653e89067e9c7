/**
 * Whether size matters: claim, list page and counts with 10,000 and with 1,000,000 jobs in the table,
 * in turns; and one replica with 10,000 instances (1,250 agents of 8) that hold jobs, poll and renew.
 */
import { hostname } from "node:os";
import { processCpuMs, residentMb, treeCpuMs } from "./lib/cpu.mjs";
import { openFleet } from "./lib/fleet.mjs";
import {
  CALLER,
  INVENTORY,
  openServices,
  registerMachine,
  startPostgres,
} from "./lib/in-process.mjs";
import { median, now, pause, percentile, printTable, round } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import {
  freePort,
  postgresPidOf,
  startHoldfast,
  until200,
  upEnvironment,
  withScratch,
} from "./lib/programs.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const ROWS_PER_INSERT = 50_000;
/** One in so many jobs waits; the others have ended. */
const QUEUED_EVERY = 10;
const SIZE_GOAL = 2;

const options = readOptions({
  small: 10_000,
  large: (quick) => (quick ? 200_000 : 1_000_000),
  samples: (quick) => (quick ? 60 : 200),
  agents: (quick) => (quick ? 250 : 1_250),
  instances: 8,
  seconds: (quick) => (quick ? 20 : 45),
  parts: "jobs,fleet",
});
const machine = await machineFacts();
announce("scale", machine);
const parts = options.parts.split(",");
const jobs = parts.includes("jobs") ? await withScratch(measureSizes) : undefined;
const fleet = parts.includes("fleet") ? await withScratch(measureFleet) : undefined;
await saveResult("scale", machine, { ...(jobs && { jobs }), ...(fleet && { fleet }) });

async function measureSizes(folder, keep) {
  const postgres = keep(await startPostgres(folder));
  const sides = {};
  const loadMs = {};
  for (const name of ["small", "large"]) {
    const { url } = await postgres.createDatabase(name);
    const services = keep(await openServices(folder, url));
    const begun = now();
    await fill(services, options[name]);
    loadMs[name] = round(now() - begun);
    process.stdout.write(`   ${options[name]} jobs in the table after ${loadMs[name]} ms\n`);
    sides[name] = await toOperations(services);
  }
  const names = Object.keys(sides.small);
  const samples = { small: {}, large: {} };
  for (const name of names) for (const side of ["small", "large"]) samples[side][name] = [];
  for (let index = 0; index < options.samples; index += 1) {
    for (const name of names) {
      for (const side of index % 2 === 0 ? ["small", "large"] : ["large", "small"]) {
        const { run, after } = sides[side][name];
        const begun = now();
        await run();
        samples[side][name].push(now() - begun);
        await after?.();
      }
    }
  }
  const table = names.map((operation) => {
    const [small, large] = [samples.small[operation], samples.large[operation]];
    return {
      operation,
      [`${options.small} jobs, ms`]: round(median(small)),
      [`${options.large} jobs, ms`]: round(median(large)),
      ratio: round(median(large) / median(small)),
      "p90 ratio": round(percentile(large, 0.9) / percentile(small, 0.9)),
      goal: SIZE_GOAL,
    };
  });
  printTable("the same calls on a small and on a large table (median)", table);
  return { table, loadMs };
}

/** Jobs as they would be after years, or after one bad day: ended ones, and one of ten waiting. */
async function fill({ db, jobs, machines }, count) {
  await machines.putInventory({ inventory: INVENTORY, objectInfo: {} });
  const graph = {
    1: { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: 1 } },
    3: { class_type: "SaveImage", inputs: { filename_prefix: "bench", images: ["1", 0] } },
  };
  const [model] = (await jobs.submit(CALLER, [{ graph }])).jobs;
  const { id, requirementId, graphId } = model.job;
  for (let from = 0; from < count; from += ROWS_PER_INSERT) {
    const to = Math.min(count, from + ROWS_PER_INSERT);
    await db.transaction(
      async (tx) => {
        await tx.query("set local synchronous_commit = off");
        await tx.query(
          `insert into jobs (id, owner, state, rank, requirement_id, graph_id, timeout_ms, tags,
             batch_id, created_at, started_at, ended_at, output_count, attempt_count, promised)
           select 'job_' || lpad(i::text, 26, '0'), 'local',
             case when i % $5 = 0 then 'queued' when i % 97 = 0 then 'failed' else 'completed' end,
             i, $3, $4, 60000, array['tag' || i % 100], 'batch' || i / 1000,
             now() - make_interval(secs => ($6 - i) / 10.0),
             case when i % $5 = 0 then null else now() end,
             case when i % $5 = 0 then null else now() - make_interval(secs => ($6 - i) / 10.0) end,
             1, case when i % $5 = 0 then 0 else 1 end,
             (select promised from jobs where id = $7)
           from generate_series($1::int, $2::int - 1) i`,
          [from, to, requirementId, graphId, QUEUED_EVERY, count, id],
        );
      },
      { statementTimeoutMs: 0 },
    );
  }
  await db.transaction((tx) => tx.query("analyze jobs"), { statementTimeoutMs: 0 });
}

/** What is timed. Each claim is another job: the queue is long enough. */
async function toOperations({ db, jobs, leases }) {
  const agent = await registerMachine(leases, 1);
  const never = new AbortController().signal;
  const page = { statuses: [], order: "newest", limit: 50 };
  const { next } = await jobs.list(CALLER, page);
  const claim = async () => {
    const { leases: granted } = await leases.poll(agent.poll({ wants: 1 }), never);
    if (granted.length !== 1) throw new Error(`claimed ${granted.length} jobs instead of one`);
  };
  const list = (more) => () => jobs.list(CALLER, { ...page, ...more });
  return {
    // The leases go between two claims, unmeasured: the next poll would have to bring them again.
    claim: {
      run: claim,
      after: () =>
        db.query(
          `with ended as (delete from leases returning job_id)
           update jobs set state = 'cancelled', ended_at = now() from ended where id = job_id`,
        ),
    },
    "list, newest page": { run: list({}) },
    "list, next page": { run: list({ cursor: next }) },
    "list by status": { run: list({ statuses: ["failed"] }) },
    "list by tag": { run: list({ tag: "tag7" }) },
    counts: { run: () => jobs.stats(CALLER) },
  };
}

async function measureFleet(folder, keep) {
  const port = await freePort();
  const server = keep(
    startHoldfast(["server", "--port", String(port)], { folder, env: upEnvironment(folder) }),
  );
  const url = `http://127.0.0.1:${port}`;
  await until200(`${url}/healthz`);
  const postgresPid = await postgresPidOf(server);
  const fleet = await openFleet(url, { ...options, inventory: INVENTORY, name: hostname() });
  keep(fleet);
  process.stdout.write(
    `   ${options.agents} agents registered in ${Math.round(fleet.registerMs)} ms, leased ${fleet.held()} jobs in ${Math.round(fleet.leaseMs)} ms\n`,
  );
  const before = read();
  const start = now();
  fleet.resetCalls();
  await pause(options.seconds * 1000);
  const after = read();
  const seconds = (now() - start) / 1000;
  const calls = fleet.calls();
  const delay = await fleet.eventLoopDelayMs();
  const result = {
    agents: options.agents,
    instances: options.agents * options.instances,
    heldJobs: fleet.held(),
    lostJobs: fleet.lost(),
    failedCalls: calls.failed,
    seconds: round(seconds),
    registerMs: round(fleet.registerMs),
    leasedPerSecond: round((fleet.held() * 1000) / fleet.leaseMs),
    pollsPerSecond: round(calls.polls / seconds),
    renewalsPerSecond: round(calls.renewals / seconds),
    renewalP50Ms: round(median(calls.renewalMs)),
    renewalP99Ms: round(percentile(calls.renewalMs, 0.99)),
    cpuShareOfOneCore: round((after.cpu - before.cpu) / 1000 / seconds),
    postgresCpuShareOfOneCore: round((after.postgres - before.postgres) / 1000 / seconds),
    memoryMb: round(residentMb(server.pid)),
    eventLoopDelayMs: delay,
  };
  printTable(
    `one replica, ${result.agents} agents of ${options.instances} instances, ${options.seconds} s`,
    Object.entries({ ...result, ...prefixed(delay) })
      .filter(([, value]) => typeof value === "number")
      .map(([what, measured]) => ({ what, measured })),
  );
  return result;

  function read() {
    return { cpu: processCpuMs(server.pid), postgres: treeCpuMs(postgresPid) };
  }
}

function prefixed(delay) {
  return Object.fromEntries(
    Object.entries(delay).map(([name, value]) => [`eventLoopDelay ${name} ms`, value]),
  );
}
