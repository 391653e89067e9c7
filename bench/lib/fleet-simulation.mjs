/** Simulated fleets: the fleet's real decisions, a cloud that is made up, and a leader in memory. */
import { fileURLToPath } from "node:url";
import { seededRandom } from "@holdfast/runtime";
import { runnerImport } from "vite";
import { median, percentile } from "./measure.mjs";
import { DEFAULT_BREAKER_POLICY, DEFAULT_FLEET_POLICY } from "../../packages/fleet/dist/index.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const NIGHT_MS = 8 * HOUR;
const NIGHT_TICK_MS = 30_000;
/** As the leader's rounds. */
const TICK_MS = 2_000;
const SECOND = 1_000;
/** A job of a machine that died is given to another when its lease has run out. */
const LEASE_MS = 30_000;
const SEED = 20_261_127;

async function load(name) {
  const file = new URL(`../../packages/fleet/testing/${name}.ts`, import.meta.url);
  const config = { configFile: false, logLevel: "warn" };
  return (await runnerImport(fileURLToPath(file), config)).module;
}

function policyOf(max, more = {}) {
  const pool = {
    name: "gpu",
    provider: "runpod",
    min: 0,
    max,
    instancesPerMachine: 1,
    pricePerHour: 1,
    startTimeoutMs: 10 * MINUTE,
    progressTimeoutMs: 5 * MINUTE,
    offerCount: 1,
  };
  return { ...DEFAULT_FLEET_POLICY, pools: [pool], ...more };
}

/** Eight hours in which every machine dies at its start: ours, and a scaler that replaces what fails. */
export async function simulateNight() {
  const [{ FakeCloud }, { FleetWorld }] = [await load("fake-cloud"), await load("fleet-world")];
  const run = (breaker, more) => {
    const random = seededRandom(SEED);
    const script = () => ({ healthyAfterMs: null, diesAfterMs: null });
    const cloud = new FakeCloud({ script, listLagMs: 10_000, lostShare: 0, emptyShare: 0 }, random);
    const demand = () => ({ waitingJobs: 1_000, runningJobs: 0, jobMs: 30_000, oldestWaitMs: 0 });
    const world = new FleetWorld({ cloud, random, policy: policyOf(8, more), breaker, demand });
    for (let now = 0; now <= NIGHT_MS; now += NIGHT_TICK_MS) world.tick(now);
    return { started: cloud.machines.length, dollars: cloud.cost(NIGHT_MS) };
  };
  const never = { ...DEFAULT_BREAKER_POLICY, minimum: 10_000 };
  return {
    holdfast: run(DEFAULT_BREAKER_POLICY),
    naive: run(never, { startAtOnce: 8, growth: 1 }),
  };
}

