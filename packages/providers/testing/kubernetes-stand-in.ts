/**
 * A stand-in for a Kubernetes API server: a real HTTP server that keeps pods and Secrets of namespaces,
 * and answers in the words of kube-apiserver 1.36.3. Its refusals were taken from that server (see
 * `test/parts/kubernetes.test.ts`, which runs the provider against it). There is no scheduler and no
 * kubelet in it: tests say what becomes of a pod.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "@holdfast/runtime";
import {
  answer,
  keptCluster,
  keyOf,
  playKubelets,
  status,
  type HeardRequest,
  type KeptCluster,
  type KeptObject,
  type Reply,
} from "./kubernetes-objects.ts";

/** What a request meets instead of an answer. `isHeard`: it is carried out, and its answer is lost. */
export type StandInFault =
  | {
      readonly kind: "answer";
      readonly status: number;
      /** A `Status` is made from a message; a whole body stands for itself. */
      readonly message?: string;
      readonly reason?: string;
      readonly body?: string;
      readonly headers?: Readonly<Record<string, string>>;
      readonly isHeard?: boolean;
    }
  | { readonly kind: "reset" | "silence"; readonly isHeard: boolean };

/** See the head of this file. */
export interface KubernetesStandIn {
  readonly url: string;
  /** What is in it, and its rules. */
  readonly cluster: KeptCluster;
  /** Every request with a good key, in order. */
  readonly requests: readonly HeardRequest[];
  /** What a request meets; undefined: the usual. */
  fault: (request: HeardRequest) => StandInFault | undefined;
  /** Of the namespace `default`. */
  pod(name: string): KeptObject | undefined;
  secret(name: string): KeptObject | undefined;
  /** Puts somebody else's pod there. */
  put(name: string, labels: Readonly<Record<string, string>>): void;
  /** As a scheduler and a kubelet would write it. */
  setStatus(name: string, status: Record<string, unknown>, nodeName?: string): void;
  playKubelets(): void;
  /** Nobody listens any more, until `resume`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  close(): Promise<void>;
}

/** Starts one on a free port of this host. */
export async function startKubernetesStandIn(options: {
  readonly token: string;
  readonly clock: Clock;
}): Promise<KubernetesStandIn> {
  const { token, clock } = options;
  const cluster = keptCluster(clock);
  const requests: HeardRequest[] = [];
  const find = (resource: string, name: string): KeptObject | undefined =>
    cluster.objects.get(keyOf(resource, "default", name));
  const onRequest = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const request = await requestOf(incoming);
    if (incoming.headers.authorization !== `Bearer ${token}`) {
      send(response, status(401, "Unauthorized", "Unauthorized"), clock);
      return;
    }
    requests.push(request);
    const fault = standIn.fault(request);
    if (fault === undefined) send(response, answer(cluster, request), clock);
    else meet(fault, () => answer(cluster, request), response, clock);
  };
  let server = await listen(onRequest, 0);
  const { port } = server.address() as AddressInfo;
  const standIn: KubernetesStandIn = {
    url: `http://127.0.0.1:${port}`,
    cluster,
    requests,
    fault: () => undefined,
    pod: (name) => find("pods", name),
    secret: (name) => find("secrets", name),
    put(name, labels) {
      const spec = { containers: [{ name: "theirs", image: "x" }] };
      answer(cluster, {
        method: "POST",
        path: "/api/v1/namespaces/default/pods",
        query: new URLSearchParams(),
        headers: {},
        body: { metadata: { name, labels }, spec },
      });
    },
    setStatus(name, next, nodeName) {
      const kept = find("pods", name)!;
      kept.status = { ...next };
      if (nodeName !== undefined) kept.spec = { ...kept.spec, nodeName };
    },
    playKubelets: () => playKubelets(cluster),
    pause: () => stop(server),
    async resume() {
      server = await listen(onRequest, port);
    },
    close: () => stop(server),
  };
  return standIn;
}

/** Has a fault happen; `carryOut` does what was asked. */
function meet(
  fault: StandInFault,
  carryOut: () => void,
  response: ServerResponse,
  clock: Clock,
): void {
  if (fault.isHeard === true) carryOut();
  switch (fault.kind) {
    case "reset":
      response.socket?.destroy();
      return;
    case "silence":
      return;
    case "answer": {
      const { message = "", reason = "", headers = {}, body } = fault;
      const reply =
        body === undefined ? status(fault.status, reason, message) : { status: fault.status, body };
      send(response, { ...reply, headers }, clock);
    }
  }
}

async function listen(
  onRequest: (incoming: IncomingMessage, response: ServerResponse) => Promise<void>,
  port: number,
): Promise<Server> {
  const server = createServer((incoming, response) => void onRequest(incoming, response));
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

async function requestOf(incoming: IncomingMessage): Promise<HeardRequest> {
  const url = new URL(incoming.url ?? "/", "http://stand-in");
  const chunks: Buffer[] = [];
  for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString("utf8");
  return {
    method: incoming.method ?? "GET",
    path: url.pathname,
    query: url.searchParams,
    headers: incoming.headers,
    body: text === "" ? undefined : JSON.parse(text),
  };
}

function send(response: ServerResponse, reply: Reply, clock: Clock): void {
  response.sendDate = false;
  response.writeHead(reply.status, {
    "content-type": "application/json",
    date: new Date(clock.now()).toUTCString(),
    ...reply.headers,
  });
  response.end(reply.body);
}
