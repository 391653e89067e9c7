/**
 * The way between an agent and a simulated ComfyUI, without sockets: a dispatcher under the agent's
 * real HTTP client, and raw sockets under its real socket client. The simulator behind it is the one
 * that the conformance suite holds against a real ComfyUI.
 */
import { EventEmitter } from "node:events";
import type { ComfyTransport } from "@holdfast/agent";
import type { RawSocket } from "@holdfast/comfyui";
import type { Random } from "@holdfast/runtime";
import {
  createInProcessSimulator,
  type HubSocket,
  type InProcessSimulator,
  type Reply,
  type SimulatorOptions,
} from "@holdfast/simulator";
import { Dispatcher } from "undici";
import type { SimProcess } from "./process.ts";
import type { Timeline } from "./timeline.ts";
import type { Trace } from "./trace.ts";

/** One simulated ComfyUI. */
export interface SimComfy {
  readonly url: string;
  readonly simulator: InProcessSimulator;
  /** Hides prompts from look-ups that follow an ambiguous POST: the guard of a twin taken out. */
  isLookUpBlind: boolean;
  /** Nobody reaches it, though its process lives: connections are refused. */
  isCutOff: boolean;
  /** Sees a request before the simulator does, and may answer in its place. */
  onAsked: ((asked: AskedOfComfy) => Reply | "cut" | undefined) | undefined;
  /** What was queued twice though whoever did so could have seen it there. */
  readonly doubles: readonly string[];
}

/** A request on its way to a simulated ComfyUI. */
export interface AskedOfComfy {
  readonly method: string;
  readonly path: string;
  readonly body: Buffer;
}

/** All ComfyUIs of a simulation. */
export interface ComfyWorld {
  readonly all: readonly SimComfy[];
  /** The transport of an agent's process. */
  connect(process: SimProcess, random: Random): ComfyTransport;
}

/** How to make one. */
export interface ComfySpec {
  readonly url: string;
  readonly models: Readonly<Record<string, readonly string[]>>;
  readonly seed: number;
  /** Default: a card that everything fits. */
  readonly vram?: SimulatorOptions["vram"];
  readonly onNodeDone?: NonNullable<SimulatorOptions["onNodeDone"]>;
}

const FASTEST_MS = 0.3;
const SLOWEST_MS = 3;
const HANDSHAKE_MS = 30_000;

/** Makes the simulated ComfyUIs, each a process of its own with the world's clock. */
export function createComfyWorld(
  timeline: Timeline,
  trace: Trace,
  world: SimProcess,
  specs: readonly ComfySpec[],
): ComfyWorld {
  const all = specs.map((spec) => createComfy(timeline, trace, world, spec));
  const find = (origin: string): Comfy => {
    const found = all.find((one) => one.url === origin);
    if (found === undefined) throw new Error(`no simulated ComfyUI at ${origin}`);
    return found;
  };
  return {
    all,
    connect(process, random) {
      const latency = (): number => FASTEST_MS + random.next() * (SLOWEST_MS - FASTEST_MS);
      return {
        dispatcher: new SimDispatcher(find, process, timeline, latency),
        openSocket: (address) => {
          const url = new URL(address);
          const comfy = find(`http://${url.host}`);
          comfy.noteClient(url.searchParams.get("clientId") ?? "");
          return new SimSocket(comfy, url, process, timeline, latency());
        },
      };
    },
  };
}

type Comfy = SimComfy & {
  /** What a look-up is answered while the twin's blindness lasts. */
  blindReply(method: string, path: string): Reply | undefined;
  /** A prompt was posted; `isDoubtful`: whoever did so cannot know what became of it. */
  notePost(isDoubtful: boolean): void;
  noteClient(clientId: string): void;
};

