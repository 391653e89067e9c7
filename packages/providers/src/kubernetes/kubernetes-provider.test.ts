import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Provided } from "@holdfast/fleet";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openKubernetesWorld, type KubernetesWorld } from "../../testing/kubernetes-world.ts";
import type { MachineProvider } from "../port.ts";

const LABEL = { fleet: "studio", pool: "a100" };
const signal = new AbortController().signal;
let world: KubernetesWorld;
let provider: MachineProvider;
beforeEach(async () => {
  world = await openKubernetesWorld();
  provider = world.provider(LABEL);
});
afterEach(() => world.close());

const request = (
  name = "m-1",
  env: Readonly<Record<string, string>> = { TOKEN: "of-the-request" },
) => ({
  name,
  offer: provider.offers[0]!,
  env,
});
const create = (name?: string, env?: Readonly<Record<string, string>>) =>
  provider.create(request(name, env), signal);
const value = <T>(answer: Provided<T>): T => {
  if (answer.kind === "trouble") throw new Error(answer.trouble.message);
  return answer.value;
};
const troubleOf = (answer: Provided<unknown>) => {
  if (answer.kind === "ok") throw new Error("expected trouble");
  return answer.trouble;
};
const listed = async () => value(await provider.list(signal));
const isPost = (method: string, path: string, resource: string): boolean =>
  method === "POST" && path.endsWith(`/${resource}`);

describe("offers", () => {
  test("are every type in every zone, types first; anything where nothing is named", () => {
    expect(provider.offers.map(({ gpuType, zone, isSpot }) => [gpuType, zone, isSpot])).toEqual([
      ["NVIDIA-A100-SXM4-80GB", "eu-1a", false],
      ["NVIDIA-A100-SXM4-80GB", "eu-1b", false],
      ["NVIDIA-L40S", "eu-1a", false],
      ["NVIDIA-L40S", "eu-1b", false],
    ]);
    expect(world.provider(LABEL, { gpuTypes: [], zones: [] }).offers).toEqual([
      { gpuType: null, zone: null, isSpot: false },
    ]);
  });
});

