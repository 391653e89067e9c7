/** Updates of a machine that serves: what is bad never serves, what is good takes over without a job lost. */
import { readFileSync, writeFileSync } from "node:fs";
import type { JobView } from "@holdfast/contract";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { quickGraph, sleepingGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import { goodPack } from "./ground/node-packs.ts";
import {
  findPrograms,
  makeWholeMachine,
  untilCompleted,
  type Client,
  type CommandEnd,
  type Programs,
  type Service,
  type WholeMachine,
} from "./whole-machine.ts";

const programs = await findPrograms("update.test.ts");

const INSTANCES = ["comfyui-cpu0", "comfyui-cpu1"];

/** Sends jobs all the time, each instance always having one, until it is told to stop. */
function keepBusy(client: Client): { stop(): Promise<readonly JobView[]> } {
  const jobs: JobView[] = [];
  let isOver = false;
  const sending = (async () => {
    for (let seed = 0; !isOver; seed += 1) {
      jobs.push(await client.submit(sleepingGraph(1_000 + seed, 0.7)));
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
  })();
  return {
    async stop() {
      isOver = true;
      await sending;
      return jobs;
    },
  };
}

/** All are completed, and none has cost a second attempt by a failure. */
async function expectUnharmed(client: Client, jobs: readonly JobView[]): Promise<void> {
  await untilCompleted(client, jobs);
  for (const { id } of jobs) {
    const attempts = await client.attempts(id);
    // Given back before it ran is no harm; a failure or a death is.
    const harmless = ["interrupted", "released", "succeeded"];
    expect(attempts.filter(({ outcome }) => !harmless.includes(outcome ?? ""))).toEqual([]);
  }
}

describe.skipIf(programs === undefined)("a machine that serves", () => {
  let machine: WholeMachine;
  let client: Client;
  let first = "";

  const comfyui = (ref: string) => ({ comfyui: { repo: machine.internet.comfyui.url, ref } });
  const versions = async (): Promise<readonly string[]> => {
    const all = INSTANCES.map(async (_, at) => {
      const url = `http://127.0.0.1:${machine.basePort + at}/system_stats`;
      const answer = await fetch(url, { signal: AbortSignal.timeout(5_000) });
      const stats = (await answer.json()) as { system: { comfyui_version: string } };
      return stats.system.comfyui_version;
    });
    return await Promise.all(all);
  };
  const pids = (): Promise<readonly number[]> =>
    Promise.all(INSTANCES.map((name) => machine.pid(name)));
  const untilServes = async (version: string): Promise<void> => {
    await until(
      `both instances are of ${version}`,
      async () => (await versions()).every((each) => each === version),
      120_000,
    );
    await machine.untilState("comfyui", "healthy");
  };
  /** Runs a command that must change nothing of what serves, while a job runs. */
  const expectUntouched = async (run: () => Promise<CommandEnd>): Promise<string> => {
    const [release, before] = [machine.release(), await pids()];
    const job = await client.submit(sleepingGraph(7, 2));
    const { code, output } = await run();
    expect(code).not.toBe(0);
    expect(machine.release()).toBe(release);
    expect(await pids()).toEqual(before);
    expect((await machine.service("comfyui")).state).toBe("healthy");
    await expectUnharmed(client, [job]);
    return output;
  };

  beforeAll(async () => {
    machine = await makeWholeMachine(programs as Programs);
    client = await machine.client();
    machine.startAgent();
    await until("the health server answers", () => machine.health());
    await machine.untilState("comfyui", "healthy");
    first = machine.release() ?? "";
  });
  afterAll(() => machine?.close());

  it("goes on with the old release when the new one has a requirement that nobody has", async () => {
    machine.internet.breakCommit("bad_requirement", "v2-requirement");
    machine.writeManifest(comfyui("v2-requirement"));
    const output = await expectUntouched(() => machine.machine(["install"]));
    expect(output).toContain("standin-nowhere");
    // It is told that the file is not what is in force.
    await until("it is told", async () => {
      const { manifest } = await machine.health();
      return manifest.problems.some((line) => line.includes("has changed since it was applied"));
    });
  });

  it("goes on with the old release when the new one does not start", async () => {
    machine.internet.breakCommit("does_not_start", "v2-start");
    machine.writeManifest(comfyui("v2-start"));
    const output = await expectUntouched(() => machine.machine(["install"]));
    expect(output).toContain("this version was made not to start");
    expect(output).toContain(`release ${first} serves on`);
  });

  it("goes on with the old release when a pack has lost a class that the manifest promises", async () => {
    const pack = machine.internet.git.makeRepository("invert", { files: goodPack(), tag: "v1" });
    const nodes = (ref: string) => ({
      nodes: [{ name: "invert", repo: pack.url, ref, classes: ["StandInInvert"] }],
    });
    pack.commit({
      message: "Lose the class",
      files: { "__init__.py": "NODE_CLASS_MAPPINGS = {}\n" },
      tag: "v2",
    });
    machine.writeManifest(nodes("v2"));
    const output = await expectUntouched(() => machine.machine(["install"]));
    expect(output).toContain("StandInInvert");
  });

  it("leaves a release that passed every trial and does not work in earnest", async () => {
    machine.internet.breakCommit("fails_in_earnest", "v2-earnest");
    machine.writeManifest(comfyui("v2-earnest"));
    const load = keepBusy(client);
    const { code, output } = await machine.machine(["install"]);
    expect(output).toContain("installed: release");
    expect(code).toBe(0);
    const told = await until(
      "the machine has gone back",
      async () => {
        const installer = await machine.service("installer");
        if (installer.state === "unhealthy") return installer;
        throw new Error(installer.reason);
      },
      120_000,
    );
    expect(told.reason).toContain("did not work");
    expect(told.reason).toContain(first);
    expect(machine.release()).toBe(first);
    await machine.untilState("comfyui", "healthy");
    expect((await machine.health()).release).toBe(first);
    await expectUnharmed(client, await load.stop());
  });

  it("takes a good update one instance after the other, with jobs running through", async () => {
    machine.internet.goodCommit("9.9.9", "v3");
    machine.writeManifest(comfyui("v3"));
    const load = keepBusy(client);
    const begun = Date.now();
    const { code, output } = await machine.machine(["install"]);
    expect([code, output]).toEqual([0, expect.stringContaining("installed: release")]);
    await untilServes("9.9.9");
    await expectUnharmed(client, await load.stop());
    expect(machine.release()).not.toBe(first);
    // At no time were both away.
    const gaps = await Promise.all(INSTANCES.map((name) => awayTimes(machine, name, begun)));
    const [one = [], other = []] = gaps;
    expect(one.length).toBe(1);
    expect(other.length).toBe(1);
    const [a, b] = [one[0], other[0]];
    expect((a?.to ?? 0) <= (b?.from ?? 0) || (b?.to ?? 0) <= (a?.from ?? 0)).toBe(true);
    await machine.untilState("installer", "healthy");
    // Another manifest came into force; what serves was installed all the while.
    const { transitions } = await machine.service("comfyui");
    const since = transitions.filter(({ at }) => Date.parse(at) >= begun);
    expect(since.map(({ to }) => to)).not.toContain("not_installed");
  });

  it("goes back by hand while it serves, and forth again", async () => {
    const second = machine.release() ?? "";
    const back = await machine.machine(["rollback"]);
    expect([back.code, back.output]).toEqual([0, expect.stringContaining(`release ${first}`)]);
    await untilServes("0.3.64");
    await untilCompleted(client, [await client.submit(quickGraph(5))]);
    expect((await machine.health()).release).toBe(first);
    const forth = await machine.machine(["rollback"]);
    expect([forth.code, forth.output]).toEqual([0, expect.stringContaining(`release ${second}`)]);
    await untilServes("9.9.9");
  });

  it("cleans up what nobody needs, and nothing that serves", async () => {
    const before = await pids();
    const { code, output } = await machine.machine(["clean"]);
    expect(code).toBe(0);
    expect(output).toContain("removed release");
    expect(output).not.toContain(machine.release() ?? "");
    expect(output).not.toContain(first);
    expect(await pids()).toEqual(before);
    await untilCompleted(client, [await client.submit(quickGraph(6))]);
    expect((await machine.machine(["clean"])).output).toContain("nothing to remove");
  });

  it("goes by the old manifest when the file has a mistake, over a new start too", async () => {
    const good = readFileSync(machine.manifestPath, "utf8");
    writeFileSync(machine.manifestPath, good.replace('"comfyui"', '"comfyiu"'));
    const refused = await machine.machine(["install"]);
    expect(refused.code).not.toBe(0);
    expect(refused.output).toContain("comfyiu");
    const before = await pids();
    const [agent] = machine.agents();
    expect(await agent?.stop("SIGTERM", 60_000)).toBe(0);
    machine.startAgent();
    await until("it answers", () => machine.health());
    await machine.untilState("comfyui", "healthy");
    expect(await pids()).not.toEqual(before);
    const { manifest, release } = await machine.health();
    expect(release).toBe(machine.release());
    expect(manifest.problems.join("\n")).toContain("comfyiu");
    expect(manifest.problems.join("\n")).toContain("stays in force");
    await untilCompleted(client, [await client.submit(quickGraph(8))]);
  });
});

interface Away {
  readonly from: number;
  readonly to: number;
}

/** When a service was not healthy, since an instant. */
async function awayTimes(
  machine: WholeMachine,
  name: string,
  since: number,
): Promise<readonly Away[]> {
  const answer = await machine.get(`/services/${name}/transitions`);
  const { transitions } = (await answer.json()) as Pick<Service, "transitions">;
  const found: Away[] = [];
  let from: number | undefined;
  for (const { at, to } of transitions) {
    const time = Date.parse(at);
    if (time < since) continue;
    if (to !== "healthy") from ??= time;
    else if (from !== undefined) {
      found.push({ from, to: time });
      from = undefined;
    }
  }
  return found;
}
