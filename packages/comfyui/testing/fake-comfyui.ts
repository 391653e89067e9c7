import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer, type WebSocket } from "ws";

/** What the next POST /prompt does; when the list is empty they are accepted. */
export type PromptBehaviour =
  | "accept"
  /** Reads the body, then cuts the connection, with and without having queued it. */
  | "queue_then_reset"
  | "reset"
  /** Answers 500, with and without having queued it. */
  | "queue_then_500"
  | "500"
  | "502"
  | "400"
  | "half_body"
  | "not_json"
  /** Queues it and never answers. */
  | "silence";

/** One request as it came. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly body: Buffer;
  readonly headers: IncomingMessage["headers"];
}

/** A stand-in that misbehaves on command; only for tests of the client. */
export interface FakeComfy {
  readonly url: string;
  readonly behaviours: PromptBehaviour[];
  readonly pending: string[];
  readonly running: string[];
  readonly history: Map<string, unknown>;
  readonly seen: SeenRequest[];
  readonly sockets: WebSocket[];
  /** Takes over a request when it returns true. */
  handler:
    ((request: IncomingMessage, response: ServerResponse, body: Buffer) => boolean) | undefined;
  countOf(method: string, path: string): number;
  close(): Promise<void>;
}

/** Starts a stand-in on a free port of the loopback address. */
export async function startFakeComfy(): Promise<FakeComfy> {
  const server = createServer();
  const sockets: WebSocket[] = [];
  const wss = new WebSocketServer({ server, path: "/ws" });
  wss.on("connection", (socket) => sockets.push(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const fake: FakeComfy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    behaviours: [],
    pending: [],
    running: [],
    history: new Map(),
    seen: [],
    sockets,
    handler: undefined,
    countOf: (method, path) =>
      fake.seen.filter((r) => r.method === method && r.path.startsWith(path)).length,
    close: async () => {
      for (const socket of wss.clients) socket.terminate();
      wss.close();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      const { method = "", url = "", headers } = request;
      fake.seen.push({ method, path: url, body, headers });
      if (fake.handler?.(request, response, body) !== true) answer(fake, request, response, body);
    });
  });
  return fake;
}

function answer(
  fake: FakeComfy,
  request: IncomingMessage,
  response: ServerResponse,
  body: Buffer,
): void {
  const path = request.url ?? "";
  const json = (value: unknown, status = 200): void => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  };
  const parsed = (): Record<string, unknown> =>
    JSON.parse(body.toString("utf8")) as Record<string, unknown>;
  if (request.method === "GET" && path === "/queue") {
    json({ queue_running: fake.running.map(item), queue_pending: fake.pending.map(item) });
  } else if (request.method === "GET" && path.startsWith("/history/")) {
    const id = decodeURIComponent(path.slice("/history/".length));
    json(fake.history.has(id) ? { [id]: fake.history.get(id) } : {});
  } else if (request.method === "GET" && path.startsWith("/history")) {
    json(Object.fromEntries(fake.history));
  } else if (path === "/prompt") {
    postPrompt(fake, String(parsed()["prompt_id"]), response, json);
  } else if (path === "/queue") {
    for (const id of (parsed()["delete"] ?? []) as string[]) remove(fake.pending, id);
    response.end();
  } else if (path === "/interrupt") {
    const id = String(parsed()["prompt_id"]);
    if (remove(fake.running, id)) fake.history.set(id, endedEntry(id, "execution_interrupted"));
    response.end();
  } else if (path === "/history" || path === "/free") {
    response.end();
  } else {
    response.writeHead(404).end("404: Not Found");
  }
}

function item(id: string, index: number): unknown {
  return [index, id, {}, {}, ["9"]];
}

function postPrompt(
  fake: FakeComfy,
  id: string,
  response: ServerResponse,
  json: (value: unknown, status?: number) => void,
): void {
  const behaviour = fake.behaviours.shift() ?? "accept";
  if (
    ["accept", "queue_then_reset", "queue_then_500", "half_body", "silence"].includes(behaviour)
  ) {
    fake.pending.push(id);
  }
  switch (behaviour) {
    case "accept":
      json({ prompt_id: id, number: fake.pending.length, node_errors: {} });
      break;
    case "queue_then_reset":
    case "reset":
      response.destroy();
      break;
    case "queue_then_500":
    case "500":
      response.writeHead(500, { "content-type": "text/plain" });
      response.end("500 Internal Server Error\n\nServer got itself in trouble");
      break;
    case "502":
      response.writeHead(502).end("Bad Gateway");
      break;
    case "400":
      json(
        {
          error: {
            type: "prompt_no_outputs",
            message: "Prompt has no outputs",
            details: "",
            extra_info: {},
          },
          node_errors: {},
        },
        400,
      );
      break;
    case "half_body":
      response.writeHead(200, { "content-length": "200" });
      response.write('{"prompt_id": "', () => response.destroy());
      break;
    case "not_json":
      response.writeHead(200).end("<html>sign in</html>");
      break;
    case "silence":
      break;
  }
}

/** A history entry whose last message is the given event. */
export function endedEntry(id: string, event: string): unknown {
  return {
    prompt: [0, id, {}, {}, ["9"]],
    outputs: {},
    status: {
      status_str: event === "execution_success" ? "success" : "error",
      completed: true,
      messages: [[event, { prompt_id: id }]],
    },
  };
}

function remove(list: string[], id: string): boolean {
  const index = list.indexOf(id);
  if (index >= 0) list.splice(index, 1);
  return index >= 0;
}
