/**
 * The queue alone, without HTTP and without ComfyUI: jobs submitted, leased and ended through our own
 * services on the embedded Postgres, beside the raw SQL of the very same statements, graphile-worker
 * and pg-boss on the same server with the same payload and durability. All take turns, round by round.
 */
import { extractVariables } from "@holdfast/comfyui/protocol";
import { smallGraph } from "./lib/graphs.mjs";
import {
  CALLER,
  INVENTORY,
  openServices,
  pg,
  registerMachine,
  startPostgres,
  successOf,
} from "./lib/in-process.mjs";
import { inParallel, median, now, pause, printTable, round } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { installPeers, openGraphile, openPgBoss } from "./lib/peers.mjs";
import { withScratch } from "./lib/programs.mjs";
import { only, record, replay } from "./lib/replay.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const SHA256 = "c".repeat(64);
const BATCH = 20;
const CALLERS = 16;
const POOL = 8;
/** Statements of submits, polls and reports; those of background loops are left out. */
const SUBMIT = /^jobs\./;
const POLL = /^scheduler\.(heartbeat|queue_heads|claim)/;
const REPORT = /^scheduler\.(report_facts|complete)/;
const LATENCY_EVERY_MS = 5;

const options = readOptions({
  rounds: (quick) => (quick ? 3 : 5),
  jobs: (quick) => (quick ? 200 : 600),
  peers: "yes",
});
const machine = await machineFacts();
announce("queue", machine);
await withScratch(async (folder, keep) => {
  const postgres = keep(await startPostgres(folder));
  const ours = keep(await openOurs(folder, postgres));
  const raw = keep(await openRaw(folder, postgres));
  const sides = { ours, raw };
  if (options.peers === "yes") {
    const peers = await installPeers(folder);
    if (peers !== undefined) {
      for (const [name, open] of Object.entries({
        "graphile-worker": openGraphile,
        "pg-boss": openPgBoss,
      })) {
        const { url } = await postgres.createDatabase(`peer_${name.replace("-", "_")}`);
        const peer = await open(peers, url);
        keep({ stop: () => peer.close() });
        sides[name] = toSide(peer);
      }
    }
  }
  const rounds = [];
  for (let index = 0; index < options.rounds; index += 1) {
    const order = Object.keys(sides);
    if (index % 2 === 1) order.reverse();
    const measured = {};
    for (const name of order) measured[name] = await runSide(sides[name]);
    rounds.push(measured);
  }
  const results = toResults(rounds, Object.keys(sides));
  printTable("jobs per second (median of rounds; latency in ms)", results.table);
  await saveResult("queue", machine, { jobs: options.jobs, batch: BATCH, ...results });
});

async function timed(work) {
  const begun = now();
  await work();
  return now() - begun;
}

/** Every side does the same four things; a fifth, the latency, is not for raw SQL. */
async function runSide(side) {
  const { jobs } = options;
  const perSecond = (ms) => (jobs * 1000) / ms;
  const enqueueOne = await timed(() => inParallel(jobs, 1, () => side.enqueue()));
  const drainOne = await side.drain(jobs, 1);
  const enqueueMany = await timed(() => inParallel(jobs, CALLERS, () => side.enqueue()));
  const drainMany = await side.drain(jobs, BATCH);
  const enqueueBatch = await timed(() =>
    inParallel(jobs / BATCH, 1, () => side.enqueueMany(BATCH)),
  );
  await side.drain(jobs, BATCH);
  return {
    "submit, one by one": perSecond(enqueueOne),
    [`submit, ${CALLERS} callers`]: perSecond(enqueueMany),
    [`submit, ${BATCH} at once`]: perSecond(enqueueBatch),
    "lease and end, one by one": perSecond(drainOne),
    [`lease and end, ${BATCH} at once`]: perSecond(drainMany),
    "submit to start p50 ms":
      side.latencies === undefined
        ? null
        : median(await side.latencies(Math.min(jobs, 200), LATENCY_EVERY_MS)),
  };
}

function toResults(rounds, names) {
  const table = Object.keys(rounds[0].ours).map((what) => {
    const row = { what };
    for (const name of names) {
      const found = rounds.map((one) => one[name][what]).filter((value) => value !== null);
      row[name] = round(median(found));
    }
    for (const name of names.filter((one) => one !== "ours")) {
      const ratios = rounds.map((one) => one.ours[what] / one[name][what]);
      row[`/ ${name}`] = rounds[0][name][what] === null ? null : round(median(ratios));
    }
    return row;
  });
  return { table, rounds };
}

