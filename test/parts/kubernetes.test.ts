/** The provider of pods on a real API server, scheduler and controllers; only kubelets are played. */
import { readFile } from "node:fs/promises";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { Provided, ProvidedMachine } from "../../packages/fleet/src/index.ts";
import {
  createKubernetesProvider,
  kubernetesSettingsSchema,
  type MachineProvider,
} from "../../packages/providers/src/index.ts";
import { until } from "../support/processes.ts";
import {
  findKubernetes,
  startKubernetes,
  type CLUSTER_USERS,
  type KubernetesCluster,
} from "./kubernetes-cluster.ts";

const programs = findKubernetes();
if (typeof programs === "string") console.warn(`pods on a real cluster: SKIPPED, ${programs}`);
const label = typeof programs === "string" ? `SKIPPED, ${programs}: ` : "";
/** GPUs of the one node. */
const GPUS = 2;

describe.skipIf(typeof programs === "string")(`${label}pods on a real cluster`, () => {
  const signal = new AbortController().signal;
  let cluster: KubernetesCluster;
  let namespace = "";
  let count = 0;
  beforeAll(async () => {
    if (typeof programs !== "string") cluster = await startKubernetes(programs);
    await cluster.addNode(
      "node-1",
      { "nvidia.com/gpu.product": "NVIDIA-A100", "topology.kubernetes.io/zone": "eu-1a" },
      GPUS,
    );
  });
  afterAll(() => cluster?.close());
  beforeEach(async () => {
    count += 1;
    namespace = `test-${count}`;
    await make("/api/v1/namespaces", "v1", "Namespace", { metadata: { name: namespace } });
    await until("its ServiceAccount is there", () =>
      cluster.api("GET", `/api/v1/namespaces/${namespace}/serviceaccounts/default`),
    );
    return async () => {
      await cluster.api("DELETE", `/api/v1/namespaces/${namespace}/pods`, {
        gracePeriodSeconds: 0,
      });
    };
  });

  const make = (path: string, apiVersion: string, kind: string, body: object): Promise<unknown> =>
    cluster.api("POST", path, { apiVersion, kind, ...body });
  const provider = (
    settings: object = {},
    user: keyof typeof CLUSTER_USERS = "admin",
  ): MachineProvider =>
    createKubernetesProvider({
      label: { fleet: "studio", pool: "a100" },
      settings: kubernetesSettingsSchema.parse({
        kubeconfig: cluster.kubeconfig(user),
        namespace,
        image: "registry.example.com/agent:1",
        gpuTypes: ["NVIDIA-A100"],
        ...settings,
      }),
      env: { OF_THE_POOL: "x" },
      envFiles: {},
      clock: systemClock,
    });
  const value = <T>(answer: Provided<T>): T => {
    if (answer.kind === "trouble") throw new Error(answer.trouble.message);
    return answer.value;
  };
  const create = async (of: MachineProvider, name: string): Promise<ProvidedMachine> =>
    value(await of.create({ name, offer: of.offers[0]!, env: { TOKEN: "s3cret" } }, signal));
  const listed = async (of: MachineProvider): Promise<readonly ProvidedMachine[]> =>
    value(await of.list(signal));
  const secrets = async (): Promise<readonly string[]> => {
    const { items = [] } = await cluster.api("GET", `/api/v1/namespaces/${namespace}/secrets`);
    return items.map(({ metadata }) => metadata.name);
  };
  /** Until a kubelet could have it run. */
  const run = (of: MachineProvider, name: string): Promise<ProvidedMachine> =>
    until(`${name} runs`, async () => {
      await cluster.playKubelets(namespace);
      return (await listed(of)).find((one) => one.name === name && one.state === "running");
    });

  it("a machine comes, runs and goes, and its Secret with it", async () => {
    const of = provider({ terminationGraceSec: 300 });
    expect(await create(of, "m-1")).toMatchObject({ ref: "m-1", state: "pending" });
    expect(await create(of, "m-1")).toMatchObject({ ref: "m-1" });
    expect(await run(of, "m-1")).toMatchObject({
      address: "10.1.2.3",
      reason: null,
      isUnplaced: false,
      offer: { gpuType: "NVIDIA-A100", zone: null, isSpot: false },
    });
    const path = `/api/v1/namespaces/${namespace}/secrets/m-1`;
    const { data } = (await cluster.api("GET", path)) as { readonly data?: unknown };
    expect(data).toMatchObject({
      OF_THE_POOL: Buffer.from("x").toString("base64"),
      TOKEN: Buffer.from("s3cret").toString("base64"),
    });
    value(await of.terminate("m-1", signal));
    expect(await listed(of)).toMatchObject([{ state: "ending" }]);
    const pod = await cluster.api("GET", `/api/v1/namespaces/${namespace}/pods/m-1`);
    expect(pod.metadata["deletionGracePeriodSeconds"]).toBe(300);
    await cluster.playKubelets(namespace);
    expect(await listed(of)).toEqual([]);
    value(await of.terminate("m-1", signal));
    await until("its Secret is gone", async () => (await secrets()).length === 0);
  });

  it("asked for many times at once it is one", async () => {
    const of = provider();
    await Promise.all(Array.from({ length: 8 }, () => create(of, "m-1")));
    expect(await listed(of)).toHaveLength(1);
    expect(await secrets()).toEqual(["m-1"]);
  });

  it("what does not fit on a node says so, and is unplaced after its time", async () => {
    const of = provider({ scheduleTimeoutSec: 2 });
    for (let index = 0; index < GPUS; index += 1) {
      await create(of, `m-${index}`);
      await run(of, `m-${index}`);
    }
    await create(of, "m-last");
    const last = (isUnplaced: boolean): Promise<ProvidedMachine> =>
      until(`the last one is ${isUnplaced ? "unplaced" : "told of"}`, async () =>
        (await listed(of)).find(
          (one) =>
            one.name === "m-last" &&
            one.isUnplaced === isUnplaced &&
            (one.reason ?? "").startsWith("Unschedulable"),
        ),
      );
    expect((await last(false)).reason).toContain("Insufficient nvidia.com/gpu");
    expect(await last(true)).toMatchObject({ state: "pending" });
  });

  it("a type of GPU that no node has is a place that there is not", async () => {
    const of = provider({ gpuTypes: ["NVIDIA-H100"], scheduleTimeoutSec: 1 });
    await create(of, "m-1");
    const found = await until("it is unplaced", async () =>
      (await listed(of)).find((one) => one.isUnplaced),
    );
    expect(found.reason).toContain("didn't match Pod's node affinity/selector");
  });

  it("a quota that is full is capacity", async () => {
    const hard = { "requests.nvidia.com/gpu": "1" };
    const quotas = `/api/v1/namespaces/${namespace}/resourcequotas`;
    await make(quotas, "v1", "ResourceQuota", { metadata: { name: "gpus" }, spec: { hard } });
    const of = provider();
    await until("the quota counts", async () => {
      const { status } = (await cluster.api("GET", `${quotas}/gpus`)) as {
        status?: { hard?: unknown };
      };
      return status?.hard !== undefined;
    });
    await create(of, "m-1");
    const offer = of.offers[0]!;
    expect(await of.create({ name: "m-2", offer, env: {} }, signal)).toMatchObject({
      kind: "trouble",
      trouble: { kind: "capacity", mayHaveHappened: false },
    });
    expect(value(await of.check(signal))).toEqual([]);
  });

  it("the Role of the documents is enough, and no Role is told", async () => {
    const nobody = provider({}, "nobody");
    expect(await nobody.check(signal)).toMatchObject({
      kind: "trouble",
      trouble: {
        kind: "unauthorized",
        message: `may not create pods, get pods, list pods, delete pods, create secrets in the namespace ${namespace}: give it a Role that can`,
      },
    });
    const offer = nobody.offers[0]!;
    for (const answer of [
      await nobody.list(signal),
      await nobody.create({ name: "m-0", offer, env: {} }, signal),
      await nobody.terminate("m-0", signal),
    ]) {
      expect(answer).toMatchObject({ kind: "trouble", trouble: { kind: "unauthorized" } });
    }
    const document = await readFile(new URL("../../docs/fleet-yaml.md", import.meta.url), "utf8");
    const role = parse(/```yaml\n(apiVersion: rbac[^`]+)```/.exec(document)?.[1] ?? "") as {
      readonly rules: object;
    };
    const group = "rbac.authorization.k8s.io";
    const path = `/apis/${group}/v1/namespaces/${namespace}`;
    const metadata = { name: "holdfast-fleet" };
    await make(`${path}/roles`, `${group}/v1`, "Role", { metadata, rules: role.rules });
    await make(`${path}/rolebindings`, `${group}/v1`, "RoleBinding", {
      metadata,
      roleRef: { apiGroup: group, kind: "Role", name: "holdfast-fleet" },
      subjects: [{ apiGroup: group, kind: "User", name: "fleet" }],
    });
    const of = provider({}, "fleet");
    await until("the Role is known", async () => (await of.check(signal)).kind === "ok");
    expect(value(await of.check(signal))).toEqual([]);
    await create(of, "m-1");
    await create(of, "m-1");
    await run(of, "m-1");
    value(await of.terminate("m-1", signal));
  });

  it.each([
    ["a namespace that is not there", { namespace: "nowhere" }, /^there is no namespace nowhere$/],
    ["a RuntimeClass that is not there", { runtimeClass: "nope" }, /RuntimeClass "nope" not found/],
    [
      "a ServiceAccount that is not there",
      { serviceAccount: "nope" },
      /serviceaccount "nope" not found/,
    ],
    [
      "two volumes in one place",
      {
        volumes: [
          { claim: "a", mountPath: "/x" },
          { claim: "b", mountPath: "/x" },
        ],
      },
      /mountPath: Invalid value: "\/x": must be unique/,
    ],
  ])("the cluster tells of %s without a pod being made", async (_, settings, words) => {
    const of = provider(settings);
    expect(value(await of.check(signal))).toEqual([expect.stringMatching(words)]);
    expect(await listed(of)).toEqual([]);
    const offer = of.offers[0]!;
    expect(await of.create({ name: "m-1", offer, env: {} }, signal)).toMatchObject({
      kind: "trouble",
      trouble: { kind: "invalid", mayHaveHappened: false },
    });
  });

  it("every setting makes a pod that the cluster takes", async () => {
    const of = provider({
      command: ["/agent"],
      args: ["--verbose"],
      imagePullPolicy: "IfNotPresent",
      imagePullSecrets: ["registry"],
      zones: ["eu-1a"],
      nodeSelector: { "kubernetes.io/hostname": "node-1" },
      tolerations: [
        { key: "gpu", operator: "Exists", effect: "NoExecute", tolerationSeconds: 60 },
        { operator: "Exists" },
      ],
      serviceAccount: "default",
      resources: { requests: { cpu: 0.5, memory: "1Gi" }, limits: { memory: "2Gi" } },
      volumes: [{ claim: "models", mountPath: "/models", subPath: "a/b", readOnly: true }],
      terminationGraceSec: 0,
    });
    expect(value(await of.check(signal))).toEqual([]);
    expect(await create(of, "m-1")).toMatchObject({
      offer: { gpuType: "NVIDIA-A100", zone: "eu-1a" },
    });
  });

  it("somebody else's pod is neither taken, told nor ended", async () => {
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const spec = { containers: [{ name: "theirs", image: "x" }] };
    await make(path, "v1", "Pod", { metadata: { name: "m-1" }, spec });
    const of = provider();
    const offer = of.offers[0]!;
    const invalid = { kind: "trouble", trouble: { kind: "invalid" } };
    expect(await of.create({ name: "m-1", offer, env: {} }, signal)).toMatchObject(invalid);
    expect(await of.terminate("m-1", signal)).toMatchObject(invalid);
    expect(await listed(of)).toEqual([]);
    const { metadata } = await cluster.api("GET", `${path}/m-1`);
    expect(metadata["deletionTimestamp"]).toBeUndefined();
  });

  it("a pod that has ended is told with its reason", async () => {
    const of = provider();
    await create(of, "m-1");
    await run(of, "m-1");
    const finishedAt = new Date().toISOString();
    const terminated = { exitCode: 137, reason: "OOMKilled", finishedAt, startedAt: finishedAt };
    const status = {
      phase: "Failed",
      containerStatuses: [
        {
          name: "agent",
          image: "x",
          imageID: "x",
          ready: false,
          restartCount: 0,
          state: { terminated },
        },
      ],
    };
    const path = `/api/v1/namespaces/${namespace}/pods/m-1/status`;
    await cluster.api("PATCH", path, { status });
    expect(await listed(of)).toMatchObject([
      { name: "m-1", state: "ended", reason: "OOMKilled: exit code 137", isUnplaced: false },
    ]);
    value(await of.terminate("m-1", signal));
    expect(await listed(of)).toEqual([]);
  });
});
