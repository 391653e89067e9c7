/**
 * Stands in for an MLflow tracking server: what logging needs of its REST API, over HTTP on loopback, with
 * the rules and words that MLflow 3.17.2 was seen to have, and faults on top.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { fakeCalls, Refused } from "./fake-mlflow-calls.ts";
import type { FakeRun, FakeState } from "./fake-mlflow-state.ts";

/** What happens to one request. */
export type Fault =
  /** Nothing: it is answered. */
  | "none"
  /** The connection breaks before it is carried out. */
  | "cut"
  /** It is carried out, and the connection breaks. */
  | "lose_answer"
  /** The connection breaks, and it is carried out a little later. */
  | "late"
  /** Never answered, and not carried out. */
  | "hang"
  /** An answer with this status, not carried out. */
  | number
  /** A page of somebody else, with 200. */
  | "page";

/** A request as faults and tests see it. */
export interface SeenRequest {
  readonly method: string;
  /** Below the API, such as `runs/create` or `artifacts`. */
  readonly call: string;
  readonly authorization: string | undefined;
  /** JSON, or the bytes of an upload as text. */
  readonly body: string;
}

/** The server. */
export interface FakeMlflow {
  readonly url: string;
  readonly state: FakeState;
  readonly requests: SeenRequest[];
  /** Decides about each request; none by default. */
  fault: (request: SeenRequest) => Fault;
  /** What MLflow's host check lets through; all, when undefined. */
  allowedHosts: readonly string[] | undefined;
  /** What a request has to carry in `Authorization`. */
  authorization: string | undefined;
  /** Runs of an experiment that are not deleted, by name. */
  runsByName(): ReadonlyMap<string, readonly FakeRun[]>;
  /** Stops listening, and listens again on the same port. */
  stop(): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

const LATE_MS = 30;

/** Starts one. `prefix`: a path that everything lies under. */
export async function startFakeMlflow(prefix = ""): Promise<FakeMlflow> {
  const state: FakeState = { experiments: new Map(), runs: new Map() };
  const calls = fakeCalls(state);
  const late = new Set<NodeJS.Timeout>();
  const server = createServer((request, response) => {
    answer(request, response).catch(() => request.socket.destroy());
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://fake");
    if (!pathname.startsWith(prefix)) return send(response, 404, "<h1>Not Found</h1>");
    const path = pathname.slice(prefix.length);
    if (path === "/health") return send(response, 200, "OK");
    const upload = /^\/api\/2\.0\/mlflow-artifacts\/artifacts\/(.+)$/.exec(path)?.[1];
    const call = upload === undefined ? path.replace("/api/2.0/mlflow/", "") : "artifacts";
    const { authorization } = request.headers;
    const bytes = await readBody(request);
    const body = bytes.toString("utf8");
    const seen: SeenRequest = { method: request.method ?? "", call, authorization, body };
    fake.requests.push(seen);
    const isAllowed = fake.allowedHosts?.includes(request.headers.host ?? "") ?? true;
    if (!isAllowed)
      return send(response, 403, "Invalid Host header - possible DNS rebinding attack detected");
    if (fake.authorization !== undefined && authorization !== fake.authorization) {
      return send(response, 401, "You are not authenticated.");
    }
    const fault = fake.fault(seen);
    if (fault === "cut") return void request.socket.destroy();
    if (fault === "hang") return;
    if (fault === "page") return send(response, 200, "<!doctype html><title>Please log in</title>");
    if (typeof fault === "number") return send(response, fault, "Internal Server Error");
    const perform = (): Performed =>
      performed(() =>
        upload === undefined ? calls.call(call, body, searchParams) : calls.upload(upload, bytes),
      );
    if (fault === "late") {
      request.socket.destroy();
      const timer = setTimeout(() => {
        late.delete(timer);
        perform();
      }, LATE_MS);
      late.add(timer);
      return;
    }
    const [status, result] = perform();
    if (fault === "lose_answer") return void request.socket.destroy();
    send(response, status, result === "" ? "" : JSON.stringify(result));
  }

  const listen = (port: number): Promise<void> =>
    new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    if (!server.listening) return;
    await new Promise((resolve) => server.close(resolve));
  };
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const fake: FakeMlflow = {
    url: `http://127.0.0.1:${port}${prefix}`,
    state,
    requests: [],
    fault: () => "none",
    allowedHosts: undefined,
    authorization: undefined,
    runsByName() {
      const found = new Map<string, FakeRun[]>();
      for (const run of state.runs.values()) {
        if (!run.isDeleted) found.set(run.name, [...(found.get(run.name) ?? []), run]);
      }
      return found;
    },
    stop,
    restart: () => listen(port),
    async close() {
      for (const timer of late) clearTimeout(timer);
      await stop();
    },
  };
  return fake;
}

/** The SHA-256 of bytes, as {@link FakeRun.artifacts} has it. */
export function sha256Of(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

type Performed = readonly [number, unknown];

function performed(act: () => unknown): Performed {
  try {
    return [200, act()];
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return [error.status, { error_code: error.code, message: error.message }];
  }
}

function send(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(body);
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
