/**
 * graphile-worker and pg-boss, for comparison. They are no dependencies: they are installed into a
 * scratch folder when the bench runs, or taken from the folder that `HOLDFAST_BENCH_PEERS` names.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { now, pause } from "./measure.mjs";

/** The newest that run on Node 20. */
const PACKAGES = ["graphile-worker@0.17.3", "pg-boss@10.4.2"];
const INSTALL_LIMIT_MS = 120_000;
const QUEUE = "bench";
/** Jobs that the tuned graphile-worker fetches at once. */
const LOCAL_QUEUE = 100;
/** Jobs that it runs at once. */
const TUNED_JOBS = 20;
const POLL_PAUSE_MS = 5;

/** Where the peers are installed; undefined, with the reason printed, when they cannot be had. */
export async function installPeers(folder) {
  const given = process.env.HOLDFAST_BENCH_PEERS;
  if (given !== undefined) return given;
  await writeFile(join(folder, "package.json"), '{"private":true}');
  const { status, stderr } = spawnSync(
    "npm",
    ["install", "--no-audit", "--no-fund", "--silent", ...PACKAGES],
    { cwd: folder, timeout: INSTALL_LIMIT_MS, encoding: "utf8" },
  );
  if (status === 0 && existsSync(join(folder, "node_modules/pg-boss"))) return folder;
  process.stdout.write(`SKIPPED: peers cannot be installed: ${stderr?.slice(-300) ?? status}\n`);
  return undefined;
}

/** graphile-worker: one job at a time as it comes, or tuned with a local queue and batched ends. */
export async function openGraphile(folder, url) {
  const { run, makeWorkerUtils, Logger } = createRequire(join(folder, "package.json"))(
    "graphile-worker",
  );
  const logger = new Logger(() => () => undefined);
  const utils = await makeWorkerUtils({ connectionString: url, logger });
  await utils.migrate();
  const start = async (isTuned, onJob) =>
    await run({
      noHandleSignals: true,
      taskList: { [QUEUE]: onJob },
      preset: {
        worker: {
          connectionString: url,
          logger,
          maxPoolSize: TUNED_JOBS,
          concurrentJobs: isTuned ? TUNED_JOBS : 1,
          ...(isTuned && { localQueue: { size: LOCAL_QUEUE }, completeJobBatchDelay: 0 }),
        },
      },
    });
  return {
    enqueue: (payload) => utils.addJob(QUEUE, payload),
    enqueueMany: (payloads) =>
      utils.addJobs(payloads.map((payload) => ({ identifier: QUEUE, payload }))),
    async drain(count, batch) {
      let left = count;
      let resolve;
      const ended = new Promise((done) => {
        resolve = done;
      });
      const begun = now();
      const runner = await start(batch > 1, async () => {
        left -= 1;
        if (left === 0) resolve();
      });
      await ended;
      // The last ends are written by the stop.
      await runner.stop();
      return now() - begun;
    },
    async latencies(count, everyMs, payload) {
      const begun = new Map();
      const found = [];
      const runner = await start(true, async ({ key }) => {
        found.push(now() - begun.get(key));
      });
      for (let key = 0; key < count; key += 1) {
        begun.set(key, now());
        await utils.addJob(QUEUE, { ...payload, key });
        await pause(everyMs);
      }
      while (found.length < count) await pause(POLL_PAUSE_MS);
      await runner.stop();
      return found;
    },
    close: () => utils.release(),
  };
}

/** pg-boss: fetch and complete in batches, as its own documentation asks of whoever wants speed. */
export async function openPgBoss(folder, url) {
  const PgBoss = createRequire(join(folder, "package.json"))("pg-boss");
  const boss = new PgBoss({ connectionString: url, supervise: false, schedule: false });
  boss.on("error", (error) => process.stderr.write(`pg-boss: ${error.message}\n`));
  await boss.start();
  await boss.createQueue(QUEUE);
  return {
    enqueue: (payload) => boss.send(QUEUE, payload),
    enqueueMany: (payloads) => boss.insert(payloads.map((data) => ({ name: QUEUE, data }))),
    async drain(count, batch) {
      const begun = now();
      for (let left = count; left > 0;) {
        const jobs = await boss.fetch(QUEUE, { batchSize: batch });
        await boss.complete(
          QUEUE,
          jobs.map((job) => job.id),
        );
        left -= jobs.length;
      }
      return now() - begun;
    },
    async latencies(count, everyMs, payload) {
      const begun = new Map();
      const found = [];
      const polling = (async () => {
        while (found.length < count) {
          const jobs = await boss.fetch(QUEUE, { batchSize: 1 });
          for (const job of jobs) found.push(now() - begun.get(job.data.key));
          if (jobs.length === 0) await pause(POLL_PAUSE_MS);
          else await boss.complete(QUEUE, jobs[0].id);
        }
      })();
      for (let key = 0; key < count; key += 1) {
        begun.set(key, now());
        await boss.send(QUEUE, { ...payload, key });
        await pause(everyMs);
      }
      await polling;
      return found;
    },
    close: () => boss.stop({ graceful: false, wait: true }),
  };
}
