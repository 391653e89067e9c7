/**
 * What a failure costs the control plane, through its own services on the embedded Postgres: from the
 * report of a failed attempt to the moment its job can be leased again, beside the report of one that
 * went well; the plan for a graph of 500 nodes beside one of 50; and whether memory stays flat over
 * 100,000 failures.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  classify,
  decideRecovery,
  EMPTY_RECIPE,
  nextChange,
} from "../packages/recovery/dist/index.js";
import { seededRandom } from "@holdfast/runtime";
import { smallGraph } from "./lib/graphs.mjs";
import {
  CALLER,
  INVENTORY,
  openServices,
  registerMachine,
  startPostgres,
  successOf,
} from "./lib/in-process.mjs";
import { now, printTable, round, summary } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { withScratch } from "./lib/programs.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const SHA256 = "d".repeat(64);
/** Nodes of one branch of a graph: a latent, two texts, sampler, upscale, decode, save. */
const BRANCH = 7;
const OOM = {
  channel: "execution",
  exceptionType: "torch.OutOfMemoryError",
  message: "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB",
  nodeId: "3",
  nodeType: "KSampler",
  traceback: ['  File "nodes.py", line 1, in sample\n'],
};

const options = readOptions({
  rounds: (quick) => (quick ? 3 : 5),
  jobs: (quick) => (quick ? 100 : 400),
  failures: (quick) => (quick ? 20_000 : 100_000),
});
const machine = await machineFacts();
announce("recovery", machine);
const plans = measurePlans();
printTable("plan for a graph, ms", plans);
const memory = measureMemory();
printTable("heap over failures, MB", memory);
await withScratch(async (folder, keep) => {
  const postgres = keep(await startPostgres(folder));
  const { url } = await postgres.createDatabase("ours");
  const services = keep(await openServices(folder, url));
  const reports = await measureReports(services);
  printTable("report of an attempt, ms", reports);
  await saveResult("recovery", machine, { plans, memory, reports });
});

/** A graph of so many branches, all on one model. */
function branched(branches) {
  const graph = {
    m: { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "sd15.safetensors" } },
  };
  for (let at = 0; at < branches; at += 1) {
    const node = (id, class_type, inputs) => {
      graph[`${id}${at}`] = { class_type, inputs };
    };
    node("e", "EmptyLatentImage", { width: 1024, height: 1024, batch_size: 8 });
    node("p", "CLIPTextEncode", { clip: ["m", 1], text: "a castle" });
    node("q", "CLIPTextEncode", { clip: ["m", 1], text: "fog" });
    node("k", "KSampler", {
      model: ["m", 0],
      positive: [`p${at}`, 0],
      negative: [`q${at}`, 0],
      latent_image: [`e${at}`, 0],
      seed: at,
      steps: 30,
      cfg: 7,
      sampler_name: "euler",
      scheduler: "normal",
      denoise: 1,
    });
    node("u", "LatentUpscaleBy", {
      samples: [`k${at}`, 0],
      upscale_method: "nearest-exact",
      scale_by: 1.5,
    });
    node("v", "VAEDecode", { samples: [`u${at}`, 0], vae: ["m", 2] });
    node("s", "SaveImage", { images: [`v${at}`, 0], filename_prefix: "x" });
  }
  return graph;
}

/** Both sizes take turns, each rung in every round. */
function measurePlans() {
  const small = branched(Math.round(50 / BRANCH));
  const large = branched(Math.round(500 / BRANCH));
  const models = {
    missing: [{ folder: "checkpoints", name: "sd15.safetensors" }],
    there: new Map([["checkpoints", ["dreamshaper_8.safetensors"]]]),
    fallbacks: [],
  };
  const base = {
    recipe: EMPTY_RECIPE,
    failedNodeId: "nobody",
    hasClass: () => true,
    maxLoss: "content",
    maxChanges: 3,
    models,
    memory: null,
    custom: null,
  };
  const cases = {
    reduce_params: { class: "cuda_out_of_memory" },
    tiled_vae: { class: "cuda_out_of_memory", failedNodeId: "v3" },
    switch_model: { class: "model_missing" },
  };
  const WARM = 50;
  return Object.entries(cases).map(([rung, more]) => {
    const samples = { small: [], large: [] };
    for (let at = 0; at < WARM + options.rounds * 100; at += 1) {
      for (const [side, graph] of Object.entries({ small, large })) {
        const begun = now();
        const change = nextChange({ ...base, ...more, graph });
        const took = now() - begun;
        if (change.rung !== rung) throw new Error(`${rung}: got ${change.rung}`);
        if (at >= WARM) samples[side].push(took);
      }
    }
    const [one, many] = [summary(samples.small), summary(samples.large)];
    return {
      rung,
      nodes: Object.keys(large).length,
      p50: many.p50,
      p99: many.p99,
      "50 nodes p50": one.p50,
      ratio: round(many.p50 / one.p50),
    };
  });
}

