import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MachineRequest, Provided } from "@holdfast/fleet";
import * as fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CONTRACT_LABEL } from "../../testing/provider-contract.ts";
import { openRunpodWorld, WORLD_KEY, type RunpodWorld } from "../../testing/runpod-world.ts";
import type { MachineProvider } from "../port.ts";

const signal = new AbortController().signal;
let world: RunpodWorld;
let opened: MachineProvider[] = [];
beforeEach(async () => {
  world = await openRunpodWorld(0);
});
afterEach(async () => {
  for (const one of opened) await one.close();
  opened = [];
  await world.close();
});

function open(settings: Readonly<Record<string, unknown>> = {}): MachineProvider {
  const made = world.provider(CONTRACT_LABEL, settings);
  opened.push(made);
  return made;
}

function ask(name: string, over: Partial<MachineRequest> = {}): MachineRequest {
  const offer = { gpuType: "NVIDIA L40S", zone: "EU-RO-1", isSpot: false };
  return {
    name,
    offer,
    env: { HOLDFAST_URL: "http://cp", POOL_SECRET: "of-the-request" },
    ...over,
  };
}

function value<T>(answer: Provided<T>): T {
  if (answer.kind === "trouble") throw new Error(answer.trouble.message);
  return answer.value;
}

function sent(): unknown[] {
  return world.standIn.requests
    .filter((one) => one.method === "POST")
    .map((one) => JSON.parse(one.body));
}

test("one pod is asked for by one request, with the pool's settings and the label", async () => {
  const provider = open({
    gpuCount: 2,
    minVcpuPerGpu: 8,
    minRamGbPerGpu: 32,
    minCudaVersion: "12.8",
    containerDiskGb: 60,
    networkVolumeId: "vol1",
    volumePath: "/models",
    registryId: "cred",
    cloudType: "COMMUNITY",
    dockerStartCmd: ["holdfast", "agent"],
    dockerEntrypoint: [],
  });
  await provider.create(ask("m-1"), signal);
  expect(sent()).toEqual([
    {
      name: "holdfast.studio-a.gpu.m-1",
      image: "registry/agent:1",
      registry: "cred",
      cloud: "COMMUNITY",
      gpu: {
        id: "NVIDIA L40S",
        count: 2,
        minVcpuCountPerGpu: 8,
        minRamPerGpu: 32,
        minCudaVersion: "12.8",
      },
      dataCenterIds: ["EU-RO-1"],
      disk: 60,
      mounts: { network: [{ volumeId: "vol1", path: "/models" }] },
      ports: ["8188/http", "9090/tcp"],
      env: {
        HOLDFAST_URL: "http://cp",
        POOL_SECRET: "of-the-request",
        HOLDFAST_FLEET: "studio-a",
        HOLDFAST_POOL: "gpu",
      },
      cmd: ["holdfast", "agent"],
      entrypoint: [],
    },
  ]);
  const anywhere = ask("m-2", { offer: { gpuType: "NVIDIA L40S", zone: null, isSpot: false } });
  await open({ image: undefined, templateId: "tpl", volumeGb: 20 }).create(anywhere, signal);
  expect(sent()[1]).toMatchObject({
    templateId: "tpl",
    mounts: { persistent: { size: 20, path: "/workspace" } },
  });
  expect(sent()[1]).not.toHaveProperty("dataCenterIds");
  expect(sent()[1]).not.toHaveProperty("image");
});

test("offers are each type in each data center, and never spot, which RunPod has no more", async () => {
  const provider = open();
  expect(provider.offers.map(({ gpuType, zone }) => `${gpuType}@${zone}`)).toEqual([
    "NVIDIA L40S@EU-RO-1",
    "NVIDIA L40S@US-KS-2",
    "NVIDIA GeForce RTX 4090@EU-RO-1",
    "NVIDIA GeForce RTX 4090@US-KS-2",
  ]);
  for (const offer of [
    { gpuType: "NVIDIA L40S", zone: null, isSpot: true },
    { gpuType: null, zone: null, isSpot: false },
  ]) {
    expect(await provider.create(ask("m-1", { offer }), signal)).toMatchObject({
      trouble: { kind: "invalid" },
    });
  }
  expect(world.standIn.requests).toEqual([]);
});

