import { createServer, type Server } from "node:net";
import type { Clock, Service } from "@holdfast/runtime";
import { openConnection, type ProxyConnection } from "./connection.ts";
import type { LineLoss } from "./line-loss.ts";
import { ProxyRules, type ProxyRule, type ProxyRuleHandle } from "./proxy-rule.ts";

/**
 * A loopback proxy in front of one ComfyUI (or of Holdfast): it passes bytes on as they are, HTTP and
 * WebSocket alike, until it is told to do otherwise. Callers send one request at a time on a connection,
 * as `fetch` and undici do; one in the middle of a chunk is passed on unseen.
 */
export interface FaultProxy extends Service {
  /** The address to use instead of the target's; valid once started. */
  url(): string;
  add(rule: ProxyRule): ProxyRuleHandle;
  /** Cuts the WebSockets that are open; how many. */
  cutSockets(): number;
  /** Cuts every connection that is open; how many. */
  cutConnections(): number;
  isRunning(): boolean;
  /** Refuses new WebSockets, or takes them again. */
  refuseSockets(areRefused: boolean): void;
  /** WebSockets that were refused so far. */
  socketsRefused(): number;
  /** Loses packets from now on; undefined: no more. */
  setLoss(loss: LineLoss | undefined): void;
  /** Chunks that came late because of loss. */
  lost(): number;
}

const HOST = "127.0.0.1";
/** Connections at one time; more are closed at once. */
const MAX_CONNECTIONS = 256;

/** Makes a proxy to a base URL; nothing listens before `start`. */
export function createFaultProxy(target: string, clock: Clock): FaultProxy {
  const upstream = new URL(target);
  const rules = new ProxyRules();
  const connections = new Set<ProxyConnection>();
  let server: Server | undefined;
  let port = 0;
  let loss: LineLoss | undefined;
  const counts = { lost: 0, refused: 0 };
  let areSocketsRefused = false;
  const cutAll = (): void => {
    for (const one of connections) one.destroy();
  };
  return {
    name: "fault-proxy",
    url: () => `http://${HOST}:${port}${upstream.pathname.replace(/\/+$/, "")}`,
    add: (rule) => rules.add(rule),
    cutSockets() {
      const open = [...connections].filter((one) => one.isSocket());
      for (const one of open) one.destroy();
      return open.length;
    },
    cutConnections() {
      const open = connections.size;
      cutAll();
      return open;
    },
    isRunning: () => server !== undefined,
    refuseSockets: (areRefused) => void (areSocketsRefused = areRefused),
    socketsRefused: () => counts.refused,
    setLoss: (next) => void (loss = next),
    lost: () => counts.lost,
    async start() {
      const listening = createServer((client) => {
        if (connections.size >= MAX_CONNECTIONS) return void client.destroy();
        const one = openConnection(client, {
          target: upstream,
          clock,
          rules,
          loss: () => loss,
          onLost: () => void (counts.lost += 1),
          areSocketsRefused: () => areSocketsRefused,
          onSocketRefused: () => void (counts.refused += 1),
          cutAll,
          onClose: () => connections.delete(one),
        });
        connections.add(one);
      });
      await new Promise<void>((resolve, reject) => {
        listening.once("error", reject);
        listening.listen({ host: HOST, port: 0 }, resolve);
      });
      const address = listening.address();
      port = typeof address === "object" && address !== null ? address.port : 0;
      server = listening;
    },
    async stop() {
      const ending = server;
      server = undefined;
      if (ending === undefined) return;
      const closed = new Promise<void>((resolve) => {
        ending.close(() => resolve());
      });
      cutAll();
      await closed;
    },
  };
}