/** Classifies and decides failures that all differ; the heap is read after a collection. */
function measureMemory() {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  const heapMb = () => {
    collect();
    return round(process.memoryUsage().heapUsed / 1024 / 1024);
  };
  const random = seededRandom(1);
  const graph = branched(1);
  const rows = [];
  const step = options.failures / 4;
  for (let done = 0; done <= options.failures; done += 1) {
    if (done % step === 0) rows.push({ failures: done, heap: heapMb() });
    const evidence = { ...OOM, message: `${OOM.message} ${done}`, nodeId: "v0" };
    decideRecovery(
      {
        outcome: "failed",
        hasExecuted: true,
        error: classify(evidence),
        instanceId: `i${done % 7}`,
        machineId: "m",
        card: { totalBytes: null },
        isInstanceAlive: true,
        wantedBytes: null,
        earlierFailures: [
          { outcome: "failed", class: "cuda_out_of_memory", instanceId: `i${done % 7}` },
        ],
        freeReturns: 0,
        surplusReturns: 0,
        deathsOnInstances: [],
        others: [],
        time: { spentMs: 0, limitMs: 1, extendedMs: 0, attemptMs: 0, steadyPercent: null },
        canRestartInstance: false,
        isRecoveryEnabled: true,
        maxRetryAttempts: 3,
      },
      {
        graph,
        recipe: EMPTY_RECIPE,
        failedNodeId: "v0",
        hasClass: () => true,
        maxLoss: "content",
        models: null,
        memory: null,
      },
      random,
    );
  }
  return rows;
}

/** A failed attempt and one that went well take turns; each report alone, as it comes in. */
async function measureReports(services) {
  const { jobs, leases, reports } = services;
  await services.machines.putInventory({
    inventory: { ...INVENTORY, nodeClasses: [...INVENTORY.nodeClasses, "KSampler"] },
    objectInfo: {},
  });
  await services.db.query("insert into blobs (sha256, size_bytes) values ($1, 400)", [SHA256]);
  const polled = await registerMachine(leases, 1);
  const never = new AbortController().signal;
  const leaseOne = async () => {
    const { leases: granted } = await leases.poll(polled.poll({ wants: 1, waitMs: 5_000 }), never);
    if (granted.length !== 1) throw new Error(`expected one lease, got ${granted.length}`);
    return granted[0];
  };
  const send = async (report) => {
    const begun = now();
    const { answers } = await reports.report({ ...polled.session, reports: [report] });
    if (answers[0].result !== "recorded") throw new Error(`not recorded: ${answers[0].result}`);
    return now() - begun;
  };
  const samples = { failed: [], leasable: [], succeeded: [] };
  const WARM = 50;
  for (let at = 0; at < WARM + options.jobs; at += 1) {
    await jobs.submit(CALLER, [{ graph: smallGraph(), set: {} }]);
    const first = await leaseOne();
    const ok = successOf(first, SHA256);
    const begun = now();
    const failed = await send({
      ...ok,
      outcome: { kind: "failed", evidence: OOM, outputs: [] },
    });
    // Memory is freed first: no backoff, so the job can be leased at once.
    const second = await leaseOne();
    const leasable = now() - begun;
    const succeeded = await send(successOf(second, SHA256));
    if (at < WARM) continue;
    samples.failed.push(failed);
    samples.leasable.push(leasable);
    samples.succeeded.push(succeeded);
  }
  const rows = {
    "failed, settled": samples.failed,
    "failed, leased again": samples.leasable,
    "succeeded, settled": samples.succeeded,
  };
  const base = summary(samples.succeeded).p50;
  return Object.entries(rows).map(([what, found]) => {
    const { p50, p90, p99 } = summary(found);
    return { what, p50, p90, p99, ratio: round(p50 / base) };
  });
}