function createComfy(timeline: Timeline, trace: Trace, world: SimProcess, spec: ComfySpec): Comfy {
  const name = spec.url.replace("http://", "");
  const queued = new Map<string, { readonly clientId: string; readonly at: number }>();
  const clients = new Map<string, number>();
  const doubles: string[] = [];
  let looksToBlind = 0;
  const simulator = createInProcessSimulator({
    clock: world.clock,
    seed: spec.seed,
    timeScale: 1,
    models: spec.models,
    ...(spec.vram !== undefined && { vram: spec.vram }),
    ...(spec.onNodeDone !== undefined && { onNodeDone: spec.onNodeDone }),
    restartDelayMs: 2_000,
    onQueued: ({ promptId, clientId: given, isKnown }) => {
      const clientId = given ?? "";
      const before = queued.get(promptId);
      queued.set(promptId, { clientId, at: timeline.now() });
      if (!isKnown || before === undefined) return;
      // Two agent processes of one machine may live at the same time, one of them standing still:
      // neither sees what the other is about to post. Only then is a prompt queued twice.
      const isUnseen = before.clientId !== clientId && before.at >= (clients.get(clientId) ?? 0);
      if (!isUnseen) doubles.push(promptId);
    },
    log: (line) => trace.note(name, "comfy", line, ""),
  });
  return {
    url: spec.url,
    simulator,
    doubles,
    noteClient: (clientId) => void (clients.has(clientId) || clients.set(clientId, timeline.now())),
    isLookUpBlind: false,
    isCutOff: false,
    onAsked: undefined,
    notePost(isDoubtful) {
      // One look-up is a queue and a history; two of them settle a doubt.
      if (this.isLookUpBlind && isDoubtful) looksToBlind = 4;
    },
    blindReply(method, path) {
      if (looksToBlind <= 0 || method !== "GET") return undefined;
      const isLook = path === "/queue" || path.startsWith("/history/");
      if (!isLook) return undefined;
      looksToBlind -= 1;
      const body = path === "/queue" ? { queue_running: [], queue_pending: [] } : {};
      return { status: 200, headers: {}, body: JSON.stringify(body) };
    },
  };
}

type Handler = Parameters<Dispatcher["dispatch"]>[1];

/** HTTP to the simulators of a world. */
class SimDispatcher extends Dispatcher {
  readonly #find: (origin: string) => Comfy;
  readonly #process: SimProcess;
  readonly #timeline: Timeline;
  readonly #latency: () => number;

  constructor(
    find: (origin: string) => Comfy,
    process: SimProcess,
    timeline: Timeline,
    latency: () => number,
  ) {
    super();
    this.#find = find;
    this.#process = process;
    this.#timeline = timeline;
    this.#latency = latency;
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Handler): boolean {
    const { method, path } = options;
    const comfy = this.#find(String(options.origin));
    const exchange = new Exchange(handler);
    const send = async (): Promise<void> => {
      const body = await readBody(options.body);
      this.#timeline.after(this.#latency(), () => void arrive(body));
    };
    const arrive = async (body: Buffer): Promise<void> => {
      const instead = comfy.isCutOff ? undefined : comfy.onAsked?.({ method, path, body });
      if (comfy.isCutOff) {
        this.#process.after(this.#latency(), () => exchange.fail("ECONNREFUSED"));
        return;
      }
      const blind = instead ?? comfy.blindReply(method, path);
      const asked = {
        method,
        url: path,
        headers: headersOf(options.headers),
        readBody: () => Promise.resolve(body),
      };
      const answer = blind ?? (await comfy.simulator.request(asked));
      if (method === "POST" && path === "/prompt") {
        comfy.notePost(typeof answer === "string" || answer.status >= 500);
      }
      this.#process.after(this.#latency(), () => {
        if (answer === "refused") exchange.fail("ECONNREFUSED");
        else if (answer === "cut") exchange.fail("ECONNRESET");
        else exchange.tell(answer);
      });
    };
    if (exchange.begin()) send().catch(() => exchange.fail("ECONNRESET"));
    return true;
  }

  override close(): Promise<void> {
    return Promise.resolve();
  }

  override destroy(): Promise<void> {
    return Promise.resolve();
  }
}

/** One exchange, told to either kind of handler that undici has. */
class Exchange {
  readonly #handler: Handler;
  readonly #controller: Dispatcher.DispatchController;
  #isOver = false;

  constructor(handler: Handler) {
    this.#handler = handler;
    this.#controller = {
      aborted: false,
      paused: false,
      reason: null,
      abort: (reason) => this.#end(() => this.#error(reason)),
      pause: () => undefined,
      resume: () => undefined,
    };
  }

  /** False when it was called off at once. */
  begin(): boolean {
    const handler = this.#handler;
    if (handler.onRequestStart !== undefined) handler.onRequestStart(this.#controller, undefined);
    else handler.onConnect?.((reason) => this.#controller.abort(reason ?? new Error("cut")));
    return !this.#isOver;
  }

  fail(code: string): void {
    this.#end(() => this.#error(Object.assign(new Error(`${code} (simulated)`), { code })));
  }

  tell(reply: Reply): void {
    const body = Buffer.from((reply.body ?? "") as string);
    const headers = { "content-length": String(body.length), ...reply.headers };
    this.#end(() => {
      const handler = this.#handler;
      if (handler.onResponseStart !== undefined) {
        handler.onResponseStart(this.#controller, reply.status, headers, "");
        if (body.length > 0) handler.onResponseData?.(this.#controller, body);
        handler.onResponseEnd?.(this.#controller, {});
        return;
      }
      const raw = Object.entries(headers)
        .flat()
        .map((text) => Buffer.from(text));
      handler.onHeaders?.(reply.status, raw, () => undefined, "");
      if (body.length > 0) handler.onData?.(body);
      handler.onComplete?.([]);
    });
  }

  #error(error: Error): void {
    const handler = this.#handler;
    if (handler.onResponseError !== undefined) handler.onResponseError(this.#controller, error);
    else handler.onError?.(error);
  }

  #end(run: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    run();
  }
}

async function readBody(body: Dispatcher.DispatchOptions["body"]): Promise<Buffer> {
  if (body === null || body === undefined) return Buffer.alloc(0);
  if (typeof body === "string" || body instanceof Uint8Array) return Buffer.from(body as string);
  const pieces: Uint8Array[] = [];
  for await (const piece of body as AsyncIterable<Uint8Array>) pieces.push(piece);
  return Buffer.concat(pieces);
}

function headersOf(headers: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries((headers ?? {}) as Record<string, string>).map(([name, value]) => [
      name.toLowerCase(),
      value,
    ]),
  );
}

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 3;

