/**
 * A fault for the time of a load run: what can be done from outside to the server that is loaded, or to the
 * simulated ComfyUIs behind it. What the scenarios of `holdfast fault` do to their own world, such as killing
 * a process, is not done to somebody's.
 */
import type { Graph } from "@holdfast/comfyui/protocol";
import type { Clock, Random } from "@holdfast/runtime";
import type { FaultRule } from "@holdfast/simulator";
import { injectFault, struckCount } from "../demo/simulator-fault.ts";
import { askComfy } from "../up/local-comfyui.ts";
import { malformedGraph } from "./graphs.ts";
import { createFaultProxy, type FaultProxy } from "./proxy/fault-proxy.ts";
import { SCENARIOS } from "./scenarios/all-scenarios.ts";

/** What a load run knows. */
export interface LoadScenarioOptions {
  /** What is loaded: a Holdfast or a bare ComfyUI. */
  readonly server: string;
  readonly kind: "holdfast" | "comfyui";
  /** ComfyUIs behind a Holdfast; only simulated ones are touched. */
  readonly comfyuis?: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
}

/** A fault in force, or why there is none. */
export type LoadScenario =
  | {
      readonly kind: "begun";
      /** What was done, in words for the report. */
      readonly how: string;
      /** The address to load instead of the server's. */
      readonly server: string;
      /** The graph to send in the place of the one of this index. */
      graphFor(index: number, graph: Graph): Graph;
      /** Undoes it; how often it struck, null where that cannot be counted. */
      end(): Promise<number | null>;
    }
  | { readonly kind: "unknown"; readonly known: readonly string[] }
  | { readonly kind: "impossible"; readonly why: string };

const LOSS_SHARE = 0.1;
const CUT_EVERY_MS = 10_000;
const LATE_MS = 1_000;
/** One in so many. */
const ONE_IN = 10;

/** Begins the scenario of this name. Nothing stays when it cannot. */
export async function beginLoadScenario(
  name: string,
  options: LoadScenarioOptions,
): Promise<LoadScenario> {
  if (!SCENARIOS.some((one) => one.name === name)) {
    return { kind: "unknown", known: SCENARIOS.map((one) => one.name) };
  }
  const doTo = PROXIED[name];
  if (doTo !== undefined) return await beginProxied(options, doTo);
  if (name === "prompt-validation-failure") return malformed(options);
  const rule = SIMULATED[name];
  if (rule !== undefined) return await beginSimulated(options, rule);
  return {
    kind: "impossible",
    why: `${name} needs a world of its own: holdfast fault run ${name}`,
  };
}

/** What is done by a proxy in front of the server. */
interface Proxied {
  readonly how: string;
  begin(proxy: FaultProxy, options: LoadScenarioOptions): () => number;
}

const PROXIED: Readonly<Record<string, Proxied>> = {
  "network-blip": {
    how: "10 % of what is sent waits as TCP's retransmissions would, by a proxy in front",
    begin(proxy, { random }) {
      proxy.setLoss({ share: LOSS_SHARE, random });
      return () => proxy.lost();
    },
  },
  "artificial-latency": {
    how: `every submit is answered ${LATE_MS / 1_000} s later, by a proxy in front`,
    begin(proxy, { kind }) {
      const path = kind === "holdfast" ? "/v1/jobs" : "/prompt";
      const action = { kind: "delay", ms: LATE_MS } as const;
      const rule = proxy.add({ action, method: "POST", path, count: 0 });
      return () => rule.struck();
    },
  },
  "socket-lost": {
    how: `WebSockets and streams are cut every ${CUT_EVERY_MS / 1_000} s, by a proxy in front`,
    begin(proxy, { clock, kind }) {
      let cut = 0;
      const again = (): void => {
        // A proxy that was stopped has no connections: the last turn does nothing.
        void clock.sleep(CUT_EVERY_MS).then(() => {
          if (!proxy.isRunning()) return;
          cut += kind === "holdfast" ? proxy.cutConnections() : proxy.cutSockets();
          again();
        });
      };
      again();
      return () => cut;
    },
  },
  "server-errors": {
    how: "a submit in ten is answered 503, by a proxy in front",
    begin(proxy, { kind }) {
      const path = kind === "holdfast" ? "/v1/jobs" : "/prompt";
      const action = { kind: "answer", status: 503 } as const;
      const rule = proxy.add({ action, method: "POST", path, every: ONE_IN, count: 0 });
      return () => rule.struck();
    },
  },
};

