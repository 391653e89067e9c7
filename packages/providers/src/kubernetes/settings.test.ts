import { describe, expect, test } from "vitest";
import { kubernetesSettingsSchema } from "./settings.ts";

const read = (more: object) => kubernetesSettingsSchema.safeParse({ image: "x", ...more });
const problems = (more: object): readonly string[] =>
  read(more).error?.issues.map(({ path, message }) => `${path.join(".")}: ${message}`) ?? [];

describe("settings of pods", () => {
  test("need an image and nothing else", () => {
    expect(read({}).data).toMatchObject({
      namespace: "default",
      gpus: 1,
      gpuResource: "nvidia.com/gpu",
      gpuTypeLabel: "nvidia.com/gpu.product",
      terminationGraceSec: 60,
      scheduleTimeoutSec: 120,
      keepEndedSec: 3_600,
      resources: { requests: {}, limits: {} },
    });
    expect(problems({ image: undefined })).toHaveLength(1);
  });

  test("take amounts as numbers or as Kubernetes writes them", () => {
    const resources = { requests: { cpu: 4, memory: "16Gi" }, limits: { cpu: 0.5 } };
    expect(read({ resources }).data?.resources).toEqual({
      requests: { cpu: "4", memory: "16Gi" },
      limits: { cpu: "0.5" },
    });
    expect(problems({ resources: { requests: { memory: "16 GB" } } })).toHaveLength(1);
    expect(problems({ resources: { requests: { memory: -1 } } })).toHaveLength(1);
  });

  test.each([
    ["context", { context: "prod" }],
    ["resources", { resources: { limits: { "nvidia.com/gpu": 1 } } }],
    ["resources", { resources: { requests: { gpu: 1 } }, gpuResource: "gpu" }],
    ["nodeSelector", { nodeSelector: { "nvidia.com/gpu.product": "A" }, gpuTypes: ["B"] }],
    ["nodeSelector", { nodeSelector: { "topology.kubernetes.io/zone": "a" }, zones: ["b"] }],
  ])("that contradict each other are refused at %s", (path, more) => {
    expect(problems(more)).toEqual([expect.stringMatching(new RegExp(`^${path}: expected `))]);
  });

  test("may name a type or a zone themselves where the pool names none", () => {
    const nodeSelector = { "nvidia.com/gpu.product": "A", "topology.kubernetes.io/zone": "a" };
    expect(problems({ nodeSelector })).toEqual([]);
  });

  test.each([
    ["namespace", { namespace: "Render" }],
    ["gpuTypes.0", { gpuTypes: ["NVIDIA A100 80GB"] }],
    ["volumes.0.mountPath", { volumes: [{ claim: "c", mountPath: "models" }] }],
    ["tolerations.0.operator", { tolerations: [{ operator: "exists" }] }],
    ["terminationGraceSec", { terminationGraceSec: -1 }],
    ["gpus", { gpus: 1.5 }],
  ])("refuse what the cluster would: %s", (path, more) => {
    expect(problems(more)).toEqual([expect.stringMatching(new RegExp(`^${path}: `))]);
  });

  test("are told of everything at once", () => {
    expect(problems({ image: undefined, context: "prod", gpus: -1 })).toHaveLength(3);
  });
});
