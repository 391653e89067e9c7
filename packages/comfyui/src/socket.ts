import { backoffMs, type BackoffPolicy, type Clock, type Random } from "@holdfast/runtime";
import { WebSocket, type RawData } from "ws";
import {
  parseBinaryFrame,
  parseSocketMessage,
  type BinaryFrame,
  type SocketMessage,
  type UnparsableMessage,
} from "./protocol/index.ts";

/** What a socket tells its listener, in order. */
export type SocketEvent =
  | {
      readonly kind: "state";
      readonly state: SocketState;
      readonly reason: string;
      readonly code?: number;
    }
  | { readonly kind: "message"; readonly message: SocketMessage | UnparsableMessage }
  | { readonly kind: "binary"; readonly frame: BinaryFrame };

/** `closed` is between two connections too; only `stop` makes it final. */
export type SocketState = "connecting" | "open" | "closed";

/** Settings of {@link createComfySocket}. */
export interface ComfySocketOptions {
  /** As for the client: `http://…` or `https://…`. */
  readonly baseUrl: string;
  readonly clientId: string;
  readonly clock: Clock;
  readonly random?: Random;
  /** Called for every event, one after the other. It must not throw. */
  readonly onEvent: (event: SocketEvent) => void;
  readonly headers?: Readonly<Record<string, string>>;
  readonly handshakeTimeoutMs?: number;
  readonly pingEveryMs?: number;
  /** Neither message nor pong for so long: the connection counts as dead. */
  readonly deadAfterMs?: number;
  /** Time between an end and the next connection, at least (F8). */
  readonly settleMs?: number;
  readonly backoff?: BackoffPolicy;
  readonly maxFrameBytes?: number;
}

/**
 * The one socket of an instance. It reconnects until stopped. What it brings is early news only:
 * silence never means "still running", so the runner asks the history whenever
 * `silentForMs` grows (F8, F9).
 */
export interface ComfySocket {
  start(): void;
  state(): SocketState;
  /** Milliseconds since the last message or connection; since `start` when there was none. */
  silentForMs(): number;
  /** Drops the connection and makes another: for a socket suspected to be deaf. */
  reconnect(reason: string): void;
  /** Resolves when nothing is left open or waiting. Safe to call twice. */
  stop(): Promise<void>;
}

/** Longer than ComfyUI's pauses, model loads included: a late pong is not a death (F29). */
const DEFAULT_DEAD_AFTER_MS = 90_000;
const DEFAULT_PING_EVERY_MS = 15_000;
const DEFAULT_HANDSHAKE_MS = 30_000;
const DEFAULT_SETTLE_MS = 500;
const DEFAULT_BACKOFF: BackoffPolicy = { initialMs: 250, factor: 2, maxMs: 10_000, jitter: 0.3 };
/** A preview or a picture sent over the socket. */
const DEFAULT_MAX_FRAME_BYTES = 64 * 1024 * 1024;
/** How long a closing handshake may take before the connection is cut. */
const CLOSE_PATIENCE_MS = 2_000;

/**
 * Makes the socket. Keeps F8: a connection is only opened after the one before has ended and a pause
 * has passed, so that the end of its handler in ComfyUI cannot unregister the new one.
 */