async function openOurs(folder, postgres) {
  const { url } = await postgres.createDatabase("ours");
  const services = await openServices(folder, url);
  const { jobs, leases, reports } = services;
  await services.machines.putInventory({ inventory: INVENTORY, objectInfo: {} });
  await services.db.query("insert into blobs (sha256, size_bytes) values ($1, 400)", [SHA256]);
  const single = await registerMachine(leases, 1, "single");
  const wide = await registerMachine(leases, BATCH, "wide");
  const never = new AbortController().signal;
  const lease = async (machineOf) =>
    (await leases.poll(machineOf.poll({ wants: 1 }), never)).leases;
  const end = async (machineOf, granted) => {
    const ends = granted.map((one) => successOf(one, SHA256));
    const { answers } = await reports.report({ ...machineOf.session, reports: ends });
    const lost = answers.filter((answer) => answer.result !== "recorded");
    if (lost.length > 0) throw new Error(`reports were not recorded: ${JSON.stringify(lost[0])}`);
  };
  return {
    submit: (count) =>
      jobs.submit(
        CALLER,
        Array.from({ length: count }, () => ({ graph: knownGraph() })),
      ),
    enqueue() {
      return this.submit(1);
    },
    enqueueMany(count) {
      return this.submit(count);
    },
    lease,
    end,
    single,
    wide,
    async drain(count, batch) {
      const machineOf = batch === 1 ? single : wide;
      const begun = now();
      for (let left = count; left > 0;) {
        const granted = await lease(machineOf);
        if (granted.length === 0) throw new Error(`nothing to lease with ${left} jobs left`);
        await end(machineOf, granted);
        left -= granted.length;
      }
      return now() - begun;
    },
    async latencies(count, everyMs) {
      const found = [];
      for (let index = 0; index < count; index += 1) {
        const polling = leases.poll(single.poll({ wants: 1, waitMs: 10_000 }), never);
        await pause(everyMs);
        const begun = now();
        const submitted = this.submit(1);
        const { leases: granted } = await polling;
        found.push(now() - begun);
        await submitted;
        await end(single, granted);
      }
      return found;
    },
    stop: () => services.stop(),
  };
}

/** A database of its own, filled by recordings of the services, then driven without them. */
async function openRaw(folder, postgres) {
  const { url } = await postgres.createDatabase("raw");
  const source = await openOursOn(folder, url);
  const tapes = await recordAll(source);
  await source.stop();
  const pool = new pg.Pool({ connectionString: url, max: POOL });
  const mint = (kind) => source.ids.next(kind);
  const run = (tape, ids) => replay(pool, tape, mint, ids);
  return {
    enqueue: () => run(tapes.submitOne),
    enqueueMany: () => run(tapes.submitMany),
    async drain(count, batch) {
      const { poll, report } = batch === 1 ? tapes.one : tapes.many;
      const begun = now();
      for (let left = count; left > 0; left -= batch) {
        const ids = new Map(poll.known);
        await run(poll.statements, ids);
        await run(report, ids);
      }
      return now() - begun;
    },
    stop: () => pool.end(),
  };
}

async function openOursOn(folder, url) {
  const services = await openServices(folder, url);
  await services.machines.putInventory({ inventory: INVENTORY, objectInfo: {} });
  await services.db.query("insert into blobs (sha256, size_bytes) values ($1, 400)", [SHA256]);
  return services;
}

async function recordAll(services) {
  const { jobs, leases, reports } = services;
  const never = new AbortController().signal;
  const submit = (count) =>
    jobs.submit(
      CALLER,
      Array.from({ length: count }, () => ({ graph: knownGraph() })),
    );
  const recordCycle = async (machineOf, count) => {
    let granted = [];
    const poll = only(
      await record(pg, async () => {
        granted = (await leases.poll(machineOf.poll({ wants: 1 }), never)).leases;
      }),
      POLL,
    );
    if (granted.length !== count) throw new Error(`leased ${granted.length} instead of ${count}`);
    const ends = granted.map((one) => successOf(one, SHA256));
    const report = only(
      await record(pg, () => reports.report({ ...machineOf.session, reports: ends })),
      REPORT,
    );
    // Ids that outlive a cycle stay as they are: the machine and its instances.
    const lasting = machineOf.poll({ wants: 1 });
    const known = [lasting.machineId, ...lasting.instances.map((one) => one.instanceId)].map(
      (id) => [id, id],
    );
    return { poll: { statements: poll, known }, report };
  };
  const single = await registerMachine(leases, 1, "single");
  const wide = await registerMachine(leases, BATCH, "wide");
  // The first of each kind learns templates and requirements; the recordings show the usual case.
  await submit(1);
  await recordCycle(single, 1);
  await pause(100);
  const submitOne = only(await record(pg, () => submit(1)), SUBMIT);
  const one = await recordCycle(single, 1);
  const submitMany = only(await record(pg, () => submit(BATCH)), SUBMIT);
  const many = await recordCycle(wide, BATCH);
  return { submitOne, submitMany, one, many };
}

/** A graph of one template: jobs differ in a value that is kept beside it, as seeds are. */
function knownGraph() {
  const graph = smallGraph();
  graph[1].inputs.color = 0;
  graph[3].inputs.filename_prefix = `bench-${Math.random()}`;
  return graph;
}

function toSide(peer) {
  // What we keep of a job beside its template.
  const { patch } = extractVariables(knownGraph());
  const payload = { graphId: 1, requirementId: 1, patch, promised: [{ nodeId: "3" }], tags: [] };
  return {
    enqueue: () => peer.enqueue(payload),
    enqueueMany: (count) => peer.enqueueMany(Array.from({ length: count }, () => payload)),
    drain: (count, batch) => peer.drain(count, batch),
    latencies: (count, everyMs) => peer.latencies(count, everyMs, payload),
  };
}