async function beginProxied(options: LoadScenarioOptions, fault: Proxied): Promise<LoadScenario> {
  const proxy = createFaultProxy(options.server, options.clock);
  await proxy.start();
  const struck = fault.begin(proxy, options);
  return {
    kind: "begun",
    how: fault.how,
    server: proxy.url(),
    graphFor: (_, graph) => graph,
    async end() {
      await proxy.stop();
      return struck();
    },
  };
}

function malformed({ server }: LoadScenarioOptions): LoadScenario {
  let sent = 0;
  return {
    kind: "begun",
    how: `one graph in ${ONE_IN} is malformed`,
    server,
    graphFor(index, graph) {
      if (index % ONE_IN !== 0) return graph;
      sent += 1;
      return malformedGraph(index);
    },
    end: () => Promise.resolve(sent),
  };
}

/** Chance for each occasion of a fault that is to come again and again. */
const NOW_AND_THEN = 0.1;

const SIMULATED: Readonly<Record<string, { readonly how: string; readonly rule: FaultRule }>> = {
  "gpu-oom": {
    how: "one node in ten that samples or saves runs out of memory",
    rule: { kind: "oom", match: { probability: NOW_AND_THEN, count: 0 } },
  },
  "comfyui-crash": {
    how: "ComfyUI dies once, while it saves a picture",
    rule: { kind: "crash", match: { nodeClass: "SaveImage", count: 1 } },
  },
  "disk-full": {
    how: "one picture in ten cannot be saved",
    rule: {
      kind: "disk_full",
      match: { nodeClass: "SaveImage", probability: NOW_AND_THEN, count: 0 },
    },
  },
  "slow-model-load": {
    how: "every load of a model takes 14 s longer",
    rule: { kind: "slow_load", ms: 14_000, match: { count: 0 } },
  },
  "corrupt-model": {
    how: "one load of a model in ten finds its file damaged",
    rule: {
      kind: "raise",
      exceptionType: "ValueError",
      message: "The safetensors file is corrupt or invalid.",
      match: { nodeClass: "CheckpointLoaderSimple", probability: NOW_AND_THEN, count: 0 },
    },
  },
};

async function beginSimulated(
  options: LoadScenarioOptions,
  { how, rule }: { readonly how: string; readonly rule: FaultRule },
): Promise<LoadScenario> {
  const { kind, server, comfyuis = [] } = options;
  const urls = kind === "comfyui" ? [server] : comfyuis;
  const kinds = await Promise.all(urls.map((url) => askComfy(url)));
  const simulated = urls.filter((_, at) => kinds[at] === "simulated");
  if (simulated.length === 0) {
    const found = urls.length === 0 ? "none is named" : "those that are named are real or away";
    return { kind: "impossible", why: `it needs a simulated ComfyUI to do it to: ${found}` };
  }
  const placed: { readonly url: string; readonly id: string }[] = [];
  for (const url of simulated) placed.push({ url, id: await injectFault(url, rule) });
  return {
    kind: "begun",
    how: `${how} (${simulated.join(", ")})`,
    server,
    graphFor: (_, graph) => graph,
    async end() {
      let struck = 0;
      for (const { url, id } of placed) {
        struck += await struckCount(url, id);
        await fetch(`${url}/simulator/faults/${id}`, { method: "DELETE" });
      }
      return struck;
    },
  };
}