test("a pod's states, price and address are told as a machine's", async () => {
  const provider = open();
  const { ref } = value(await provider.create(ask("m-1"), signal));
  const seen = async () => value(await provider.list(signal))[0];
  expect(await seen()).toMatchObject({ state: "pending", reason: null, address: null });
  await world.pass(5_000);
  expect(await seen()).toMatchObject({ state: "pending", reason: "its container is starting" });
  await world.pass(5_000);
  expect(await seen()).toEqual({
    ref,
    name: "m-1",
    state: "running",
    reason: null,
    offer: { gpuType: "NVIDIA L40S", zone: "EU-RO-1", isSpot: false },
    pricePerHour: 0.44,
    // Of the port of kind tcp: what is told for http is a private address.
    address: "195.26.233.3:34446",
    createdAt: world.clock.now() - 10_000,
  });
  const pod = world.standIn.pods.get(ref)!;
  pod.status = "EXITED";
  expect(await seen()).toMatchObject({ state: "ended", pricePerHour: 0, address: null });
  expect((await seen())?.reason).toContain("billed until the pod is terminated");
  pod.status = "ERROR";
  expect((await seen())?.state).toBe("ended");
  pod.status = "MIGRATING";
  // A word that is new is no end.
  expect(await seen()).toMatchObject({
    state: "running",
    reason: "RunPod calls its state MIGRATING",
  });
});

test("a pod that exited is terminated like any other, and is gone then", async () => {
  const provider = open();
  const { ref } = value(await provider.create(ask("m-1"), signal));
  world.standIn.pods.get(ref)!.status = "EXITED";
  expect(await provider.terminate(ref, signal)).toEqual({ kind: "ok", value: null });
  expect(value(await provider.list(signal))).toEqual([]);
});

test("every page of the list is read, and a list that is not whole is trouble", async () => {
  const provider = open();
  world.standIn.pageMax = 2;
  for (let index = 0; index < 5; index += 1) await provider.create(ask(`m-${index}`), signal);
  expect(value(await open().list(signal)).map((one) => one.name)).toEqual(
    [0, 1, 2, 3, 4].map((index) => `m-${index}`),
  );
  const page = { pods: [], pagination: { hasNextPage: true, nextCursor: "again" } };
  for (const body of [
    JSON.stringify(page),
    JSON.stringify({ ...page, pagination: { hasNextPage: true, nextCursor: null } }),
    "[]",
    '{"pods":[{"id":1}]}',
  ]) {
    world.standIn.fail(["list"], { kind: "answer", status: 200, body });
    expect(await provider.list(signal)).toMatchObject({ trouble: { kind: "unavailable" } });
  }
  // Before pages there was one list without a word on more.
  world.standIn.fail(["list"], { kind: "answer", status: 200, body: '{"pods":[]}' });
  expect(await open().list(signal)).toEqual({ kind: "ok", value: [] });
});

test("a pod is ours by its name and its environment, and a renamed one is somebody's", async () => {
  const provider = open();
  const pod = (id: string, name: string, env: unknown): unknown => ({
    id,
    name,
    env,
    status: "RUNNING",
  });
  const ours = { HOLDFAST_FLEET: "studio-a", HOLDFAST_POOL: "gpu" };
  const pods = [
    pod("a", "holdfast.studio-a.gpu.m-1", ours),
    pod("b", "holdfast.studio-a.gpu.m-2", { ...ours, HOLDFAST_POOL: "cpu" }),
    pod("c", "holdfast.studio-a.gpu.m-3", {}),
    pod("d", "holdfast.studio-a.gpu.m-4", null),
    pod("e", "keep this, Ann", ours),
    pod("f", "holdfast.studio-a.gpu.Not A Name", ours),
    pod("g", "holdfast.studio-a.gpu2.m-5", undefined),
  ];
  world.standIn.fail(["list"], { kind: "answer", status: 200, body: JSON.stringify({ pods }) });
  // Without an environment told (keys of some rights), the name alone has to do.
  expect(value(await provider.list(signal)).map((one) => one.ref)).toEqual(["a", "c", "d"]);
});

test("no room for one type leaves the others", async () => {
  const provider = open();
  world.standIn.soldOut.add("NVIDIA L40S");
  const answer = await provider.create(ask("m-1"), signal);
  expect(answer).toMatchObject({ trouble: { kind: "capacity", mayHaveHappened: false } });
  const offer = { gpuType: "NVIDIA GeForce RTX 4090", zone: "EU-RO-1", isSpot: false };
  expect(await provider.create(ask("m-1", { offer }), signal)).toMatchObject({ kind: "ok" });
});

