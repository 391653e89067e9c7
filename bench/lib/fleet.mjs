/** Agents that render nothing: each registers, takes one job an instance, and keeps polling and renewing. */
import { smallGraph } from "./graphs.mjs";
import { createWideCaller } from "./json-http.mjs";
import { inParallel, now, round, until } from "./measure.mjs";

/** Agents that register, or poll for the first time, at once. */
const START_WIDTH = 16;
const JOBS_PER_SUBMIT = 1000;
const LEASE_LIMIT_MS = 120_000;

/** Opens the fleet on a server; resolves when every instance holds a job. */
export async function openFleet(url, { agents, instances, inventory, name }) {
  const caller = createWideCaller(url);
  const sleeps = createSleeps();
  const fleet = [];
  const begun = now();
  let counts = newCounts();
  await caller.send("PUT", "/agent/v1/inventories", { inventory, objectInfo: {} });
  await inParallel(agents, START_WIDTH, async (index) => {
    const registered = await caller.json("POST", "/agent/v1/register", {
      protocolVersion: 1,
      agentVersion: "0.1.0",
      machineId: null,
      machineName: `${name}-${index}`.slice(0, 128),
      bootId: `boot-${index}-${process.pid}`,
      instances: Array.from({ length: instances }, (_, at) => ({
        key: `http://${index}/${at}`,
        name: `gpu-${at}`,
        foundPrompts: [],
      })),
    });
    fleet.push({ ...registered, held: new Map(), sequence: 0, lost: 0 });
  });
  const registerMs = now() - begun;
  const wanted = agents * instances;
  const graph = smallGraph();
  for (let left = wanted; left > 0; left -= JOBS_PER_SUBMIT) {
    const jobs = Array.from({ length: Math.min(left, JOBS_PER_SUBMIT) }, () => ({ graph }));
    await caller.send("POST", "/api/v1/jobs", { jobs });
  }

  const poll = async (agent) => {
    agent.sequence += 1;
    const busy = new Set([...agent.held.values()].map((one) => one.instanceId));
    const answer = await caller.json("POST", "/agent/v1/poll", {
      ...session(agent),
      sequence: agent.sequence,
      instances: agent.instances.map(({ instanceId }) => ({
        instanceId,
        state: "healthy",
        reason: null,
        inventoryDigest: inventory.digest,
        wants: busy.has(instanceId) ? 0 : 1,
        vramFreeBytes: null,
      })),
      held: heldBy(agent),
      waitMs: agent.config.pollWaitMs,
    });
    counts.polls += 1;
    forget(agent, answer.revoked);
    for (const { attemptId, jobId, leaseEpoch, instanceId } of answer.leases) {
      const one = { attemptId, jobId, leaseEpoch, phase: "running", progress: null, instanceId };
      agent.held.set(attemptId, one);
    }
  };
  const renew = async (agent) => {
    const begun = now();
    const answer = await caller.json("POST", "/agent/v1/renew", {
      ...session(agent),
      held: heldBy(agent),
    });
    counts.renewals += 1;
    counts.renewalMs.push(now() - begun);
    forget(agent, answer.revoked);
  };
  const loop = async (agent, work, pauseMs, firstMs) => {
    await sleeps.sleep(firstMs);
    while (!sleeps.isOver()) {
      try {
        await work(agent);
      } catch (error) {
        if (sleeps.isOver()) return;
        counts.failed += 1;
        counts.lastError = String(error);
        await sleeps.sleep(1_000);
      }
      if (pauseMs > 0) await sleeps.sleep(pauseMs);
    }
  };
  const leasing = now();
  const loops = [];
  await inParallel(fleet.length, START_WIDTH, async (at) => {
    const agent = fleet[at];
    await poll(agent);
    const every = agent.config.renewEveryMs;
    // Spread over the interval, as agents that started at different times are.
    loops.push(loop(agent, poll, 0, 0), loop(agent, renew, every, (every * at) / fleet.length));
  });
  const held = () => fleet.reduce((sum, agent) => sum + agent.held.size, 0);
  await until(() => held() >= wanted, `${wanted} leases`, { limitMs: LEASE_LIMIT_MS });
  const leaseMs = now() - leasing;
  return {
    held,
    registerMs,
    leaseMs,
    lost: () => fleet.reduce((sum, agent) => sum + agent.lost, 0),
    calls: () => counts,
    resetCalls() {
      counts = newCounts();
    },
    /** As `/metrics` tells it, in ms. */
    async eventLoopDelayMs() {
      const text = await caller.text("/metrics");
      const found = {};
      for (const [, quantile, value] of text.matchAll(
        /^holdfast_event_loop_delay_seconds\{quantile="([\d.]+)"\} (\S+)$/gm,
      )) {
        found[quantile === "1" ? "max" : `p${Number(quantile) * 100}`] = round(value * 1000);
      }
      return found;
    },
    async stop() {
      sleeps.end();
      await caller.close();
      await Promise.all(loops);
    },
  };
}

function session({ machineId, session: number }) {
  return { machineId, session: number };
}

/** What an agent holds, as its polls and renewals say it. */
function heldBy(agent) {
  return [...agent.held.values()].map(({ attemptId, jobId, leaseEpoch, phase, progress }) => {
    return { attemptId, jobId, leaseEpoch, phase, progress };
  });
}

function forget(agent, revoked) {
  for (const { attemptId } of revoked) if (agent.held.delete(attemptId)) agent.lost += 1;
}

function newCounts() {
  return { polls: 0, renewals: 0, renewalMs: [], failed: 0, lastError: null };
}

/** Pauses that end together. One signal for all would be looked through at each of thousands of pauses. */
function createSleeps() {
  const asleep = new Map();
  let isOver = false;
  return {
    isOver: () => isOver,
    sleep: (ms) =>
      new Promise((resolve) => {
        if (isOver) return resolve();
        const timer = setTimeout(() => {
          asleep.delete(timer);
          resolve();
        }, ms);
        asleep.set(timer, resolve);
      }),
    end() {
      isOver = true;
      for (const [timer, resolve] of asleep) {
        clearTimeout(timer);
        resolve();
      }
    },
  };
}
