/** A real Kubernetes without nodes: its API server, scheduler and controllers, with kubelets played here. */
import { spawn, type ChildProcess } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { findPart, howToGet, type KubernetesPart } from "../../scripts/parts.mjs";
import { freePort, temporaryFolder, until } from "../support/processes.ts";

/** Output kept of each program, for the message of a failed test. */
const TAIL_CHARS = 4_000;
const START_LIMIT_MS = 120_000;
const STOP_LIMIT_MS = 10_000;
const PROGRAMS: readonly KubernetesPart[] = [
  "etcd",
  "kube-apiserver",
  "kube-scheduler",
  "kube-controller-manager",
];
/** Those that the tests lean on. Nodes are played, so nothing may judge them by their silence. */
const CONTROLLERS = ["garbage-collector", "namespace", "resourcequota", "serviceaccount"];

/** Users of the cluster, each with a token; all but the admin may do nothing until a test gives them a Role. */
export const CLUSTER_USERS = {
  admin: "token-of-admin",
  nobody: "token-of-nobody",
  fleet: "token-of-fleet",
} as const;

/** An object as the API tells of it. */
export type KubeObject = Readonly<Record<string, unknown>> & {
  readonly metadata: Readonly<Record<string, unknown>> & { readonly name: string };
};

/** A cluster that runs. */
export interface KubernetesCluster {
  /** File that says where it is, for one of its users. */
  kubeconfig(user: keyof typeof CLUSTER_USERS): string;
  /** Asks the API as the admin, without the client that is tested; rejects when it refuses. */
  api(method: string, path: string, body?: object): Promise<KubeObject & { items?: KubeObject[] }>;
  /** A node that is ready, with GPUs. */
  addNode(name: string, labels: Readonly<Record<string, string>>, gpus: number): Promise<void>;
  /** What kubelets do: pods that have a node run, those that are to go are gone. */
  playKubelets(namespace: string): Promise<void>;
  close(): Promise<void>;
}

/** The paths of all programs; or which is missing, and how to get it. */
export function findKubernetes(): Readonly<Record<KubernetesPart, string>> | string {
  const found = new Map(PROGRAMS.map((name) => [name, findPart(name)]));
  const missing = PROGRAMS.filter((name) => found.get(name) === undefined);
  if (missing.length > 0) {
    return `without ${missing.join(", ")}: ${missing.map((name) => howToGet(name)).join("; ")}`;
  }
  return Object.fromEntries(found) as Readonly<Record<KubernetesPart, string>>;
}

