import { join } from "node:path";
import type { Graph } from "@holdfast/comfyui/protocol";
import type { Clock, Random } from "@holdfast/runtime";
import type { FaultRule } from "@holdfast/simulator";
import { fieldOf } from "../../api/api-client.ts";
import { toList } from "../../api/job-calls.ts";
import { askComfy } from "../../up/local-comfyui.ts";
import type { LossyLink } from "../loss/link.ts";
import { createFaultProxy, type FaultProxy } from "../proxy/fault-proxy.ts";
import { choosePort } from "./choose-port.ts";
import { startChild, type Child } from "./child.ts";

/** A fault rule of a simulated ComfyUI. */
export interface RuleHandle {
  struck(): Promise<number>;
  remove(): Promise<void>;
}

/** What a simulated ComfyUI counts of itself since its process was started. */
export interface ComfyuiCounts {
  /** Pictures that were saved: a health check saves none. */
  readonly renders: number;
  readonly outOfMemory: number;
  /** Nodes of ours that slept, however short. */
  readonly sleeps: number;
}

/** One ComfyUI of a world, with a proxy in front of it. */
export interface Comfyui {
  readonly name: string;
  /** What callers use: the proxy's, or the address over the lossy link. */
  readonly url: string;
  readonly directUrl: string;
  readonly proxy: FaultProxy;
  /** Only of a simulated one. */
  add(rule: FaultRule): Promise<RuleHandle>;
  /** Whether it answers a prompt of this graph, sent directly, with 400. */
  refuses(graph: Graph): Promise<boolean>;
  /** What it counts; null of a real one, which counts nothing, and of one that was killed: it has forgotten. */
  counts(): Promise<ComfyuiCounts | null>;
  /** SIGKILL; only of a simulated one. */
  kill(): Promise<void>;
  /** Starts it again where it was. */
  revive(): Promise<void>;
  /** What its process said last. */
  tail(): string;
  close(): Promise<void>;
}

/** How to have one. */
export interface ComfyuiOptions {
  readonly name: string;
  /** Base URL of a running one instead of a simulated one. */
  readonly realUrl: string | undefined;
  readonly timeScale: number;
  readonly link: LossyLink | undefined;
  readonly folder: string;
  readonly clock: Clock;
  readonly random: Random;
}

const START_LIMIT_MS = 30_000;
const ASK_EVERY_MS = 50;
const CALL_LIMIT_MS = 5_000;
const HTTP_BAD_REQUEST = 400;

/** Starts a simulated ComfyUI, or takes the real one; a proxy stands in front of either. */
export async function openComfyui(options: ComfyuiOptions): Promise<Comfyui> {
  const { name, realUrl, link, clock } = options;
  const host = link?.host ?? "127.0.0.1";
  const port = realUrl === undefined ? await choosePort(options.random) : 0;
  const directUrl = realUrl ?? `http://${host}:${port}`;
  let child: Child | undefined;
  let wasKilled = false;
  const start = async (): Promise<void> => {
    if (realUrl !== undefined) return;
    child = startChild({
      name,
      args: [
        "simulator",
        "--host",
        host,
        "--port",
        String(port),
        "--time-scale",
        String(options.timeScale),
      ],
      env: {},
      prefix: link?.prefix ?? [],
      logFile: join(options.folder, "logs", `${name}.log`),
      clock,
    });
    await untilAnswering(directUrl, clock, () => child?.isRunning() === true);
  };
  await start();
  const proxy = createFaultProxy(directUrl, clock);
  await proxy.start();
  const faults = `${directUrl}/simulator/faults`;
  const { hostname, port: givenPort, protocol } = new URL(directUrl);
  const linkPort = Number(givenPort === "" ? (protocol === "https:" ? 443 : 80) : givenPort);
  return {
    name,
    directUrl,
    url: link === undefined ? proxy.url() : await link.urlOf(hostname, linkPort),
    proxy,
    async add(rule) {
      const id = String(fieldOf(await call(faults, "POST", rule), "id"));
      return {
        async struck() {
          const all = toList(await call(faults, "GET"), "faults");
          return Number(
            fieldOf(
              all.find((one) => fieldOf(one, "id") === id),
              "struck",
            ) ?? 0,
          );
        },
        remove: async () => void (await call(`${faults}/${id}`, "DELETE")),
      };
    },
    async refuses(graph) {
      const answer = await fetch(`${directUrl}/prompt`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ prompt: graph }),
        signal: AbortSignal.timeout(CALL_LIMIT_MS),
      });
      await answer.arrayBuffer();
      return answer.status === HTTP_BAD_REQUEST;
    },
    async counts() {
      if (realUrl !== undefined || wasKilled) return null;
      const stats = await call(`${directUrl}/simulator/stats`, "GET");
      const nodes = fieldOf(stats, "nodesRun");
      return {
        renders: numberOf(nodes, "SaveImage"),
        outOfMemory: numberOf(stats, "outOfMemory"),
        sleeps: numberOf(nodes, "HoldfastSleep"),
      };
    },
    kill: async () => {
      wasKilled = true;
      await child?.kill();
    },
    async revive() {
      if (child?.isRunning() !== true) await start();
    },
    tail: () => child?.tail() ?? "",
    async close() {
      await proxy.stop();
      await child?.stop();
    },
  };
}

function numberOf(value: unknown, name: string): number {
  return Number(fieldOf(value, name) ?? 0);
}

async function untilAnswering(url: string, clock: Clock, isRunning: () => boolean): Promise<void> {
  const deadline = clock.elapsed() + START_LIMIT_MS;
  while ((await askComfy(url)) === "nothing") {
    if (!isRunning()) throw new Error(`the simulated ComfyUI at ${url} ended`);
    if (clock.elapsed() > deadline) throw new Error(`the simulated ComfyUI at ${url} is silent`);
    await clock.sleep(ASK_EVERY_MS);
  }
}

async function call(url: string, method: "GET" | "POST" | "DELETE", body?: unknown) {
  const answer = await fetch(url, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(CALL_LIMIT_MS),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${text}`);
  return text === "" ? undefined : (JSON.parse(text) as unknown);
}