describe("a machine that is made", () => {
  test("is a pod with its environment in a Secret of its own", async () => {
    const machine = value(await create());
    expect(machine).toMatchObject({ ref: "m-1", name: "m-1", state: "pending", isUnplaced: false });
    const pod = world.standIn.pod("m-1");
    expect(pod?.spec?.["nodeSelector"]).toEqual({
      "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
      "topology.kubernetes.io/zone": "eu-1a",
    });
    const secret = world.standIn.secret("m-1");
    expect(secret?.stringData).toEqual({
      HOLDFAST_FLEET: "studio",
      HOLDFAST_POOL: "a100",
      POOL_SECRET: "value-of-the-pool",
      TOKEN: "of-the-request",
    });
    expect(secret?.metadata.ownerReferences).toMatchObject([{ uid: pod?.metadata.uid }]);
    expect(JSON.stringify(pod)).not.toContain("of-the-request");
  });

  test("takes the pool's files as they are then, and the request's own before all", async () => {
    const path = join(world.folder, "secret");
    await writeFile(path, "first\n");
    const environment = {
      env: { A: "pool", B: "pool", C: "pool" },
      envFiles: { B: path, C: path },
    };
    provider = world.provider(LABEL, {}, environment);
    value(await create("m-1", { C: "request" }));
    await writeFile(path, "second");
    value(await create("m-2", { C: "request" }));
    expect(world.standIn.secret("m-1")?.stringData).toMatchObject({
      A: "pool",
      B: "first",
      C: "request",
    });
    expect(world.standIn.secret("m-2")?.stringData).toMatchObject({ B: "second" });
  });

  test("is not made without a file that the pool names", async () => {
    provider = world.provider(LABEL, {}, { envFiles: { HF_TOKEN: "/nowhere/token" } });
    expect(troubleOf(await create())).toEqual({
      kind: "invalid",
      message: "envFiles.HF_TOKEN: /nowhere/token is not there",
      retryAfterMs: null,
      mayHaveHappened: false,
    });
    expect(world.standIn.requests).toEqual([]);
    expect(value(await provider.check(signal))).toEqual([
      "envFiles.HF_TOKEN: /nowhere/token is not there",
    ]);
  });

  test("is taken as it is when it is there already, whatever state it is in", async () => {
    value(await create());
    world.standIn.setStatus("m-1", { phase: "Running", podIP: "10.0.0.9" }, "node-1");
    expect(value(await create())).toMatchObject({
      ref: "m-1",
      state: "running",
      address: "10.0.0.9",
    });
    value(await provider.terminate("m-1", signal));
    expect(value(await create())).toMatchObject({ state: "ending" });
    expect(await listed()).toHaveLength(1);
  });

  test("gets the environment that a cut-off try did not give it", async () => {
    world.standIn.fault = ({ method, path }) =>
      isPost(method, path, "secrets") ? { kind: "reset", isHeard: false } : undefined;
    world.standIn.cluster.denied.add("delete pods");
    expect(troubleOf(await create())).toMatchObject({ kind: "unavailable", mayHaveHappened: true });
    expect(await listed()).toMatchObject([{ name: "m-1", state: "pending" }]);
    world.standIn.fault = () => undefined;
    value(await create());
    expect(world.standIn.secret("m-1")?.stringData).toMatchObject({ TOKEN: "of-the-request" });
  });

  test("is ended again when it cannot have its environment", async () => {
    world.standIn.cluster.denied.add("create secrets");
    const trouble = troubleOf(await create());
    expect(trouble).toMatchObject({ kind: "unauthorized", mayHaveHappened: false });
    expect(trouble.message).toMatch(
      /^the Secret of pod m-1 could not be made: the cluster answered 403/,
    );
    expect(await listed()).toEqual([]);
  });

  test("that was there before is not ended for want of an answer", async () => {
    value(await create("m-1"));
    value(await create("m-2"));
    world.standIn.setStatus("m-1", { phase: "Running" }, "node-1");
    const busy = { kind: "answer", status: 503, message: "etcdserver: leader changed" } as const;
    world.standIn.fault = ({ method, path }) =>
      isPost(method, path, "secrets") ? busy : undefined;
    // What runs has its environment; what waits may lack it.
    expect(value(await create("m-1"))).toMatchObject({ state: "running" });
    expect(troubleOf(await create("m-2"))).toMatchObject({
      kind: "unavailable",
      mayHaveHappened: true,
    });
    expect((await listed()).map(({ name, state }) => [name, state])).toEqual([
      ["m-1", "running"],
      ["m-2", "pending"],
    ]);
  });

  test("is never somebody else's pod", async () => {
    for (const labels of [
      {},
      { "app.kubernetes.io/managed-by": "holdfast", "holdfast.dev/fleet": "other" },
    ]) {
      world.standIn.put("m-1", labels);
      expect(troubleOf(await create())).toMatchObject({
        kind: "invalid",
        message: "there is a pod m-1 already, which is not of this pool",
        mayHaveHappened: false,
      });
    }
    expect(troubleOf(await provider.terminate("m-1", signal)).kind).toBe("invalid");
    expect(world.standIn.pod("m-1")).toBeDefined();
    expect(world.standIn.secret("m-1")).toBeUndefined();
  });

  test("is not made where a quota is full", async () => {
    world.standIn.cluster.admission = () =>
      "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=1, limited: requests.nvidia.com/gpu=1";
    expect(troubleOf(await create())).toMatchObject({ kind: "capacity", mayHaveHappened: false });
  });

  test("is told without what it was given, though the cluster repeats it", async () => {
    world.standIn.fault = ({ method, path, body }) =>
      isPost(method, path, "secrets")
        ? {
            kind: "answer",
            status: 400,
            reason: "BadRequest",
            message: `bad: ${JSON.stringify(body)}`,
          }
        : undefined;
    const { message } = troubleOf(await create());
    expect(message).toContain("bad: ");
    expect(message).not.toMatch(/value-of-the-pool|of-the-request/);
  });

  test("may have been made when something else answers in the cluster's place", async () => {
    for (const headers of [
      { "content-type": "text/plain" },
      { "content-type": "application/json" },
    ]) {
      const body = '{"hello": "portal"}';
      world.standIn.fault = () => ({ kind: "answer", status: 200, body, headers });
      expect(troubleOf(await create())).toMatchObject({
        kind: "unavailable",
        mayHaveHappened: true,
      });
      expect(troubleOf(await provider.list(signal))).toMatchObject({ kind: "unavailable" });
      expect(troubleOf(await provider.terminate("m-1", signal))).toMatchObject({
        kind: "unavailable",
        mayHaveHappened: false,
      });
    }
  });
});

