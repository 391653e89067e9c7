/** A provider of pods over a stand-in of a cluster, on one fake clock. */
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createKubernetesProvider } from "../src/kubernetes/kubernetes-provider.ts";
import { kubernetesSettingsSchema } from "../src/kubernetes/settings.ts";
import type { FleetLabel } from "../src/label.ts";
import type { PoolEnvironment } from "../src/pool-environment.ts";
import type { MachineProvider } from "../src/port.ts";
import { CONTRACT_RETRY_AFTER_MS, type ContractFault } from "./provider-contract.ts";
import {
  startKubernetesStandIn,
  type KubernetesStandIn,
  type StandInFault,
} from "./kubernetes-stand-in.ts";

/** The key that the stand-in takes. */
export const WORLD_TOKEN = "token-of-the-world";
/** A silent server is given up after so long, by the real clock. */
const REQUEST_TIMEOUT_MS = 1_500;
const HUGE_BYTES = 33 * 1024 * 1024;

/** See the head of this file. */
export interface KubernetesWorld {
  readonly standIn: KubernetesStandIn;
  readonly clock: FakeClock;
  readonly folder: string;
  /** A provider as another control plane would make it. */
  provider(
    label: FleetLabel,
    settings?: Readonly<Record<string, unknown>>,
    environment?: Partial<PoolEnvironment>,
  ): MachineProvider;
  /** A kubeconfig for the stand-in; the path of its file. */
  kubeconfig(token?: string, url?: string): Promise<string>;
  /** What calls run into from now on: the one that makes a machine, or those that list and end. */
  fail(fault: ContractFault, calls: "create" | "list_and_end"): Promise<void>;
  heal(): Promise<void>;
  /** Lets time pass; pods run and end meanwhile. */
  pass(ms: number): Promise<void>;
  /** Texts that no message may hold. */
  readonly secrets: readonly string[];
  close(): Promise<void>;
}

/** Opens one. */
export async function openKubernetesWorld(): Promise<KubernetesWorld> {
  const clock = createFakeClock();
  const standIn = await startKubernetesStandIn({ token: WORLD_TOKEN, clock });
  const folder = await mkdtemp(join(tmpdir(), "hf-kubernetes-"));
  let files = 0;
  const kubeconfig = async (token = WORLD_TOKEN, url = standIn.url): Promise<string> => {
    files += 1;
    const path = join(folder, `kubeconfig-${files}`);
    await writeFile(path, JSON.stringify(kubeconfigOf(url, token)));
    return path;
  };
  const usual = await kubeconfig();
  let isRefusing = false;
  return {
    standIn,
    clock,
    folder,
    kubeconfig,
    secrets: [WORLD_TOKEN, "value-of-the-pool"],
    provider(label, settings = {}, environment = {}) {
      const given = {
        kubeconfig: usual,
        image: "registry/agent:1",
        gpuTypes: ["NVIDIA-A100-SXM4-80GB", "NVIDIA-L40S"],
        zones: ["eu-1a", "eu-1b"],
        ...settings,
      };
      return createKubernetesProvider({
        label,
        settings: kubernetesSettingsSchema.parse(given),
        env: { POOL_SECRET: "value-of-the-pool" },
        envFiles: {},
        ...environment,
        clock,
        requestTimeoutMs: REQUEST_TIMEOUT_MS,
      });
    },
    async fail(fault, calls) {
      if (fault === "refused") {
        isRefusing = true;
        await standIn.pause();
        return;
      }
      const met = faultOf(fault);
      standIn.fault = ({ method, path }) =>
        (method === "POST") === (calls === "create") && path.includes("/pods") ? met : undefined;
    },
    async heal() {
      standIn.fault = () => undefined;
      if (isRefusing) await standIn.resume();
      isRefusing = false;
    },
    async pass(ms) {
      await clock.advance(ms);
      standIn.playKubelets();
    },
    async close() {
      await standIn.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function kubeconfigOf(server: string, token: string): object {
  return {
    apiVersion: "v1",
    kind: "Config",
    // The client refuses plain http unless it is told not to look at certificates.
    clusters: [{ name: "c", cluster: { server, "insecure-skip-tls-verify": true } }],
    users: [{ name: "u", user: { token } }],
    contexts: [{ name: "main", context: { cluster: "c", user: "u" } }],
    "current-context": "main",
  };
}

/** What the stand-in does for a fault; words are those of kube-apiserver 1.36.3. */
function faultOf(fault: Exclude<ContractFault, "refused">): StandInFault {
  switch (fault) {
    case "capacity":
      return refusal(
        403,
        "Forbidden",
        'pods "m-1" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=4',
      );
    case "rate_limited":
      return {
        ...refusal(429, "TooManyRequests", "too many requests, please try again later"),
        headers: { "retry-after": String(CONTRACT_RETRY_AFTER_MS / 1_000) },
      };
    case "unauthorized":
      return refusal(401, "Unauthorized", "Unauthorized");
    case "invalid":
      return refusal(
        422,
        "Invalid",
        'Pod "m-1" is invalid: spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique',
      );
    case "server_error":
      return {
        kind: "answer",
        status: 502,
        body: "<html>Bad Gateway</html>",
        headers: { "content-type": "text/html" },
      };
    case "reset_unheard":
      return { kind: "reset", isHeard: false };
    case "reset_heard":
      return { kind: "reset", isHeard: true };
    case "silent_heard":
      return { kind: "silence", isHeard: true };
    case "broken_json_heard":
      return { kind: "answer", status: 201, body: '{"kind": "Pod', isHeard: true };
    case "huge_body_heard":
      return { kind: "answer", status: 201, body: "x".repeat(HUGE_BYTES), isHeard: true };
  }
}

function refusal(
  status: number,
  reason: string,
  message: string,
): Extract<StandInFault, { readonly kind: "answer" }> {
  return { kind: "answer", status, reason, message };
}
