import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Front } from "./front.ts";
import { serverError, type Reply } from "./http/reply.ts";
import { readBody as readBodyOf } from "./http/request.ts";
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
  readonly #front: Front;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  port: number;

  constructor(simulation: Simulation, options: SimulatorOptions) {
    this.simulation = simulation;
    this.#options = options;
    this.#front = new Front(simulation, options, this.#stopping.signal);
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
      const { method = "GET", url = "/", headers } = request;
      const readBody = (limit: number): Promise<Buffer> => readBodyOf(request, limit);
      const reply = await this.#front.answer({ method, url, headers, readBody });
      if (reply === "cut") request.socket.destroy();
      else if (!response.destroyed) write(request, response, reply);
    } catch (error) {
      // The peer went away while it sent, or the simulator has a bug: either way nobody is served.
      if (request.socket.destroyed || response.destroyed) return;
      this.#options.log?.(`simulated: request failed: ${String(error)}`);
      write(request, response, serverError());
    }
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { url = "/", headers } = request;
    const admission = await this.#front.admit({ url, headers });
    if (admission.kind === "refused") socket.end(refuse(admission.status));
    else this.simulation.hub.accept(request, socket, head, admission.clientId);
  }
}

/** aiohttp's keep-alive timeout is 75 s. */
const KEEP_ALIVE_MS = 75_000;

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