export function createComfySocket(options: ComfySocketOptions): ComfySocket {
  const { clock, onEvent } = options;
  const random = options.random ?? { next: () => 0 };
  const backoff = options.backoff ?? DEFAULT_BACKOFF;
  const settleMs = options.settleMs ?? DEFAULT_SETTLE_MS;
  const url = socketUrl(options.baseUrl, options.clientId);
  const stopping = new AbortController();
  let state: SocketState = "closed";
  let lastSignElapsed = clock.elapsed();
  let lastMessageElapsed = clock.elapsed();
  let current: WebSocket | undefined;
  let running: Promise<void> | undefined;

  const enter = (next: SocketState, reason: string, code?: number): void => {
    state = next;
    onEvent({ kind: "state", state, reason, ...(code !== undefined && { code }) });
  };

  /** One connection from beginning to end; resolves at its close event with whether it ever opened. */
  const connectOnce = (): Promise<boolean> =>
    new Promise((resolve) => {
      enter("connecting", "");
      const ended = new AbortController();
      let opened = false;
      let failure = "";
      const socket = new WebSocket(url, {
        handshakeTimeout: options.handshakeTimeoutMs ?? DEFAULT_HANDSHAKE_MS,
        maxPayload: options.maxFrameBytes ?? DEFAULT_MAX_FRAME_BYTES,
        perMessageDeflate: false,
        headers: options.headers ?? {},
      });
      current = socket;
      const sign = (): void => {
        lastSignElapsed = clock.elapsed();
      };
      socket.on("open", () => {
        opened = true;
        sign();
        lastMessageElapsed = clock.elapsed();
        // Must be the first message; previews then say which prompt they belong to.
        socket.send('{"type":"feature_flags","data":{"supports_preview_metadata":true}}');
        enter("open", "");
        void keepAlive(socket, ended.signal);
      });
      socket.on("pong", sign);
      socket.on("message", (data, isBinary) => {
        sign();
        lastMessageElapsed = clock.elapsed();
        const bytes = toBytes(data);
        onEvent(
          isBinary
            ? { kind: "binary", frame: parseBinaryFrame(bytes) }
            : { kind: "message", message: parseSocketMessage(bytes.toString("utf8")) },
        );
      });
      // A close event always follows.
      socket.on("error", (error) => {
        failure = error.message;
      });
      socket.on("close", (code, reason) => {
        ended.abort();
        current = undefined;
        enter("closed", failure !== "" ? failure : reason.toString("utf8"), code);
        resolve(opened);
      });
    });

  const keepAlive = async (socket: WebSocket, ended: AbortSignal): Promise<void> => {
    const deadAfterMs = options.deadAfterMs ?? DEFAULT_DEAD_AFTER_MS;
    while (!ended.aborted) {
      const done = await slept(clock, options.pingEveryMs ?? DEFAULT_PING_EVERY_MS, ended);
      if (!done || socket.readyState !== WebSocket.OPEN) return;
      if (clock.elapsed() - lastSignElapsed >= deadAfterMs) socket.terminate();
      else socket.ping();
    }
  };

  const run = async (): Promise<void> => {
    let failures = 0;
    while (!stopping.signal.aborted) {
      const opened = await connectOnce();
      failures = opened ? 0 : failures + 1;
      const waitMs = Math.max(settleMs, failures === 0 ? 0 : backoffMs(backoff, failures, random));
      if (!(await slept(clock, waitMs, stopping.signal))) return;
    }
  };

  return {
    start: () => {
      running ??= run();
    },
    state: () => state,
    silentForMs: () => clock.elapsed() - lastMessageElapsed,
    reconnect: (reason) => {
      current?.close(1000, reason.slice(0, 100));
      void terminateLater(current, clock, stopping.signal);
    },
    stop: async () => {
      stopping.abort();
      const socket = current;
      socket?.close(1000);
      void terminateLater(socket, clock, undefined);
      await running;
    },
  };
}

/** Cuts a connection whose closing handshake takes too long. */
async function terminateLater(
  socket: WebSocket | undefined,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (socket === undefined || socket.readyState === WebSocket.CLOSED) return;
  const ended = new AbortController();
  const onEnd = (): void => ended.abort();
  socket.once("close", onEnd);
  signal?.addEventListener("abort", onEnd, { once: true });
  await slept(clock, CLOSE_PATIENCE_MS, ended.signal);
  signal?.removeEventListener("abort", onEnd);
  socket.terminate();
}

/** Whether the whole pause passed; false when it was cut short. */
async function slept(clock: Clock, ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await clock.sleep(ms, signal);
    return true;
  } catch {
    return false;
  }
}

function socketUrl(baseUrl: string, clientId: string): string {
  const url = new URL(`${baseUrl.replace(/\/+$/, "")}/ws`);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.searchParams.set("clientId", clientId);
  return url.href;
}

function toBytes(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}
