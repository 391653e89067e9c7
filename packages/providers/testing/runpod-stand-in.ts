/**
 * A stand-in for RunPod's API, version 2, made from its description (see `src/runpod/provider.ts`): a
 * real HTTP server that keeps pods, refuses what the description refuses, and has faults on command.
 * It is trusted as far as the description is: nothing of it was compared with RunPod itself.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "@holdfast/runtime";

/** A pod as the stand-in keeps it. */
export interface StandInPod {
  readonly id: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly createdAt: number;
  /** As set by a test; null: as its age says. */
  status: string | null;
}

/** Which calls a fault meets. */
export type StandInCall = "create" | "list" | "get" | "delete" | "catalog";

/** What goes wrong. `isHeard`: the call is carried out, and only its answer is lost. */
export type StandInFault =
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly body: string;
      readonly headers?: Readonly<Record<string, string>>;
      readonly isHeard?: boolean;
    }
  | { readonly kind: "reset"; readonly isHeard: boolean }
  /** No answer ever; `heard` is called when the request has been read. */
  | { readonly kind: "silence"; readonly isHeard: boolean; readonly heard: () => void };

/** See the head of this file. */
export interface RunpodStandIn {
  readonly baseUrl: string;
  /** All that were made and not ended, also those that the list does not show yet. */
  readonly pods: ReadonlyMap<string, StandInPod>;
  /** Method, path and body of every request with a good key, in order. */
  readonly requests: readonly {
    readonly method: string;
    readonly path: string;
    readonly body: string;
  }[];
  /** What every call of these kinds meets from now on. */
  fail(calls: readonly StandInCall[], fault: StandInFault): void;
  heal(): void;
  /** Nobody listens any more, until `resume`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** GPU types of which none is to be had. */
  readonly soldOut: Set<string>;
  /** How long the list does not show a new pod, which is there by its id at once. */
  listLagMs: number;
  /** Most pods of a page, whatever was asked for. */
  pageMax: number;
  close(): Promise<void>;
}

/** What is in the catalog. */
export const STAND_IN_CATALOG = {
  gpus: [
    gpu("NVIDIA GeForce RTX 4090", { secure: 8, community: 4 }),
    gpu("NVIDIA A100 80GB PCIe", { secure: 8, community: 0 }),
    gpu("NVIDIA L40S", { secure: 8, community: 2 }),
  ],
  dataCenters: [{ id: "EU-RO-1" }, { id: "US-KS-2" }],
  volumes: new Map([["vol1", "US-KS-2"]]),
} as const;

function gpu(id: string, maxCount: { secure: number; community: number }) {
  const { secure, community } = maxCount;
  return { id, secure: secure > 0, community: community > 0, maxCount, price: { secure: 0.44 } };
}

/** Milliseconds after which a pod is in the next state. */
const STARTING_AFTER_MS = 5_000;
const RUNNING_AFTER_MS = 10_000;

const CREATE_KEYS = new Set(
  "name image templateId registry cloud gpu cpu dataCenterIds disk mounts ports env cmd entrypoint args globalNetworking startSsh startJupyter".split(
    " ",
  ),
);
const GPU_KEYS = new Set(
  "id count minVcpuCountPerGpu minRamPerGpu minCudaVersion allowedCudaVersions".split(" "),
);

