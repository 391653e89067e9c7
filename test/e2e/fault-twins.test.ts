/**
 * Scenarios of `holdfast fault` with what they are about taken away from them: each verdict has to turn red,
 * and to say why.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { expect, it } from "vitest";
import { sleepingGraph } from "../../packages/cli/src/fault/graphs.ts";
import { hostPrograms } from "../../packages/cli/src/fault/loss/programs.ts";
import { runScenario } from "../../packages/cli/src/fault/run-scenario.ts";
import { pictures, type Scenario } from "../../packages/cli/src/fault/scenario.ts";
import { SCENARIOS } from "../../packages/cli/src/fault/scenarios/all-scenarios.ts";

const JOBS = 4;
const AWAY_MS = 3_000;

const known = (name: string): Scenario => {
  const found = SCENARIOS.find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no scenario ${name}`);
  return found;
};
const reasonsOf = async (scenario: Scenario): Promise<string> => {
  const result = await runScenario(scenario, {
    jobs: JOBS,
    settings: {},
    comfyuiUrl: undefined,
    isKept: false,
    programs: hostPrograms,
    clock: systemClock,
    random: systemRandom,
    signal: new AbortController().signal,
    note: () => undefined,
  });
  if (result.kind !== "judged") throw new Error(result.why);
  expect(result.verdict.state).toBe("failed");
  return result.verdict.reasons.join("; ");
};

it("no clock is off in clock-skew", async () => {
  const { comfyuis, isOneMachine, replicas } = known("clock-skew").plan;
  const plan = { comfyuis, isOneMachine, replicas };
  expect(await reasonsOf({ ...known("clock-skew"), plan })).toContain("the fault never struck");
});

it("there is no second replica in replica-killed", async () => {
  const scenario = known("replica-killed");
  const plan = { ...scenario.plan, replicas: 1 } as const;
  expect(await reasonsOf({ ...scenario, plan })).toContain(
    "expected jobs that completed while one replica was down, found none",
  );
});

it("nothing at all answers while the socket is away in socket-lost", async () => {
  const scenario: Scenario = {
    ...known("socket-lost"),
    begin: ({ struck: { proxy }, clock, signal }) => {
      let cut = 0;
      return Promise.resolve({
        how: "the proxy cut all connections, and answered nothing for a while",
        async strike() {
          const rule = proxy.add({ action: { kind: "answer", status: 502 }, count: 0 });
          proxy.refuseSockets(true);
          cut = proxy.cutConnections();
          await clock.sleep(AWAY_MS, signal);
          proxy.refuseSockets(false);
          rule.remove();
        },
        struck: () => Promise.resolve(cut),
        end: () => Promise.resolve(),
      });
    },
  };
  expect(await reasonsOf(scenario)).toContain(
    "expected jobs that completed while there was no socket, found none",
  );
});

it("the card has room in gpu-oom", async () => {
  const scenario: Scenario = {
    ...known("gpu-oom"),
    begin: async (world) => await known("gpu-oom").begin(withoutFaults(world)),
  };
  const reasons = await reasonsOf(scenario);
  expect(reasons).toContain("the fault never struck");
  expect(reasons).toContain("expected an attempt that failed as cuda_out_of_memory");
});

it("no graph sleeps in artificial-latency", async () => {
  const work: Scenario["work"] = (facts) =>
    pictures(facts, 0).map((job) => ({ ...job, graph: facts.picture(job.index + JOBS, 0) }));
  expect(await reasonsOf({ ...known("artificial-latency"), work })).toContain(
    "is met without and met",
  );
});

it("no page is bad in prompt-validation-failure", async () => {
  const scenario = known("prompt-validation-failure");
  const work: Scenario["work"] = (facts) => pictures(facts, 0);
  expect(await reasonsOf({ ...scenario, work })).toContain("pages none (expected 2, 4)");
});

it("no packet is lost in network-blip", async () => {
  const scenario = known("network-blip");
  const plan = { ...scenario.plan, lossShare: 0 };
  expect(await reasonsOf({ ...scenario, plan })).toContain("the fault never struck");
});

it("the store comes back empty in store-down", async () => {
  const scenario: Scenario = {
    ...known("store-down"),
    begin: async (world) => {
      const fault = await known("store-down").begin(world);
      return {
        ...fault,
        async end() {
          await fault.end();
          const path = world.holdfast?.store.path ?? "";
          for (const name of await readdir(path)) {
            if (/^[0-9a-f]{2}$/.test(name)) await rm(join(path, name), { recursive: true });
          }
        },
      };
    },
  };
  expect(await reasonsOf(scenario)).toContain("of its outputs are not whole");
});

it("nobody kills Postgres in postgres-restart", async () => {
  const scenario: Scenario = {
    ...known("postgres-restart"),
    begin: async (world) => ({
      ...(await known("postgres-restart").begin(world)),
      strike: () => Promise.resolve(),
    }),
  };
  expect(await reasonsOf(scenario)).toContain("the fault never struck");
});

it("a prompt is sent once too often in server-errors", async () => {
  const scenario: Scenario = {
    ...known("server-errors"),
    begin: async (world) => {
      const fault = await known("server-errors").begin(world);
      return {
        ...fault,
        async strike() {
          const body = JSON.stringify({ prompt: sleepingGraph(JOBS, 0) });
          await fetch(`${world.struck.directUrl}/prompt`, { method: "POST", body });
        },
      };
    },
  };
  expect(await reasonsOf(scenario)).toBe("5 renders for 4 jobs");
});

function withoutFaults(world: Parameters<Scenario["begin"]>[0]) {
  const none = { struck: () => Promise.resolve(0), remove: () => Promise.resolve() };
  return { ...world, struck: { ...world.struck, add: () => Promise.resolve(none) } };
}
