import { describe, expect, test } from "vitest";
import { isOurPod, offerOfPod, podOf, podSelector, secretOf } from "./pod-spec.ts";
import { kubernetesSettingsSchema } from "./settings.ts";

const LABEL = { fleet: "studio", pool: "a100" };
const ANY = { gpuType: null, zone: null, isSpot: false };
const settings = (more: object = {}) =>
  kubernetesSettingsSchema.parse({ image: "registry/agent:1", ...more });

describe("a pod", () => {
  test("of few settings", () => {
    expect(podOf({ name: "m-1", offer: ANY }, LABEL, settings())).toEqual({
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name: "m-1",
        namespace: "default",
        labels: {
          "app.kubernetes.io/managed-by": "holdfast",
          "holdfast.dev/fleet": "studio",
          "holdfast.dev/pool": "a100",
          "holdfast.dev/machine": "m-1",
        },
      },
      spec: {
        restartPolicy: "Never",
        containers: [
          {
            name: "agent",
            image: "registry/agent:1",
            envFrom: [{ secretRef: { name: "m-1" } }],
            resources: { requests: {}, limits: { "nvidia.com/gpu": "1" } },
            volumeMounts: [],
          },
        ],
        volumes: [],
        nodeSelector: {},
        tolerations: [],
        imagePullSecrets: [],
        terminationGracePeriodSeconds: 60,
        enableServiceLinks: false,
        // Without a ServiceAccount of its own it has no key of the cluster.
        automountServiceAccountToken: false,
      },
    });
  });

  test("of every setting", () => {
    const all = settings({
      namespace: "render",
      command: ["/agent"],
      args: ["--verbose"],
      imagePullPolicy: "Always",
      imagePullSecrets: ["registry"],
      gpus: 2,
      gpuResource: "nvidia.com/mig-3g.40gb",
      nodeSelector: { disk: "nvme" },
      tolerations: [{ key: "gpu", operator: "Exists" }],
      runtimeClass: "nvidia",
      serviceAccount: "agent",
      resources: { requests: { cpu: 4, memory: "16Gi" }, limits: { memory: "32Gi" } },
      terminationGraceSec: 300,
    });
    const pod = podOf({ name: "m-1", offer: ANY }, LABEL, all);
    expect(pod.metadata?.namespace).toBe("render");
    expect(pod.spec).toMatchObject({
      nodeSelector: { disk: "nvme" },
      tolerations: [{ key: "gpu", operator: "Exists" }],
      imagePullSecrets: [{ name: "registry" }],
      runtimeClassName: "nvidia",
      serviceAccountName: "agent",
      terminationGracePeriodSeconds: 300,
    });
    expect(pod.spec?.automountServiceAccountToken).toBeUndefined();
    expect(pod.spec?.containers[0]).toMatchObject({
      command: ["/agent"],
      args: ["--verbose"],
      imagePullPolicy: "Always",
      resources: {
        requests: { cpu: "4", memory: "16Gi" },
        limits: { memory: "32Gi", "nvidia.com/mig-3g.40gb": "2" },
      },
    });
  });

  test("has one volume a claim, however often it is mounted", () => {
    const volumes = [
      { claim: "models", mountPath: "/models", readOnly: true },
      { claim: "cache", mountPath: "/cache" },
      { claim: "models", mountPath: "/loras", subPath: "loras" },
    ];
    const { spec } = podOf({ name: "m-1", offer: ANY }, LABEL, settings({ volumes }));
    expect(spec?.volumes).toEqual([
      { name: "claim-0", persistentVolumeClaim: { claimName: "models" } },
      { name: "claim-1", persistentVolumeClaim: { claimName: "cache" } },
    ]);
    expect(spec?.containers[0]?.volumeMounts).toEqual([
      { name: "claim-0", mountPath: "/models", readOnly: true },
      { name: "claim-1", mountPath: "/cache", readOnly: false },
      { name: "claim-0", mountPath: "/loras", readOnly: false, subPath: "loras" },
    ]);
  });

  test("goes where its offer says, and tells it again", () => {
    const own = settings({ gpuTypeLabel: "gpu", nodeSelector: { disk: "nvme" } });
    const offer = { gpuType: "A100", zone: "eu-1a", isSpot: false };
    const pod = podOf({ name: "m-1", offer }, LABEL, own);
    expect(pod.spec?.nodeSelector).toEqual({
      disk: "nvme",
      gpu: "A100",
      "topology.kubernetes.io/zone": "eu-1a",
    });
    expect(offerOfPod(pod, own)).toEqual(offer);
    expect(offerOfPod(podOf({ name: "m-1", offer: ANY }, LABEL, own), own)).toEqual(ANY);
    expect(offerOfPod({}, own)).toEqual(ANY);
  });

  test("without GPUs asks for none", () => {
    const pod = podOf({ name: "m-1", offer: ANY }, LABEL, settings({ gpus: 0 }));
    expect(pod.spec?.containers[0]?.resources?.limits).toEqual({});
  });

  test("is ours by all its labels", () => {
    const pod = podOf({ name: "m-1", offer: ANY }, LABEL, settings());
    expect(isOurPod(pod, LABEL, "m-1")).toBe(true);
    expect(isOurPod(pod, LABEL, "m-2")).toBe(false);
    expect(isOurPod(pod, { ...LABEL, fleet: "other" }, "m-1")).toBe(false);
    expect(isOurPod(pod, { ...LABEL, pool: "other" }, "m-1")).toBe(false);
    expect(isOurPod({ metadata: { name: "m-1" } }, LABEL, "m-1")).toBe(false);
    expect(podSelector(LABEL)).toBe(
      "app.kubernetes.io/managed-by=holdfast,holdfast.dev/fleet=studio,holdfast.dev/pool=a100",
    );
  });
});

test("an environment goes with its pod", () => {
  const secret = secretOf({ name: "m-1", uid: "u-1" }, { TOKEN: "x" }, LABEL, settings());
  expect(secret).toMatchObject({
    metadata: {
      name: "m-1",
      ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: "m-1", uid: "u-1" }],
    },
    stringData: { TOKEN: "x" },
    immutable: true,
  });
});