/** Starts all of it on loopback. Rejects with the last words of what does not come up. */
export async function startKubernetes(
  programs: Readonly<Record<KubernetesPart, string>>,
): Promise<KubernetesCluster> {
  const folder = await temporaryFolder();
  const running: Program[] = [];
  const start = (name: KubernetesPart, args: readonly string[]): Program => {
    const program = startProgram(programs[name], args, folder.path);
    running.push(program);
    return program;
  };
  const close = async (): Promise<void> => {
    // The last one started needs those before it.
    for (const program of running.reverse()) await program.stop();
    await folder.remove();
  };
  try {
    const [etcdPort, peerPort, port = 0, schedulerPort, managerPort] = await Promise.all(
      Array.from({ length: 5 }, () => freePort()),
    );
    const etcd = `http://127.0.0.1:${etcdPort}`;
    const peer = `http://127.0.0.1:${peerPort}`;
    start("etcd", etcdArgs(join(folder.path, "etcd"), etcd, peer));
    const files = await writeKeys(folder.path);
    const server = `https://127.0.0.1:${port}`;
    const apiserver = start("kube-apiserver", apiserverArgs(files, etcd, port));
    const api = apiOf(server);
    await until(
      "the API server is ready",
      async () => (await api("GET", "/readyz")) !== undefined,
      START_LIMIT_MS,
    ).catch((error: unknown) => {
      throw new Error(apiserver.tail(), { cause: error });
    });
    const kubeconfig = (user: string): string => join(folder.path, `${user}.kubeconfig`);
    const ca = await readFile(join(files.certificates, "apiserver.crt"));
    for (const [user, token] of Object.entries(CLUSTER_USERS)) {
      await writeFile(kubeconfig(user), JSON.stringify(kubeconfigOf(server, ca, token)));
    }
    const withAdmin = [`--kubeconfig=${kubeconfig("admin")}`, "--leader-elect=false"];
    const local = ["--bind-address=127.0.0.1"];
    start("kube-scheduler", [...withAdmin, ...local, `--secure-port=${schedulerPort}`]);
    start("kube-controller-manager", [
      ...withAdmin,
      ...local,
      `--secure-port=${managerPort}`,
      `--controllers=${CONTROLLERS.map((name) => `${name}-controller`).join(",")}`,
      `--service-account-private-key-file=${files.signingKey}`,
    ]);
    await until(
      "the ServiceAccount of the namespace default is made",
      () => api("GET", "/api/v1/namespaces/default/serviceaccounts/default"),
      START_LIMIT_MS,
    );
    return {
      kubeconfig,
      api,
      addNode: (name, labels, gpus) => addNode(api, name, labels, gpus),
      playKubelets: (namespace) => playKubelets(api, namespace),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

interface Program {
  stop(): Promise<void>;
  tail(): string;
}

function startProgram(path: string, args: readonly string[], home: string): Program {
  const child: ChildProcess = spawn(path, args, {
    env: { PATH: process.env["PATH"] ?? "", HOME: home },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let tail = "";
  const keep = (text: string): void => {
    tail = (tail + text).slice(-TAIL_CHARS);
  };
  child.stdout?.on("data", (chunk: Buffer) => keep(chunk.toString("utf8")));
  child.stderr?.on("data", (chunk: Buffer) => keep(chunk.toString("utf8")));
  const ended = new Promise((resolve) => {
    child.once("exit", resolve);
    child.once("error", (error) => {
      keep(String(error));
      resolve(undefined);
    });
  });
  return {
    tail: () => `${path} ${args.join(" ")}:\n${tail}`,
    async stop() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}

function etcdArgs(data: string, client: string, peer: string): readonly string[] {
  return [
    `--data-dir=${data}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
    "--unsafe-no-fsync",
  ];
}

interface KeyFiles {
  readonly certificates: string;
  readonly tokens: string;
  readonly signingKey: string;
  readonly publicKey: string;
}

async function writeKeys(folder: string): Promise<KeyFiles> {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const files = {
    certificates: join(folder, "certificates"),
    tokens: join(folder, "tokens.csv"),
    signingKey: join(folder, "sa.key"),
    publicKey: join(folder, "sa.pub"),
  };
  await writeFile(files.signingKey, privateKey.export({ type: "pkcs1", format: "pem" }));
  await writeFile(files.publicKey, publicKey.export({ type: "spki", format: "pem" }));
  const lines = Object.entries(CLUSTER_USERS).map(([user, token]) =>
    [token, user, user, ...(user === "admin" ? ['"system:masters"'] : [])].join(","),
  );
  await writeFile(files.tokens, `${lines.join("\n")}\n`);
  return files;
}

function apiserverArgs(files: KeyFiles, etcd: string, port: number): readonly string[] {
  return [
    `--etcd-servers=${etcd}`,
    `--cert-dir=${files.certificates}`,
    `--token-auth-file=${files.tokens}`,
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-key-file=${files.publicKey}`,
    `--service-account-signing-key-file=${files.signingKey}`,
    "--authorization-mode=RBAC",
    "--bind-address=127.0.0.1",
    "--advertise-address=127.0.0.1",
    "--endpoint-reconciler-type=none",
    `--secure-port=${port}`,
    "--service-cluster-ip-range=10.0.0.0/24",
    // Nodes of these tests are ready as soon as they are there.
    "--disable-admission-plugins=TaintNodesByCondition",
  ];
}

function kubeconfigOf(server: string, ca: Buffer, token: string): object {
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      { name: "c", cluster: { server, "certificate-authority-data": ca.toString("base64") } },
    ],
    users: [{ name: "u", user: { token } }],
    contexts: [{ name: "main", context: { cluster: "c", user: "u" } }],
    "current-context": "main",
  };
}

function apiOf(server: string): KubernetesCluster["api"] {
  return (method, path, body) =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? "" : JSON.stringify(body);
      const sent = request(
        `${server}${path}`,
        {
          method,
          // The certificate is made by the server itself; the provider's own calls do check it.
          rejectUnauthorized: false,
          headers: {
            authorization: `Bearer ${CLUSTER_USERS.admin}`,
            "content-type":
              method === "PATCH" ? "application/merge-patch+json" : "application/json",
            "content-length": Buffer.byteLength(text),
          },
        },
        (response) => {
          let answer = "";
          response.setEncoding("utf8");
          response.on("data", (chunk: string) => (answer += chunk));
          response.on("error", reject);
          response.on("end", () => {
            const status = response.statusCode ?? 0;
            if (status >= 300) reject(new Error(`${method} ${path}: ${status} ${answer}`));
            else
              resolve(answer.startsWith("{") ? JSON.parse(answer) : { metadata: { name: answer } });
          });
        },
      );
      sent.on("error", reject);
      sent.end(text);
    });
}

async function addNode(
  api: KubernetesCluster["api"],
  name: string,
  labels: Readonly<Record<string, string>>,
  gpus: number,
): Promise<void> {
  const capacity = { cpu: "16", memory: "64Gi", pods: "50", "nvidia.com/gpu": String(gpus) };
  const conditions = [{ type: "Ready", status: "True", reason: "Played", message: "by a test" }];
  await api("POST", "/api/v1/nodes", {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels: { "kubernetes.io/hostname": name, ...labels } },
  });
  await api("PATCH", `/api/v1/nodes/${name}/status`, {
    status: { capacity, allocatable: capacity, conditions },
  });
}

async function playKubelets(api: KubernetesCluster["api"], namespace: string): Promise<void> {
  const path = `/api/v1/namespaces/${namespace}/pods`;
  const { items = [] } = await api("GET", path);
  for (const pod of items) {
    const { name, deletionTimestamp } = pod.metadata;
    const { nodeName } = pod["spec"] as { readonly nodeName?: string };
    const { phase } = pod["status"] as { readonly phase?: string };
    if (deletionTimestamp !== undefined) {
      await api("DELETE", `${path}/${name}`, { gracePeriodSeconds: 0 });
    } else if (nodeName !== undefined && phase === "Pending") {
      const running = { running: { startedAt: new Date().toISOString() } };
      await api("PATCH", `${path}/${name}/status`, {
        status: {
          phase: "Running",
          podIP: "10.1.2.3",
          containerStatuses: [
            {
              name: "agent",
              image: "x",
              imageID: "x",
              ready: true,
              restartCount: 0,
              state: running,
            },
          ],
        },
      });
    }
  }
}