describe("a machine without a place", () => {
  test("waits with the scheduler's words, and has none after its time by the cluster's clock", async () => {
    value(await create());
    const unschedulable = {
      type: "PodScheduled",
      status: "False",
      reason: "Unschedulable",
      message: "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
      lastTransitionTime: new Date(world.clock.now()).toISOString(),
    };
    world.standIn.setStatus("m-1", { phase: "Pending", conditions: [unschedulable] });
    const reason = "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.";
    expect(await listed()).toMatchObject([{ state: "pending", reason, isUnplaced: false }]);
    await world.clock.advance(120_000);
    expect(await listed()).toMatchObject([{ state: "pending", reason, isUnplaced: true }]);
  });
});

describe("the list", () => {
  test("has all pages", async () => {
    for (let count = 0; count < 7; count += 1) value(await create(`m-${count}`));
    world.standIn.cluster.pageMax = 3;
    expect((await listed()).map(({ name }) => name)).toHaveLength(7);
  });

  test("is none when a page is lost, or when it never ends", async () => {
    for (let count = 0; count < 4; count += 1) value(await create(`m-${count}`));
    world.standIn.cluster.pageMax = 3;
    world.standIn.fault = ({ query }) =>
      query.has("continue")
        ? {
            kind: "answer",
            status: 410,
            reason: "Expired",
            message: "The provided continue parameter is too old",
          }
        : undefined;
    expect(troubleOf(await provider.list(signal)).kind).toBe("unavailable");
    const endless = { kind: "PodList", metadata: { continue: "x" }, items: [] };
    world.standIn.fault = () => ({ kind: "answer", status: 200, body: JSON.stringify(endless) });
    expect(troubleOf(await provider.list(signal)).message).toBe("the pool has more than 5000 pods");
  });

  test("tells what has ended for a time, and has it removed after it", async () => {
    value(await create("m-1"));
    value(await create("m-2"));
    const finishedAt = new Date(world.clock.now()).toISOString();
    const terminated = { exitCode: 137, reason: "OOMKilled", finishedAt };
    world.standIn.setStatus(
      "m-1",
      { phase: "Failed", containerStatuses: [{ name: "agent", state: { terminated } }] },
      "node-1",
    );
    world.standIn.playKubelets();
    await world.clock.advance(3_599_000);
    const ended = { name: "m-1", state: "ended", reason: "OOMKilled: exit code 137" };
    expect(await listed()).toMatchObject([ended, { name: "m-2", state: "running" }]);
    await world.clock.advance(1_000);
    expect(await listed()).toMatchObject([ended, { name: "m-2" }]);
    expect(await listed()).toMatchObject([{ name: "m-2" }]);
    expect(world.standIn.secret("m-1")).toBeUndefined();
  });

  test("is told though what has ended cannot be removed", async () => {
    value(await create());
    world.standIn.setStatus("m-1", { phase: "Failed", reason: "Evicted" });
    world.standIn.cluster.denied.add("delete pods");
    await world.clock.advance(24 * 3_600_000);
    expect(await listed()).toMatchObject([{ state: "ended", reason: "Evicted" }]);
  });
});

describe("an end", () => {
  test("leaves a pod the time that the pool says", async () => {
    provider = world.provider(LABEL, { terminationGraceSec: 300 });
    value(await create());
    world.standIn.playKubelets();
    value(await provider.terminate("m-1", signal));
    expect(world.standIn.pod("m-1")?.metadata.deletionGracePeriodSeconds).toBe(300);
    await world.pass(299_000);
    expect(await listed()).toMatchObject([{ state: "ending" }]);
    await world.pass(1_000);
    expect(await listed()).toEqual([]);
  });

  test("is of the very pod that was looked at", async () => {
    value(await create());
    let isReplaced = false;
    world.standIn.fault = ({ method }) => {
      if (method === "DELETE" && !isReplaced) {
        isReplaced = true;
        const { metadata } = world.standIn.pod("m-1")!;
        // It ended by itself, and another one has its name.
        Object.assign(metadata, { uid: "another" });
      }
      return undefined;
    };
    expect(await provider.terminate("m-1", signal)).toEqual({ kind: "ok", value: null });
    expect(isReplaced).toBe(true);
    expect(world.standIn.pod("m-1")?.metadata.uid).toBe("another");
  });
});