/** Jobs in three waves over some hours, on up to 200 machines that die by chance. */
export async function simulateFollow({ jobs: jobCount = 20_000, max = 200 } = {}) {
  const [{ FakeCloud }, { FleetWorld }] = [await load("fake-cloud"), await load("fleet-world")];
  const random = seededRandom(SEED);
  const exponential = (meanMs) => -Math.log(1 - random.next()) * meanMs;
  const cloud = new FakeCloud(
    {
      // One in twelve never comes up; the others live for two hours on average.
      script: () => ({
        healthyAfterMs: random.next() < 1 / 12 ? null : MINUTE + exponential(MINUTE),
        diesAfterMs: 2 * MINUTE + exponential(2 * HOUR),
      }),
      listLagMs: 10_000,
      lostShare: 0.02,
      emptyShare: 0.05,
    },
    random,
  );
  const arrivals = Array.from({ length: jobCount }, (_, at) => {
    const wave = at % 3;
    return wave * 100 * MINUTE + random.next() * 50 * MINUTE;
  }).sort((one, other) => one - other);
  const queue = [];
  const running = new Map();
  const lost = [];
  let done = 0;
  let totalMs = 0;
  let interrupted = 0;
  let maxWaitMs = 0;
  const world = new FleetWorld({
    cloud,
    random,
    policy: policyOf(max, { targetWaitMs: 5 * MINUTE }),
    demand: (now) => ({
      waitingJobs: queue.length,
      runningJobs: running.size,
      jobMs: done === 0 ? null : totalMs / done,
      oldestWaitMs: queue.length === 0 ? null : now - queue[0].at,
    }),
    jobsOf: (name) => (running.has(name) ? 1 : 0),
  });
  const points = [];
  const refills = watchRefills();
  const jobsBackMs = [];
  let next = 0;
  let now = 0;
  for (; done < jobCount || world.living.length > 0; now += TICK_MS) {
    if (now > 24 * HOUR) break;
    while (next < arrivals.length && arrivals[next] <= now) queue.push({ at: arrivals[next++] });
    for (const [name, job] of running) {
      if (!cloud.signs(name, now, 1, null).isHealthy) {
        running.delete(name);
        interrupted += 1;
        lost.push({ job: { ...job.job, lostAt: now }, backAt: now + LEASE_MS });
      } else if (job.endsAt <= now) {
        running.delete(name);
        done += 1;
        totalMs += job.tookMs;
      }
    }
    for (let at = lost.length - 1; at >= 0; at -= 1) {
      if (lost[at].backAt <= now) queue.unshift(lost.splice(at, 1)[0].job);
    }
    const idle = world.living.filter(
      ({ state, name }) =>
        state === "ready" && !running.has(name) && cloud.signs(name, now, 0, null).isHealthy,
    );
    for (const { name } of idle) {
      const job = queue.shift();
      if (job === undefined) break;
      maxWaitMs = Math.max(maxWaitMs, now - job.at);
      if (job.lostAt !== undefined) jobsBackMs.push(now - job.lostAt);
      const tookMs = 20_000 + random.next() * 80_000;
      running.set(name, { job: { at: job.at }, tookMs, endsAt: now + tookMs });
    }
    world.tick(now);
    refills.look(world.rows.values(), now, queue.length + lost.length > 0);
    if (now % MINUTE === 0) {
      points.push({
        minute: now / MINUTE,
        living: cloud.living(now).length,
        working: running.size,
        queued: queue.length + lost.length,
        rate: world.view.rate,
        state: world.view.state,
      });
    }
  }
  const ends = [...world.rows.values()].filter(({ end }) => end !== null);
  return {
    jobs: jobCount,
    done,
    interrupted,
    started: cloud.machines.length,
    failed: ends.filter(({ end }) => end.cause === "failed").length,
    leftBehind: cloud.living(now).length,
    machinesMax: Math.max(...points.map(({ living }) => living)),
    hours: now / HOUR,
    dollars: cloud.cost(now),
    maxWaitMinutes: maxWaitMs / MINUTE,
    // While jobs wait: from a loss being known until another machine is asked for, and until one works.
    ...secondsOf("replacementAsked", refills.askedMs),
    ...secondsOf("replacementWorks", refills.worksMs),
    // From its machine's death until it runs again: the lease has to run out first.
    ...secondsOf("lostJobRunsAgain", jobsBackMs),
    points,
  };
}

function secondsOf(name, samples) {
  return {
    [`${name}P50Seconds`]: median(samples) / SECOND,
    [`${name}P95Seconds`]: percentile(samples, 0.95) / SECOND,
    [`${name}Count`]: samples.length,
  };
}

/** How soon machines that failed are replaced. A replacement that fails as well counts from the first loss. */
function watchRefills() {
  const seen = new Set();
  const over = new Set();
  const replaces = new Map();
  let losses = [];
  const askedMs = [];
  const worksMs = [];
  return {
    askedMs,
    worksMs,
    look(rows, now, isWanted) {
      const all = [...rows];
      for (const { id, end, healthyAt } of all) {
        if (healthyAt !== null && replaces.has(id)) {
          worksMs.push(healthyAt - replaces.get(id));
          replaces.delete(id);
        }
        if (end === null || over.has(id)) continue;
        over.add(id);
        const first = replaces.get(id);
        replaces.delete(id);
        if (end.cause === "failed" && (healthyAt !== null || first !== undefined))
          losses.push({ at: first ?? end.at, knownAt: now });
      }
      if (!isWanted) losses = [];
      for (const { id } of all) {
        if (seen.has(id)) continue;
        seen.add(id);
        const loss = losses.shift();
        if (loss === undefined) continue;
        askedMs.push(now - loss.knownAt);
        replaces.set(id, loss.at);
      }
    },
  };
}