/** A WebSocket's two ends in one: the agent's, and the hub's. Frames keep their order. */
class SimSocket extends EventEmitter implements RawSocket {
  readyState = CONNECTING;
  readonly #process: SimProcess;
  readonly #timeline: Timeline;
  readonly #latencyMs: number;
  readonly #far: FarEnd;
  readonly #handshake: { cancel(): void };

  constructor(
    comfy: SimComfy,
    url: URL,
    process: SimProcess,
    timeline: Timeline,
    latencyMs: number,
  ) {
    super();
    this.#process = process;
    this.#timeline = timeline;
    this.#latencyMs = latencyMs;
    this.#far = new FarEnd(this);
    this.#handshake = process.after(HANDSHAKE_MS, () => this.end(1006, "handshake timed out"));
    const asked = { url: `${url.pathname}${url.search}`, headers: {} };
    timeline.after(latencyMs, () => void this.#ask(comfy, asked));
    process.onKill(() => this.#toFar(() => this.#far.end()));
  }

  /** Asks for the socket; the answer may take as long as nothing answers there. */
  async #ask(
    comfy: SimComfy,
    asked: { url: string; headers: Record<string, string> },
  ): Promise<void> {
    const admission = comfy.isCutOff ? "refused" : await comfy.simulator.admit(asked);
    if (admission === "refused" || admission.kind === "refused") {
      this.fromFar(() => this.end(1006, "connect ECONNREFUSED (simulated)"));
      return;
    }
    // Whoever asked may have died or given up meanwhile.
    if (this.readyState === CLOSED || !this.#process.isAlive()) return;
    this.fromFar(() => {
      if (this.readyState !== CONNECTING) return;
      this.readyState = OPEN;
      this.#handshake.cancel();
      this.emit("open");
    });
    comfy.simulator.attach(this.#far, admission.clientId);
  }

  send(text: string): void {
    this.#toFar(() => this.#far.emit("message", Buffer.from(text), false));
  }

  ping(): void {
    this.#toFar(() => this.#far.emit("ping", Buffer.alloc(0)));
  }

  close(): void {
    if (this.readyState === CLOSED) return;
    this.#toFar(() => {
      this.#far.end();
      this.fromFar(() => this.end(1000, ""));
    });
  }

  terminate(): void {
    this.#toFar(() => this.#far.end());
    this.#process.after(0, () => this.end(1006, ""));
  }

  /** The end of the connection, on the agent's side. */
  end(code: number, reason: string): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.#handshake.cancel();
    if (reason !== "") this.emit("error", new Error(reason));
    this.emit("close", code, Buffer.alloc(0));
  }

  /** Something that the other side did, as it arrives here. */
  fromFar(run: () => void): void {
    this.#process.after(this.#latencyMs, run);
  }

  #toFar(run: () => void): void {
    this.#timeline.after(this.#latencyMs, run);
  }
}

/** The end of a {@link SimSocket} that the simulator holds. */
class FarEnd extends EventEmitter implements HubSocket {
  readonly OPEN = OPEN;
  readyState = OPEN;
  readonly #near: SimSocket;

  constructor(near: SimSocket) {
    super();
    this.#near = near;
  }

  send(frame: string | Buffer): void {
    const isBinary = typeof frame !== "string";
    this.#near.fromFar(() => {
      if (this.#near.readyState === OPEN)
        this.#near.emit("message", Buffer.from(frame as string), isBinary);
    });
  }

  pong(): void {
    this.#near.fromFar(() => void this.#near.emit("pong"));
  }

  terminate(): void {
    this.#near.fromFar(() => this.#near.end(1006, ""));
    this.end();
  }

  /** The end of the connection, on the simulator's side. */
  end(): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.emit("close");
  }
}
