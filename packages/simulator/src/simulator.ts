import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { route } from "./http/router.ts";
import { empty, serverError, text, type Reply } from "./http/reply.ts";
import { BodyTooLargeError, isForeignOrigin, readBody, type SimRequest } from "./http/request.ts";
import { DEFAULTS, type SimulatorOptions } from "./options.ts";
import { Simulation, type SimulatorFaults, type SimulatorStats } from "./simulation.ts";

/** A running simulator. */
export interface Simulator {
  readonly url: string;
  readonly port: number;
  readonly faults: SimulatorFaults;
  /** Kills the simulated process as signal 9 would; it comes back after `downMs`, null is never. */
  crash(downMs?: number | null): void;
  stats(): SimulatorStats;
  /** Ends everything. Safe to call twice. */
  stop(): Promise<void>;
}

/** Starts a simulated ComfyUI; resolves when it listens. Rejects when the port is taken. */
export async function startSimulator(options: SimulatorOptions): Promise<Simulator> {
  const listener = new Listener(new Simulation(options), options);
  await listener.begin();
  return {
    url: `http://${options.host ?? DEFAULTS.host}:${String(listener.port)}`,
    port: listener.port,
    faults: listener.simulation.faults,
    crash: (downMs) =>
      listener.simulation.crash(
        downMs === undefined ? (options.restartDelayMs ?? DEFAULTS.restartDelayMs) : downMs,
      ),
    stats: () => listener.simulation.stats(),
    stop: () => listener.stop(),
  };
}

/** The listening side of a simulation: it goes away when the process dies, and comes back. */
class Listener {
  readonly simulation: Simulation;
  readonly #options: SimulatorOptions;
  readonly #stopping = new AbortController();
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  port: number;

  constructor(simulation: Simulation, options: SimulatorOptions) {
    this.simulation = simulation;
    this.#options = options;
    this.port = options.port ?? 0;
    simulation.onCrash = (downMs) => void this.#goDown(downMs);
  }

  async begin(): Promise<void> {
    const server = createServer((request, response) => void this.#answer(request, response));
    server.keepAliveTimeout = KEEP_ALIVE_MS;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    server.on("upgrade", (request, socket, head) => void this.#upgrade(request, socket, head));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.port, this.#options.host ?? DEFAULTS.host, resolve);
    });
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    // Stopped while it was coming back.
    if (this.#stopping.signal.aborted) await this.#close();
    else this.simulation.start();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.simulation.end();
    await this.#close();
  }

  async #goDown(downMs: number | null): Promise<void> {
    await this.#close();
    if (downMs === null || this.#stopping.signal.aborted) return;
    try {
      await this.#options.clock.sleep(downMs, this.#stopping.signal);
      await this.begin();
    } catch (error) {
      // Stopped while it was down, or its port was taken meanwhile: it stays away, as a real one.
      this.#options.log?.(`simulated: did not come back: ${String(error)}`);
    }
  }

  async #close(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const reply = await this.#handle(request);
      if (reply === "cut") request.socket.destroy();
      else if (!response.destroyed) write(request, response, reply);
    } catch (error) {
      // The peer went away while it sent, or the simulator has a bug: either way nobody is served.
      if (request.socket.destroyed || response.destroyed) return;
      this.#options.log?.(`simulated: request failed: ${String(error)}`);
      write(request, response, serverError());
    }
  }

  async #handle(request: IncomingMessage): Promise<Reply | "cut"> {
    const { simulation } = this;
    const url = new URL(request.url ?? "/", "http://simulated");
    const path = stripPrefix(url.pathname);
    const method = request.method ?? "GET";
    simulation.countRequest(method, path);
    const isOwn = path.startsWith("/simulator/");
    if (!isOwn) await simulation.pause.untilOver();
    if (isForeignOrigin(request.headers)) return empty(403);
    const limit = this.#options.maxBodyBytes ?? DEFAULTS.maxBodyBytes;
    let body: Buffer;
    try {
      body = await readBody(request, limit);
    } catch (error) {
      if (!(error instanceof BodyTooLargeError)) throw error;
      return text(413, `Maximum request body size ${String(limit)} exceeded, ${error.message}`);
    }
    const simRequest: SimRequest = {
      method,
      path,
      query: url.searchParams,
      headers: request.headers,
      body,
    };
    if (isOwn || simulation.plan.isEmpty) return route(simRequest, simulation);
    return this.#handleWithFaults(simRequest);
  }

  async #handleWithFaults(request: SimRequest): Promise<Reply | "cut"> {
    const { plan } = this.simulation;
    const { method, path } = request;
    const occasion = { method, path };
    const delay = plan.strike("delay", occasion);
    if (delay !== null) await this.#options.clock.sleep(delay.ms, this.#stopping.signal);
    const before = this.#strikeRequest(occasion, "before");
    if (before !== null) return before;
    const reply = route(request, this.simulation);
    return this.#strikeRequest(occasion, "after") ?? reply;
  }

  #strikeRequest(
    occasion: { readonly method: string; readonly path: string },
    when: "before" | "after",
  ): Reply | "cut" | null {
    const { plan } = this.simulation;
    const isNow = (action: { readonly when?: "before" | "after" }): boolean =>
      (action.when ?? "before") === when;
    const error = plan.strike("http_error", occasion, isNow);
    if (error !== null) return text(error.status, `${String(error.status)}: simulated fault`);
    if (plan.strike("reset", occasion, isNow) !== null) return "cut";
    const crash = plan.strike("crash", occasion, isNow);
    if (crash === null) return null;
    this.simulation.strikeNow(crash);
    return "cut";
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const url = new URL(request.url ?? "/", "http://simulated");
    const path = stripPrefix(url.pathname);
    this.simulation.countRequest("WS", path);
    await this.simulation.pause.untilOver();
    const refusal = this.#refuseUpgrade(request, path);
    if (refusal !== null) {
      socket.end(refusal);
      return;
    }
    this.simulation.hub.accept(request, socket, head, url.searchParams.get("clientId") ?? "");
  }

  #refuseUpgrade(request: IncomingMessage, path: string): string | null {
    if (path !== "/ws") return refuse("404 Not Found");
    if (isForeignOrigin(request.headers)) return refuse("403 Forbidden");
    const error = this.simulation.plan.strike("http_error", { method: "GET", path });
    return error === null ? null : refuse(`${String(error.status)} Simulated`);
  }
}

/** aiohttp's keep-alive timeout is 75 s. */
const KEEP_ALIVE_MS = 75_000;

/** Every path answers under `/api` too. */
function stripPrefix(path: string): string {
  return path.startsWith("/api/") ? path.slice(4) : path;
}

function write(request: IncomingMessage, response: ServerResponse, reply: Reply): void {
  const body = reply.body ?? "";
  const length = typeof body === "string" ? Buffer.byteLength(body) : body.length;
  response.writeHead(reply.status, {
    "X-Holdfast-Simulated": "true",
    ...reply.headers,
    ...(reply.status === 304 || reply.status === 204 ? {} : { "Content-Length": length }),
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

function refuse(status: string): string {
  return `HTTP/1.1 ${status}\r\nX-Holdfast-Simulated: true\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
}
