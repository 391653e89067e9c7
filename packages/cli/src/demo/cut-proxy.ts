import { connect as connectTcp, createServer, type Server, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Service } from "@holdfast/runtime";

/**
 * A loopback proxy in front of one ComfyUI for the demo: it passes bytes on as they are, HTTP and
 * WebSocket alike, until it is told to cut. Then it waits for a certain `POST /prompt`, and when
 * ComfyUI answers it, closes every connection instead of passing the answer on. ComfyUI renders; the
 * caller knows neither whether its prompt was taken nor how it goes on.
 */
export interface CutProxy extends Service {
  /** The address to use instead of ComfyUI's; valid once started. */
  url(): string;
  /** Cuts once, at the next prompt whose graph holds this text: health checks post prompts, too. */
  cutAtPromptWith(text: string): void;
  /** The prompt whose answer was lost by the cut; undefined before it. */
  cutPromptId(): string | undefined;
}

const HOST = "127.0.0.1";
/** Connections at one time; more are closed at once. */
const MAX_CONNECTIONS = 256;
const REQUEST_START = /^[A-Z]+ \S+ HTTP\/1\.1\r\n/;
const PROMPT_START = /^POST \S*\/prompt(?:\?\S*)? HTTP\/1\.1\r\n/;
/** What a request's start is looked for in. */
const LOOK_AT_BYTES = 2_048;
const PROMPT_ID = /"prompt_id"\s*:\s*"([0-9a-zA-Z-]{1,64})"/;
/** Of a body, to find the prompt's id in. The id may stand behind the whole graph. */
const MAX_BODY_KEPT = 1024 * 1024;

/** Makes a proxy to a ComfyUI's base URL; nothing listens before `start`. */
export function createCutProxy(target: string): CutProxy {
  const upstream = new URL(target);
  const pairs = new Set<Pair>();
  let wanted: string | undefined;
  let cutPromptId: string | undefined;
  let server: Server | undefined;
  let port = 0;

  const cutAll = (promptId: string): void => {
    wanted = undefined;
    cutPromptId = promptId;
    for (const pair of pairs) pair.destroy();
  };

  const onConnection = (client: Socket): void => {
    if (pairs.size >= MAX_CONNECTIONS) {
      client.destroy();
      return;
    }
    const pair = openPair(client, upstream, {
      wanted: () => wanted,
      onDoomed: cutAll,
      onClose: () => pairs.delete(pair),
    });
    pairs.add(pair);
  };

  return {
    name: "cut-proxy",
    url: () => `http://${HOST}:${port}${upstream.pathname.replace(/\/+$/, "")}`,
    cutAtPromptWith(text) {
      wanted = text;
    },
    cutPromptId: () => cutPromptId,
    async start() {
      const listening = createServer(onConnection);
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
      for (const pair of pairs) pair.destroy();
      await closed;
    },
  };
}

interface Pair {
  destroy(): void;
}

/** One connection of a caller and the one behind it. */
function openPair(
  client: Socket,
  target: URL,
  events: { wanted(): string | undefined; onDoomed(promptId: string): void; onClose(): void },
): Pair {
  const upstream = openUpstream(target);
  /** Of the prompt that this connection posts; undefined when it does something else. */
  let body: string | undefined;
  const destroy = (): void => {
    client.destroy();
    upstream.destroy();
    events.onClose();
  };
  client.on("data", (chunk) => {
    const head = chunk.subarray(0, LOOK_AT_BYTES).toString("latin1");
    if (REQUEST_START.test(head)) body = PROMPT_START.test(head) ? "" : undefined;
    if (body !== undefined && body.length < MAX_BODY_KEPT) body += chunk.toString("latin1");
    if (!upstream.write(withHost(chunk, head, target.host))) client.pause();
  });
  upstream.on("data", (chunk) => {
    // ComfyUI has taken the prompt: its answer is what gets lost.
    const text = events.wanted();
    if (text !== undefined && body?.includes(text) === true) {
      events.onDoomed(PROMPT_ID.exec(body)?.[1] ?? "unknown");
    } else if (!client.write(chunk)) upstream.pause();
  });
  client.on("drain", () => upstream.resume());
  upstream.on("drain", () => client.resume());
  for (const socket of [client, upstream]) {
    // An error is followed by `close`; a half-closed connection ends whole, as nobody here needs one.
    socket.on("error", destroy);
    socket.on("close", destroy);
  }
  client.on("end", () => upstream.end());
  upstream.on("end", () => client.end());
  return { destroy };
}

function openUpstream(target: URL): Socket {
  const isTls = target.protocol === "https:";
  const port = target.port === "" ? (isTls ? 443 : 80) : Number(target.port);
  const host = target.hostname.replace(/^\[|\]$/g, "");
  return isTls ? connectTls({ host, port, servername: host }) : connectTcp({ host, port });
}

/** Requests name the host that they are for; it is ComfyUI's, not ours. */
function withHost(chunk: Buffer, head: string, host: string): Buffer {
  if (!REQUEST_START.test(head)) return chunk;
  const found = /\r\nhost: [^\r\n]*/i.exec(head);
  if (found === null) return chunk;
  const after = found.index + found[0].length;
  return Buffer.concat([
    chunk.subarray(0, found.index),
    Buffer.from(`\r\nHost: ${host}`, "latin1"),
    chunk.subarray(after),
  ]);
}
