/** A fleet of processes of this host, as its operator has it: fleet.yaml, jobs, and machines that die. */
import { mkdirSync, writeFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { FleetMachineView, FleetStatus, JobView } from "@holdfast/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { api, sleepingGraph } from "../support/api.ts";
import {
  freePort,
  startHoldfast,
  temporaryFolder,
  until,
  type HoldfastProcess,
} from "../support/processes.ts";

const LIMIT_MS = 60_000;

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let url: string;
let fleetFile: string;
const started: HoldfastProcess[] = [];

beforeEach(async () => {
  folder = await temporaryFolder();
  url = `http://127.0.0.1:${await freePort()}`;
  fleetFile = join(folder.path, "fleet.yaml");
});
afterEach(async () => {
  for (const one of started.splice(0).reverse()) await one.stop("SIGTERM", 30_000);
  // Machines outlive the control plane: those of a test that failed are ended here.
  for (const name of await readdir(machineRoot()).catch(() => [])) {
    try {
      process.kill(await pidOf({ name }), "SIGKILL");
    } catch {
      // It has ended, as it should have.
    }
  }
  await folder.remove();
});

/** Folder of the machines' folders. */
const machineRoot = (): string => join(folder.path, "m");
const run = (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
  const one = startHoldfast(args[0] ?? "", args, {
    HOLDFAST_HOME: join(folder.path, "home"),
    HOLDFAST_URL: url,
    HOLDFAST_LEASE_TTL_MS: "5000",
    ...env,
  });
  started.push(one);
  return one;
};

/** A ComfyUI that takes its time, and a fleet whose machines use it, one after the other. */
const writeFleet = async (max = 1): Promise<void> => {
  const port = String(await freePort());
  const simulator = run(["simulator", "--port", port, "--time-scale", "1"]);
  await simulator.saw("simulated ComfyUI on");
  writeFileSync(
    fleetFile,
    JSON.stringify({
      version: 1,
      fleet: "e2e",
      scaling: { targetWaitSec: 20, coolDownSec: 3 },
      pools: [
        {
          name: "here",
          provider: "local",
          max,
          env: { COMFYUI_URL: `http://127.0.0.1:${port}`, HOLDFAST_HEALTH_PORT: "0" },
          local: { maxMachines: 4, graceSeconds: 10, root: machineRoot() },
        },
      ],
    }),
  );
};
const startServer = async (): Promise<HoldfastProcess> => {
  const server = run(["server", "--port", new URL(url).port, "--fleet", fleetFile]);
  await server.saw("control plane at");
  return server;
};
const fleet = (): Promise<FleetStatus> => api(url).call<FleetStatus>("GET", "/api/v1/fleet");
const all = async (): Promise<readonly FleetMachineView[]> =>
  (await api(url).call<{ items: FleetMachineView[] }>("GET", "/api/v1/fleet/machines")).items;
const untilCompleted = (jobs: readonly JobView[]): Promise<true> =>
  until(
    "all jobs are completed",
    async () => {
      const now = await Promise.all(jobs.map(({ id }) => api(url).job(id)));
      if (now.every(({ status }) => status === "completed")) return true as const;
      throw new Error(now.map(({ id, status }) => `${id} ${status}`).join());
    },
    LIMIT_MS,
  );
const untilEmpty = (): Promise<true> =>
  until("no machine is left", async () => (await fleet()).machines.length === 0, LIMIT_MS);
/** Process of a machine, by the record in its folder. */
const pidOf = async ({ name }: Pick<FleetMachineView, "name">): Promise<number> => {
  const record = JSON.parse(
    await readFile(join(machineRoot(), name, "provided-machine.json"), "utf8"),
  ) as { readonly main: { readonly pid: number } };
  return record.main.pid;
};

describe("a fleet of this host's processes", () => {
  it("starts a machine for the jobs that wait, and ends it when none is left", async () => {
    await writeFleet();
    await startServer();
    expect((await fleet()).machines).toEqual([]);
    const jobs = [
      await api(url).submit(sleepingGraph(1, 1)),
      await api(url).submit(sleepingGraph(2, 1)),
    ];
    await untilCompleted(jobs);
    await untilEmpty();
    expect(await all()).toMatchObject([
      { pool: "here", provider: "local", state: "ended", endCause: "intended" },
    ]);
  });

  it("replaces a machine that is killed in mid-job, and the job completes", async () => {
    await writeFleet();
    await startServer();
    const job = await api(url).submit(sleepingGraph(3, 6));
    const first = await until("it renders", async () => {
      const [machine] = (await fleet()).machines;
      return machine !== undefined && machine.jobs > 0 && machine.state === "ready" && machine;
    });
    process.kill(await pidOf(first), "SIGKILL");
    const second = await until("another one is asked for", async () =>
      (await fleet()).machines.find(({ name }) => name !== first.name),
    );
    const lost = (await all()).find(({ name }) => name === first.name);
    expect(lost).toMatchObject({ endCause: "failed", endKind: "crash" });
    // From the loss being known to the replacement being written down.
    expect(Date.parse(second.askedAt) - Date.parse(lost?.endedAt ?? "")).toBeLessThan(5_000);
    await untilCompleted([job]);
    const { breaker } = await fleet();
    expect(breaker.text).toBe("50.0% (1/2 machines in last 30 minutes)");
    await untilEmpty();
  });

  it("keeps its machines over a kill of the control plane, and makes no second one", async () => {
    await writeFleet();
    const server = await startServer();
    const job = await api(url).submit(sleepingGraph(4, 5));
    const [machine] = await until("it is there", async () => {
      const { machines } = await fleet();
      return machines[0]?.state === "ready" && machines;
    });
    await server.kill();
    await startServer();
    await untilCompleted([job]);
    expect((await all()).map(({ name }) => name)).toEqual([machine?.name]);
    await untilEmpty();
  });

  it("refuses a file that cannot be, with every problem's place, and starts nothing", async () => {
    mkdirSync(folder.path, { recursive: true });
    writeFileSync(
      fleetFile,
      "version: 1\npools:\n  - { name: a, provider: rumpod, max: 1 }\n  - { name: b, provider: local, min: 3, max: 1 }\n",
    );
    const server = run(["server", "--port", new URL(url).port, "--fleet", fleetFile]);
    expect(await server.exited).toBe(2);
    expect(server.output()).toMatch(/fleet\.yaml:3:\d+: .*(runpod|provider)/);
    expect(server.output()).toMatch(/fleet\.yaml:4:\d+: /);
  });
});