test("the key is read from its file whenever it is used, and a bad file says what to do", async () => {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-key-"));
  const apiKeyFile = join(folder, "key");
  try {
    const provider = open({ apiKey: undefined, apiKeyFile });
    expect(await provider.list(signal)).toMatchObject({
      trouble: { kind: "unauthorized", message: expect.stringContaining("ENOENT") as string },
    });
    await writeFile(apiKeyFile, "old-key-that-was-revoked\n");
    const refused = await provider.list(signal);
    expect(refused).toMatchObject({ trouble: { kind: "unauthorized" } });
    expect(JSON.stringify(refused)).not.toContain("old-key");
    await writeFile(apiKeyFile, `${WORLD_KEY}\n`);
    expect(await provider.list(signal)).toEqual({ kind: "ok", value: [] });
    await writeFile(apiKeyFile, "two\nlines");
    const message = expect.stringContaining("something else than one key") as string;
    expect(await provider.list(signal)).toMatchObject({ trouble: { message } });
    expect(await provider.check(signal)).toMatchObject({
      trouble: { kind: "unauthorized", message },
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a redirect is not followed: the key stays where it was sent", async () => {
  const seen: (string | undefined)[] = [];
  const other = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end("{}");
  });
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const { port } = other.address() as AddressInfo;
  const headers = { location: `http://127.0.0.1:${port}/v2/pods` };
  world.standIn.fail(["list", "create"], { kind: "answer", status: 307, body: "", headers });
  const message = expect.stringContaining("check `baseUrl`") as string;
  expect(await open().list(signal)).toMatchObject({ trouble: { kind: "invalid", message } });
  expect(seen).toEqual([]);
  other.close();
});

test("a request that is larger than RunPod takes is not sent", async () => {
  const env = { LONG: "x".repeat(110_000) };
  expect(await open().create(ask("m-1", { env }), signal)).toMatchObject({
    trouble: { kind: "invalid", message: expect.stringContaining("102400") as string },
  });
  expect(sent()).toEqual([]);
});

test("an abort while RunPod works rejects, and the name is not asked for again at once", async () => {
  const provider = open();
  const leaving = new AbortController();
  const reason = new Error("stopped");
  const heard = (): void => leaving.abort(reason);
  world.standIn.fail(["create"], { kind: "silence", isHeard: false, heard });
  await expect(provider.create(ask("m-1"), leaving.signal)).rejects.toBe(reason);
  world.standIn.heal();
  expect(await provider.create(ask("m-1"), signal)).toMatchObject({
    trouble: { kind: "unavailable", mayHaveHappened: true, retryAfterMs: 60_000 },
  });
  await world.pass(60_000);
  expect(await provider.create(ask("m-1"), signal)).toMatchObject({ kind: "ok" });
});

test("a pod that was just made and is not found is not taken for ended", async () => {
  const provider = open();
  const { ref } = value(await provider.create(ask("m-1"), signal));
  const body = JSON.stringify({ title: "Not Found", status: 404, detail: "pod not found" });
  world.standIn.fail(["get", "delete"], { kind: "answer", status: 404, body });
  expect(await provider.terminate(ref, signal)).toMatchObject({ trouble: { kind: "unavailable" } });
  await world.pass(60_000);
  expect(await provider.terminate(ref, signal)).toEqual({ kind: "ok", value: null });
});

test("an end whose answer was lost is asked for again", async () => {
  const provider = open();
  const { ref } = value(await provider.create(ask("m-1"), signal));
  world.standIn.fail(["delete"], { kind: "reset", isHeard: true });
  expect(await provider.terminate(ref, signal)).toMatchObject({ trouble: { kind: "unavailable" } });
  world.standIn.heal();
  await world.pass(60_000);
  expect(await provider.terminate(ref, signal)).toEqual({ kind: "ok", value: null });
  expect(world.standIn.pods.size).toBe(0);
});

test("one that was told to end and is listed still is ending, but not for ever", async () => {
  const provider = open();
  const { ref } = value(await provider.create(ask("m-1"), signal));
  await world.pass(20_000);
  world.standIn.fail(["delete"], { kind: "answer", status: 204, body: "" });
  await provider.terminate(ref, signal);
  expect(value(await provider.list(signal))[0]).toMatchObject({ state: "ending" });
  await world.pass(300_000);
  expect(value(await provider.list(signal))[0]).toMatchObject({ state: "running" });
});

test("check names what RunPod does not know, and what is near it", async () => {
  const findings = async (settings: Readonly<Record<string, unknown>>) =>
    value(await open(settings).check(signal));
  expect(
    await findings({ gpuTypes: ["RTX 4090", "NVIDIA L40S"], dataCenters: ["EU-RO-2"] }),
  ).toEqual([
    '`gpuTypes`: RunPod has no "RTX 4090"; near it: NVIDIA GeForce RTX 4090',
    "`dataCenters`: RunPod has no EU-RO-2; near it: EU-RO-1",
  ]);
  expect(await findings({ gpuTypes: ["qq"] })).toEqual([
    '`gpuTypes`: RunPod has no "qq"; it has NVIDIA GeForce RTX 4090, NVIDIA A100 80GB PCIe, NVIDIA L40S',
  ]);
  expect(await findings({ gpuTypes: ["NVIDIA A100 80GB PCIe"], cloudType: "COMMUNITY" })).toEqual([
    "`gpuTypes`: RunPod has no NVIDIA A100 80GB PCIe in its community cloud: change `cloudType`",
  ]);
  expect(await findings({ gpuTypes: ["NVIDIA L40S"], gpuCount: 9 })).toEqual([
    "`gpuCount`: RunPod has at most 8 of NVIDIA L40S in one machine",
  ]);
  expect(await findings({ networkVolumeId: "vol1" })).toEqual([
    "`networkVolumeId`: volume vol1 is in US-KS-2: expected no other data center in `dataCenters`",
  ]);
  expect(await findings({ networkVolumeId: "vol2" })).toEqual([
    "`networkVolumeId`: RunPod has no volume vol2",
  ]);
  expect(await findings({ networkVolumeId: "vol1", dataCenters: ["US-KS-2"] })).toEqual([]);
  expect(await open({ apiKey: "some-other-key" }).check(signal)).toMatchObject({
    trouble: { kind: "unauthorized", message: expect.stringContaining("check the key") as string },
  });
  expect((await findings({ baseUrl: `${world.standIn.baseUrl}/v9` }))[0]).toContain("404");
  world.standIn.fail(["catalog"], { kind: "answer", status: 200, body: "<html>" });
  expect(await open().check(signal)).toMatchObject({ trouble: { kind: "unavailable" } });
});

test("whatever is lost and however the list lags, one name never has two pods", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("create" as const), name: fc.constantFrom("m-1", "m-2") }),
    fc.record({
      do: fc.constant("fault" as const),
      kind: fc.constantFrom("reset_heard", "reset_unheard", "broken", "sold_out", "heal"),
    }),
    fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(1_000, 15_000, 70_000) }),
    fc.record({ do: fc.constant("end" as const) }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 14 }),
      fc.constantFrom(0, 20_000),
      async (steps, lag) => {
        const own = await openRunpodWorld(lag);
        const provider = own.provider(CONTRACT_LABEL);
        try {
          for (const one of steps) {
            if (one.do === "create") await provider.create(ask(one.name), signal);
            else if (one.do === "pass") await own.pass(one.ms);
            else if (one.do === "end") {
              const [first] = value(await provider.list(signal));
              if (first !== undefined) await provider.terminate(first.ref, signal);
            } else meet(own, one.kind);
            const names = [...own.standIn.pods.values()].map((pod) => pod.body["name"]);
            expect(new Set(names).size).toBe(names.length);
          }
        } finally {
          await provider.close();
          await own.close();
        }
      },
    ),
    { numRuns: 60 },
  );
});

function meet(own: RunpodWorld, kind: string): void {
  const { standIn } = own;
  standIn.heal();
  if (kind === "reset_heard") standIn.fail(["create"], { kind: "reset", isHeard: true });
  if (kind === "reset_unheard") standIn.fail(["create"], { kind: "reset", isHeard: false });
  if (kind === "broken") {
    standIn.fail(["create"], { kind: "answer", status: 200, body: "{", isHeard: true });
  }
  if (kind === "sold_out") standIn.soldOut.add("NVIDIA L40S");
  else standIn.soldOut.clear();
}
