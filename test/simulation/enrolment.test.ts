/** A machine that comes in by a one-time token and tells what it is, over HTTP, on the whole system. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { createAgent, createHttpLink, enrollMachine, type Agent } from "@holdfast/agent";
import type { BlobSource } from "@holdfast/contract";
import { createKey } from "@holdfast/control-plane";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, it } from "vitest";
import { SILENT_LOG } from "../../packages/control-plane/src/platform/log.ts";
import { enrolments, enroll as makeToken, revoke } from "../../packages/cli/src/keys/run-keys.ts";
import { api } from "../support/api.ts";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

let system: TestSystem;
let admin: string;
const agents: { stop(): Promise<void>; close(): Promise<void> }[] = [];
beforeEach(async () => {
  system = await startSystem({ agent: false });
  const ids = createIdSource(systemClock, systemRandom);
  const made = await createKey(system.controlPlane.db(), ids, { name: "admin", role: "admin" });
  admin = made.text;
});
afterEach(async () => {
  for (const agent of agents.splice(0)) {
    await agent.stop();
    await agent.close();
  }
  await system.close();
});

const withKey = (key: string) => api(system.url, { authorization: `Bearer ${key}` });

const COMMANDS = { enroll: makeToken, enrolments, revoke };

/** A command of `holdfast keys`, and what it printed. */
async function run(
  action: keyof typeof COMMANDS,
  argument: string,
  options: Parameters<typeof revoke>[1] = {},
): Promise<string> {
  const lines: string[] = [];
  await COMMANDS[action](
    argument,
    { url: system.url, apiKey: admin, ...options },
    {
      env: {},
      terminal: {
        line: (line) => lines.push(line),
        note: () => undefined,
        progress: () => undefined,
        isInteractive: false,
        columns: 200,
        resultColumns: 200,
      },
    },
  );
  return lines.join("\n");
}

const enroll = (token: string, name = "box") =>
  enrollMachine({
    baseUrl: system.url,
    token,
    machineName: name,
    stateDir: join(system.folder, name),
    clock: systemClock,
    random: seededRandom(1),
    signal: new AbortController().signal,
  });

async function startAgent(key: string, name = "box"): Promise<Agent> {
  const link = createHttpLink({ baseUrl: system.url, token: key, clock: systemClock });
  const agent = createAgent({
    link,
    instances: system.simulators.map(({ url }) => ({ url })),
    stateDir: join(system.folder, name),
    machineName: name,
    clock: systemClock,
    random: systemRandom,
    log: SILENT_LOG,
    limits: { linkCallMs: 500 },
    report: () => ({
      services: [
        {
          name: "comfyui-gpu0",
          kind: "instance",
          state: "healthy",
          reason: "it passes its checks",
          since: 1_700_000_000_000,
          installation: { state: "installed", detail: null, version: "r1" },
          runtime: {
            state: "running",
            pid: 7,
            startedAt: 1_700_000_000_000,
            restarts: 0,
            detail: null,
          },
          check: { state: "passing", detail: null, checkedAt: 1_700_000_000_000 },
          dependencies: [],
        },
      ],
      gpus: [],
      release: { id: "r1", comfyuiCommit: null, comfyuiVersion: null, python: null, torch: null },
      manifestDigest: null,
      host: {
        cpuCount: 2,
        memoryTotalBytes: 1,
        memoryFreeBytes: 1,
        diskTotalBytes: 1,
        diskFreeBytes: 1,
      },
      offers: { models: [], packs: [] },
      healthPort: 9_090,
    }),
  });
  agents.push({ stop: () => agent.stop(), close: () => link.close() });
  await agent.start();
  return agent;
}

const LOG = Buffer.from('{"step":"comfyui.checkout"}\n');
const logSource: BlobSource = {
  sha256: createHash("sha256").update(LOG).digest("hex"),
  sizeBytes: LOG.length,
  open: async function* () {
    yield LOG;
  },
};

interface MachineDetail {
  readonly id: string;
  readonly services: readonly { readonly name: string; readonly since: string }[];
  readonly release: { readonly id: string } | null;
  readonly runs: readonly {
    readonly runId: string;
    readonly ok: boolean;
    readonly durationMs: number;
    readonly logUrl: string | null;
  }[];
}

