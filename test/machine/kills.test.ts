/** What dies while a job runs: agent, PM2, instance, control plane, and all of them in a reboot. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { AttemptView, JobView } from "@holdfast/contract";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sleepingGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import {
  findPrograms,
  makeWholeMachine,
  untilCompleted,
  type Client,
  type Programs,
  type WholeMachine,
} from "./whole-machine.ts";

const programs = await findPrograms("kills.test.ts");

const INSTANCES = ["comfyui-cpu0", "comfyui-cpu1"];
const SHORTEST_SLEEP_S = 3;
/** Outlasts what is away for a while here: an agent whose lease has run out ends its render. */
const LEASE = { HOLDFAST_LEASE_TTL_MS: "20000" };

/** A job that runs, and where. */
interface RunningJob {
  readonly job: JobView;
  /** Renders that had ended before it. */
  readonly rendersBefore: number;
  /** Name of the instance. */
  readonly on: string;
}

describe.skipIf(programs === undefined)("a machine in mid-job", () => {
  let machine: WholeMachine;
  let client: Client;
  let color = 100;

  beforeAll(async () => {
    machine = await makeWholeMachine(programs as Programs);
    await machine.startServer(LEASE);
    client = await machine.client();
    machine.startAgent();
    await until("the health server answers", () => machine.health());
    await machine.untilState("comfyui", "healthy");
  });
  afterAll(() => machine?.close());

  const urlOf = (name: string): string =>
    `http://127.0.0.1:${machine.basePort + INSTANCES.indexOf(name)}`;
  const ask = async <T>(url: string): Promise<T> =>
    (await (await fetch(url, { signal: AbortSignal.timeout(5_000) })).json()) as T;

  /** Begins a job, and waits until a ComfyUI works on it. */
  const begin = async (seconds: number): Promise<RunningJob> => {
    const rendersBefore = renders();
    color += 1;
    const job = await client.submit(sleepingGraph(color, seconds));
    const attempt = await until("an attempt is under way", async () => {
      const attempts = await client.attempts(job.id);
      const found = attempts.find(({ state }) => state !== "ended");
      if (found !== undefined) return found;
      throw new Error(JSON.stringify({ job: await client.job(job.id), attempts }));
    });
    const on = attempt.instanceName;
    await until("its ComfyUI works on it", async () => {
      const queue = await ask<{ queue_running: unknown[] }>(`${urlOf(on)}/queue`);
      return queue.queue_running.length > 0;
    });
    return { job, rendersBefore, on };
  };
  /** How many graphs that sleep were rendered to their end by now; what is asked of health takes no time. */
  const renders = (): number => {
    const logs = INSTANCES.map((name) =>
      readFileSync(join(machine.folder.machine, "instances", name, "logs", "out.log"), "utf8"),
    );
    const times = logs.flatMap((log) => [...log.matchAll(/Prompt executed in ([\d.]+) seconds/g)]);
    return times.filter(([, seconds]) => Number(seconds) >= SHORTEST_SLEEP_S).length;
  };
  /** Which processes serve: none of them may be another one afterwards. */
  const lives = async () =>
    await Promise.all(
      INSTANCES.map(async (name) => {
        const { runtime } = await machine.service(name);
        return { name, pid: runtime.pid ?? 0, startedAt: runtime.startedAt };
      }),
    );
  const nextAgent = async (args: readonly string[] = []): Promise<void> => {
    machine.startAgent(args);
    await until("the next agent answers", () => machine.health());
    await machine.untilState("comfyui", "healthy");
  };
  /** The job is completed, by one attempt of all, with a whole picture. */
  const expectOnce = async ({ job }: RunningJob): Promise<readonly AttemptView[]> => {
    await untilCompleted(client, [job]);
    const outputs = await client.outputs(job.id);
    expect(outputs).toHaveLength(1);
    for (const output of outputs) expect((await client.download(output)).length).toBeGreaterThan(0);
    const attempts = await client.attempts(job.id);
    expect(attempts.filter(({ outcome }) => outcome === "succeeded")).toHaveLength(1);
    return attempts;
  };
  const lastAgent = () => {
    const agent = machine.agents().at(-1);
    if (agent === undefined) throw new Error("no agent was started");
    return agent;
  };
  const daemon = (): number =>
    Number(readFileSync(join(machine.folder.machine, "pm2", "pm2.pid"), "utf8"));

  it("the agent in mid-job: its instances and the render go on, the next agent takes both over", async () => {
    const before = await lives();
    const running = await begin(5);
    await lastAgent().kill();
    for (const name of INSTANCES) expect(await ask(`${urlOf(name)}/standin/stats`)).toBeTruthy();
    await nextAgent(["--keep-instances"]);
    await expectOnce(running);
    expect(renders() - running.rendersBefore).toBe(1);
    expect(await lives()).toEqual(before);
  });

  it("the agent leaves its instances when it was told to, its render done; the next one takes them over", async () => {
    const before = await lives();
    const running = await begin(SHORTEST_SLEEP_S);
    expect(await lastAgent().stop("SIGTERM", 60_000)).toBe(0);
    expect(await expectOnce(running)).toHaveLength(1);
    for (const name of INSTANCES) expect(await ask(`${urlOf(name)}/standin/stats`)).toBeTruthy();
    await nextAgent();
    expect(await lives()).toEqual(before);
    const later = await begin(SHORTEST_SLEEP_S);
    expect(await expectOnce(later)).toHaveLength(1);
  });

  it("PM2's daemon in mid-job: the render goes on, and all processes live on under a new daemon", async () => {
    const [first, before] = [daemon(), await lives()];
    const running = await begin(SHORTEST_SLEEP_S);
    process.kill(first, "SIGKILL");
    await until("the render has ended, all processes being the same until then", async () => {
      const now = await lives();
      const { status } = await client.job(running.job.id);
      if (status === "completed") return true;
      expect(now).toEqual(before);
      return false;
    });
    expect(await expectOnce(running)).toHaveLength(1);
    expect(renders() - running.rendersBefore).toBe(1);
    // An agent that comes asks PM2 at once; the one before would have within a minute.
    await lastAgent().kill();
    await nextAgent();
    expect(daemon()).not.toBe(first);
    expect(isRunning(daemon())).toBe(true);
    const pids = (all: readonly { readonly pid: number }[]) => all.map(({ pid }) => pid);
    expect(pids(await lives())).toEqual(pids(before));
  });

  it("an instance in mid-job: its job is rendered elsewhere or later, and the service says what happened", async () => {
    const running = await begin(6);
    const [other = ""] = INSTANCES.filter((name) => name !== running.on);
    const [killed, spared] = [await machine.pid(running.on), await machine.pid(other)];
    process.kill(killed, "SIGKILL");
    const told = await until("its end is told", async () => {
      const found = await machine.service(running.on);
      const exits = found.details["exits"] as readonly { pid: number; reason: string }[];
      const end = exits.find(({ pid }) => pid === killed);
      return end !== undefined && /signal 9|SIGKILL|killed/i.test(end.reason) && { found, end };
    });
    expect(told.found.transitions.map(({ to }) => to).slice(-3)).not.toEqual([]);
    const attempts = await expectOnce(running);
    expect(attempts.length).toBeGreaterThan(1);
    const back = await machine.untilState(running.on, "healthy");
    expect(back.runtime.pid).not.toBe(killed);
    const since = back.transitions.filter(({ to }) => to !== "healthy").at(-1);
    expect(since?.reason).not.toBe("");
    expect(await machine.pid(other)).toBe(spared);
  });

  it("the control plane for a while: the render ends, and its result is delivered when there is one again", async () => {
    const before = await lives();
    const running = await begin(3);
    await machine.server().kill();
    await until("it is rendered", () => renders() > running.rendersBefore);
    const { controlPlane } = await until("the machine has noticed", async () => {
      const health = await machine.health();
      return health.controlPlane.state !== "connected" && health;
    });
    expect(controlPlane.detail).not.toBeNull();
    // Nothing of the machine depends on it.
    expect((await machine.get("/ready")).status).toBe(200);
    expect((await machine.service("comfyui")).state).toBe("healthy");
    await machine.startServer(LEASE);
    await expectOnce(running);
    expect(renders() - running.rendersBefore).toBe(1);
    expect(await lives()).toEqual(before);
  });

  it("a reboot in mid-job: the render is waited for, then the instances end, then PM2, then the agent", async () => {
    const running = await begin(3);
    const order = watchEnds([
      ...(await Promise.all(
        INSTANCES.map(async (name) => [name, await machine.pid(name)] as const),
      )),
      ["pm2", daemon()],
      ["agent", lastAgent().pid],
    ]);
    expect(await lastAgent().stop("SIGTERM", 60_000)).toBe(0);
    const ends = await order.stop();
    expect([ends.slice(0, 2).toSorted(), ...ends.slice(2)]).toEqual([INSTANCES, "pm2", "agent"]);
    expect(machine.processes()).toEqual([]);
    const attempts = await expectOnce(running);
    expect(attempts).toHaveLength(1);
  });
});

/** Notes in which order processes end. */
function watchEnds(watched: readonly (readonly [string, number])[]): {
  stop(): Promise<readonly string[]>;
} {
  const ended: string[] = [];
  const look = (): void => {
    for (const [name, pid] of watched) {
      if (!ended.includes(name) && !isRunning(pid)) ended.push(name);
    }
  };
  const timer = setInterval(look, 5);
  return {
    async stop() {
      await until("all have ended", () => {
        look();
        return ended.length === watched.length;
      });
      clearInterval(timer);
      return ended;
    },
  };
}

/** One that ended and was not collected runs no more. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