/** Starts one on a free port of this host. */
export async function startRunpodStandIn(options: {
  readonly apiKey: string;
  readonly clock: Clock;
}): Promise<RunpodStandIn> {
  const { apiKey, clock } = options;
  const knobs: Knobs = { listLagMs: 0, pageMax: 1_000 };
  const { pods, soldOut, answer } = openAccount(clock, knobs);
  const requests: { method: string; path: string; body: string }[] = [];
  const faults = new Map<StandInCall, StandInFault>();

  const onRequest = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://stand-in");
    const method = request.method ?? "GET";
    request.setEncoding("utf8");
    let body = "";
    for await (const chunk of request) body += chunk as string;
    const fault = faults.get(callOf(method, url));
    if (request.headers.authorization !== `Bearer ${apiKey}`) {
      reply(response, problem(401, "Unauthorized", "invalid bearer token"));
      return;
    }
    requests.push({ method, path: `${url.pathname}${url.search}`, body });
    if (fault === undefined) {
      reply(response, answer(method, url, body));
      return;
    }
    if (fault.isHeard === true) answer(method, url, body);
    switch (fault.kind) {
      case "answer":
        reply(response, { headers: {}, ...fault });
        return;
      case "reset":
        request.socket.destroy();
        return;
      case "silence":
        fault.heard();
        return;
    }
  };

  const server = createServer((request, response) => {
    onRequest(request, response).catch(() => request.socket.destroy());
  });
  const listen = (at: number): Promise<void> =>
    new Promise((resolve) => server.listen(at, "127.0.0.1", resolve));
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  await listen(0);
  const { port } = server.address() as AddressInfo;
  return Object.assign(knobs, {
    baseUrl: `http://127.0.0.1:${port}/v2`,
    pods,
    requests,
    soldOut,
    fail: (calls: readonly StandInCall[], fault: StandInFault) =>
      calls.forEach((call) => faults.set(call, fault)),
    heal: () => faults.clear(),
    pause: stop,
    resume: () => listen(port),
    close: stop,
  });
}

/** What a test may turn while the stand-in runs. */
interface Knobs {
  listLagMs: number;
  pageMax: number;
}

/** The account: its pods, and what it answers. */
interface Account {
  readonly pods: Map<string, StandInPod>;
  readonly soldOut: Set<string>;
  readonly answer: (method: string, url: URL, body: string) => Reply;
}

function openAccount(clock: Clock, knobs: Knobs): Account {
  const pods = new Map<string, StandInPod>();
  const soldOut = new Set<string>();
  let made = 0;

  const answer = (method: string, url: URL, body: string): Reply => {
    const [, , resource, id] = url.pathname.split("/");
    if (resource === "catalog") return catalog(id);
    if (resource === "network-volumes") return volume(id);
    if (resource !== "pods") return problem(404, "Not Found", "no such path");
    if (id === undefined) return method === "POST" ? create(body) : list(url);
    const pod = pods.get(id);
    if (pod === undefined) return problem(404, "Not Found", "pod not found");
    if (method === "DELETE") {
      pods.delete(id);
      return { status: 204, body: "" };
    }
    return json(200, shown(pod, clock));
  };

  const isHidden = (pod: StandInPod): boolean => clock.now() - pod.createdAt < knobs.listLagMs;

  const create = (body: string): Reply => {
    if (Buffer.byteLength(body) > 102_400) return problem(413, "Too Large", "body too large");
    const wanted = JSON.parse(body) as Record<string, unknown>;
    const errors = createErrors(wanted);
    if (errors.length > 0) {
      return problem(422, "Unprocessable Entity", "Request validation failed.", errors);
    }
    const { id: gpuType } = wanted["gpu"] as { id: string };
    if (!STAND_IN_CATALOG.gpus.some((one) => one.id === gpuType)) {
      return problem(400, "Bad Request", `unknown GPU type ${gpuType}`);
    }
    if (soldOut.has(gpuType)) return problem(400, "Bad Request", NO_ROOM);
    made += 1;
    const pod = { id: `pod${made}x`, body: wanted, createdAt: clock.now(), status: null };
    pods.set(pod.id, pod);
    return json(201, shown(pod, clock));
  };

  const list = (url: URL): Reply => {
    const limit = Math.min(knobs.pageMax, Number(url.searchParams.get("limit") ?? 1_000));
    const from = Number(url.searchParams.get("cursor")?.replace(/^c/, "") ?? 0);
    const all = [...pods.values()].filter((pod) => !isHidden(pod));
    const hasNextPage = from + limit < all.length;
    const pagination = { nextCursor: hasNextPage ? `c${from + limit}` : null, hasNextPage };
    return json(200, {
      pods: all.slice(from, from + limit).map((pod) => shown(pod, clock)),
      pagination,
    });
  };

  return { pods, soldOut, answer };
}