describe("what is wrong with the settings", () => {
  const said = async (settings: Readonly<Record<string, unknown>> = {}) =>
    value(await world.provider(LABEL, settings).check(signal));

  test("nothing, and nothing is made by looking", async () => {
    expect(await said()).toEqual([]);
    expect(await listed()).toEqual([]);
  });

  test("rights that are missing, all at once: no mistake in the file, for they can be given", async () => {
    world.standIn.cluster.denied.add("delete pods").add("create secrets");
    expect(troubleOf(await provider.check(signal))).toMatchObject({
      kind: "unauthorized",
      message:
        "may not delete pods, create secrets in the namespace default: give it a Role that can",
    });
    expect(await said({ namespace: "nowhere" })).toEqual([
      expect.stringMatching(/^may not delete pods/),
      "there is no namespace nowhere",
    ]);
    world.standIn.cluster.denied.add("create pods");
    expect(troubleOf(await provider.check(signal)).message).toMatch(
      /^may not create pods, delete pods, create secrets/,
    );
  });

  test("a namespace that is not there", async () => {
    expect(await said({ namespace: "render" })).toEqual(["there is no namespace render"]);
  });

  test("what a policy of the cluster refuses", async () => {
    world.standIn.cluster.admission = () => 'pod rejected: RuntimeClass "nvidia" not found';
    expect(await said({ runtimeClass: "nvidia" })).toEqual([
      'the cluster answered 403: pods "holdfast-check-a100" is forbidden: pod rejected: RuntimeClass "nvidia" not found',
    ]);
  });

  test("not that there is no room now, or that a webhook takes no trials", async () => {
    world.standIn.cluster.admission = () => "exceeded quota: gpus";
    expect(await said()).toEqual([]);
    world.standIn.cluster.admission = () => 'admission webhook "x" does not support dry run';
    expect(await said()).toEqual([]);
  });

  test("not a key that is refused: it is renewed without a start", async () => {
    const kubeconfig = await world.kubeconfig("another-token");
    expect(troubleOf(await world.provider(LABEL, { kubeconfig }).check(signal))).toMatchObject({
      kind: "unauthorized",
      message: "the cluster answered 401: it does not take the key",
    });
  });

  test("a kubeconfig that cannot be used", async () => {
    const kubeconfig = join(world.folder, "broken");
    expect(await said({ kubeconfig })).toEqual([`kubeconfig: there is no file ${kubeconfig}`]);
    await writeFile(kubeconfig, "clusters: [");
    expect((await said({ kubeconfig }))[0]).toMatch(/^kubeconfig: .*broken cannot be read: /);
    await writeFile(kubeconfig, "{}");
    expect((await said({ kubeconfig }))[0]).toMatch(/^kubeconfig: /);
    expect(await said({ context: "nowhere" })).toEqual([
      expect.stringMatching(
        /^kubeconfig: expected a context "nowhere" .* found the contexts: main$/,
      ),
    ]);
  });

  test("that it does not run in a cluster, where no kubeconfig is named", async () => {
    expect(await said({ kubeconfig: undefined })).toEqual([
      "this does not run in a cluster: `kubeconfig` has to name the file that says where one is",
    ]);
  });

  test("nothing can be said while the cluster is away", async () => {
    await world.fail("refused", "create");
    expect(troubleOf(await provider.check(signal))).toMatchObject({
      kind: "unavailable",
      mayHaveHappened: false,
    });
    await world.heal();
  });
});

describe("the way to the cluster", () => {
  test("is looked for again when a key is refused: it may have been replaced", async () => {
    const kubeconfig = await world.kubeconfig("an-old-token");
    provider = world.provider(LABEL, { kubeconfig });
    expect(troubleOf(await provider.list(signal)).kind).toBe("unauthorized");
    await rm(kubeconfig);
    expect(troubleOf(await provider.list(signal))).toMatchObject({ kind: "invalid" });
    await writeFile(kubeconfig, await readFile(await world.kubeconfig(), "utf8"));
    expect(await listed()).toEqual([]);
  });

  test("a program for the key that fails asks for nothing", async () => {
    const kubeconfig = await world.kubeconfig();
    const config = JSON.parse(await readFile(kubeconfig, "utf8")) as { users: object[] };
    const exec = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: process.execPath,
      args: ["-e", "console.error('no session'); process.exit(1)"],
    };
    config.users = [{ name: "u", user: { exec } }];
    await writeFile(kubeconfig, JSON.stringify(config));
    provider = world.provider(LABEL, { kubeconfig });
    expect(troubleOf(await create())).toMatchObject({
      kind: "unavailable",
      message: "the cluster cannot be asked: no session",
      mayHaveHappened: false,
    });
  });

  test("is left when nobody waits any more", async () => {
    const controller = new AbortController();
    const reason = new Error("shutting down");
    world.standIn.fault = () => {
      setImmediate(() => controller.abort(reason));
      return { kind: "silence", isHeard: false };
    };
    await expect(provider.list(controller.signal)).rejects.toBe(reason);
  });
});