it("a token makes a machine whose key is its own, and whose page tells what it is and how it came up", async () => {
  const token = await run("enroll", "", { name: "gpu boxes", ttl: "10m" });
  expect(token).toMatch(/^hfe_/);
  const { key } = await enroll(token);
  const agent = await startAgent(key);
  await until("it has registered", () => agent.status().isRegistered);
  const machineId = agent.status().machineId ?? "";
  agent.tellRun({
    runId: "20261127-1",
    kind: "install",
    steps: [
      {
        id: "comfyui.checkout",
        title: "ComfyUI",
        outcome: "failed",
        startedAt: 1_700_000_000_000,
        durationMs: 1_500,
        detail: "the ref does not exist",
        advice: "name another ref",
        isOptional: false,
      },
    ],
    log: logSource,
  });
  const client = withKey(admin);
  const path = `/api/v1/machines/${machineId}`;
  const detail = await until("its page tells", async () => {
    const now = await client.call<MachineDetail>("GET", path);
    return now.runs.length > 0 && now.services.length > 0 ? now : undefined;
  });
  expect(detail).toMatchObject({
    services: [{ name: "comfyui-gpu0", since: "2023-11-14T22:13:20.000Z" }],
    release: { id: "r1" },
    runs: [{ runId: "20261127-1", ok: false, durationMs: 1_500 }],
  });
  const steps = await client.call<{ runs: unknown[] }>("GET", `${path}/steps?run=20261127-1`);
  expect(steps.runs).toMatchObject([
    { steps: [{ id: "comfyui.checkout", advice: "name another ref" }] },
  ]);
  const log = await fetch(new URL(detail.runs[0]?.logUrl ?? "", system.url), {
    headers: { authorization: `Bearer ${admin}` },
  });
  expect(log.headers.get("content-type")).toContain("text/plain");
  expect(await log.text()).toBe(LOG.toString());
  const { machines } = await client.call<{ machines: object[] }>("GET", "/api/v1/machines");
  expect(machines).toMatchObject([
    { id: machineId, report: { services: { total: 1, healthy: 1 }, release: "r1" } },
  ]);
  const events = await system.controlPlane
    .db()
    .query<{ type: string }>("select type from events where type like 'machine.%' order by seq");
  expect(events.rows.map(({ type }) => type)).toEqual(["machine.enrolled", "machine.step-failed"]);
  expect(await run("enrolments", "")).toMatch(/used.*box.*any machine.*gpu boxes/);
});

it("a machine's key is refused for another machine, and a restarted agent is the same machine", async () => {
  const first = await enroll(await run("enroll", "", { name: "a" }), "box-a");
  const second = await enroll(await run("enroll", "", { name: "b" }), "box-b");
  const one = await startAgent(first.key, "box-a");
  await until("the first has registered", () => one.status().isRegistered);
  const other = withKey(second.key);
  const steal = (path: string, body: object) =>
    other.call("POST", `/agent/v1/${path}`, body).then(
      () => "taken",
      (error: Error) => error.message,
    );
  const stolen = { machineId: one.status().machineId, session: 1 };
  expect(await steal("renew", { ...stolen, held: [] })).toContain("403");
  expect(
    await steal("register", {
      protocolVersion: 1,
      agentVersion: "1",
      machineId: stolen.machineId,
      machineName: "thief",
      bootId: "boot-thief",
      instances: [],
    }),
  ).toContain("403");
  expect(
    await steal("startup-steps", { ...stolen, runId: "r", kind: "start", steps: [] }),
  ).toContain("403");
  await one.stop();
  const again = await startAgent(first.key, "box-a");
  await until("it has registered again", () => again.status().isRegistered);
  expect(again.status().machineId).toBe(stolen.machineId);
});

it("tokens are for administrators; one that was revoked, or used, is refused in words", async () => {
  const ids = createIdSource(systemClock, systemRandom);
  const { text: user } = await createKey(system.controlPlane.db(), ids, {
    name: "u",
    role: "operator",
  });
  await expect(withKey(user).call("POST", "/api/v1/enrolments", { name: "x" })).rejects.toThrow(
    /403/,
  );
  const used = await run("enroll", "", { name: "a" });
  await enroll(used, "box-a");
  await expect(enroll(used, "box-b")).rejects.toMatchObject({ code: "enrolment_used" });
  const made = JSON.parse(await run("enroll", "", { name: "b", json: true })) as {
    enrolment: { id: string };
    text: string;
  };
  expect(await run("revoke", made.enrolment.id)).toContain("revoked one-time token");
  await expect(enroll(made.text, "box-b")).rejects.toMatchObject({ code: "enrolment_expired" });
  const named = await run("enroll", "", { name: "c", machineName: "only-me" });
  await expect(enroll(named, "box-c")).rejects.toMatchObject({ code: "forbidden" });
  expect(await enroll(named, "only-me")).toMatchObject({ isNew: true });
  await expect(run("enroll", "", { name: "d", ttl: "3s" })).rejects.toThrow(/--ttl/);
});