/** A pod as its API shows it. */
function shown(pod: StandInPod, clock: Clock): Record<string, unknown> {
  const age = clock.now() - pod.createdAt;
  const status =
    pod.status ??
    (age >= RUNNING_AFTER_MS ? "RUNNING" : age >= STARTING_AFTER_MS ? "STARTING" : "PROVISIONING");
  const isRunning = status === "RUNNING";
  const ports = (pod.body["ports"] ?? []) as readonly string[];
  const dataCenters = (pod.body["dataCenterIds"] ?? []) as readonly string[];
  return {
    id: pod.id,
    name: pod.body["name"],
    image: pod.body["image"] ?? "from/template",
    status,
    gpu: pod.body["gpu"],
    env: pod.body["env"] ?? {},
    cloud: pod.body["cloud"] ?? "SECURE",
    dataCenterId: dataCenters[0] ?? "US-KS-2",
    cost: status === "EXITED" || status === "TERMINATED" ? 0 : 0.44,
    runtime: isRunning ? { uptime: 1, ports: ports.map(publicPort) } : null,
    createdAt: new Date(pod.createdAt).toISOString(),
    startedAt: null,
  };
}

/** That there is no room, as RunPod says it. */
export const NO_ROOM =
  "There are no longer any instances available with the requested specifications. Please refresh and try again.";

interface Reply {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

function reply(response: ServerResponse, { status, body, headers }: Reply): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
}

function json(status: number, value: unknown): Reply {
  return { status, body: JSON.stringify(value) };
}

function problem(status: number, title: string, detail: string, errors?: readonly string[]): Reply {
  return json(status, { title, status, detail, ...(errors === undefined ? {} : { errors }) });
}

function callOf(method: string, { pathname }: URL): StandInCall {
  const [, , resource, id] = pathname.split("/");
  if (resource !== "pods") return "catalog";
  if (method === "POST") return "create";
  if (method === "DELETE") return "delete";
  return id === undefined ? "list" : "get";
}

function catalog(which: string | undefined): Reply {
  const { gpus, dataCenters } = STAND_IN_CATALOG;
  if (which === "gpus") return json(200, { gpus });
  if (which === "datacenters") return json(200, { dataCenters });
  return problem(404, "Not Found", "no such catalog");
}

function volume(id: string | undefined): Reply {
  const dataCenter = STAND_IN_CATALOG.volumes.get(id ?? "");
  if (dataCenter === undefined) return problem(404, "Not Found", "network volume not found");
  return json(200, { id, dataCenter, size: 100 });
}

/** What the description calls a violation of the contract. */
function createErrors(body: Readonly<Record<string, unknown>>): string[] {
  const errors = Object.keys(body)
    .filter((key) => !CREATE_KEYS.has(key))
    .map((key) => `$: additional properties '${key}' not allowed`);
  if (typeof body["name"] !== "string" || body["name"] === "")
    errors.push("$: missing property 'name'");
  if (body["image"] === undefined && body["templateId"] === undefined) {
    errors.push("$: missing property 'image'");
  }
  const wanted = body["gpu"];
  if (typeof wanted !== "object" || wanted === null)
    return [...errors, "$: missing property 'gpu'"];
  for (const key of Object.keys(wanted)) {
    if (!GPU_KEYS.has(key)) errors.push(`$.gpu: additional properties '${key}' not allowed`);
  }
  const { persistent, network } = (body["mounts"] ?? {}) as Record<string, unknown>;
  if (persistent !== undefined && network !== undefined) errors.push("$.mounts: one of them");
  return errors;
}

function publicPort(port: string): Record<string, unknown> {
  const [number, type] = port.split("/");
  const isTcp = type === "tcp";
  return {
    private: Number(number),
    public: isTcp ? 34_446 : Number(number) + 50_000,
    type,
    ip: isTcp ? "195.26.233.3" : "100.65.0.119",
  };
}
