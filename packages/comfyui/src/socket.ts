import { backoffMs, type BackoffPolicy, type Clock, type Random } from "@holdfast/runtime";
import { connect, slept, type Connection, type OpenSocket } from "./connection.ts";
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
  /** Takes the place of `ws`. */
  readonly openSocket?: OpenSocket;
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

/**
 * Makes the socket. Keeps F8: a connection is only opened after the one before has ended and a pause
 * has passed, so that the end of its handler in ComfyUI cannot unregister the new one.
 */
export function createComfySocket(options: ComfySocketOptions): ComfySocket {
  const { clock, onEvent } = options;
  const random = options.random ?? { next: () => 0 };
  const backoff = options.backoff ?? DEFAULT_BACKOFF;
  const settleMs = options.settleMs ?? DEFAULT_SETTLE_MS;
  const connectionOptions = {
    url: socketUrl(options.baseUrl, options.clientId),
    openSocket: options.openSocket,
    clock,
    headers: options.headers ?? {},
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? DEFAULT_HANDSHAKE_MS,
    maxFrameBytes: options.maxFrameBytes ?? DEFAULT_MAX_FRAME_BYTES,
    pingEveryMs: options.pingEveryMs ?? DEFAULT_PING_EVERY_MS,
    deadAfterMs: options.deadAfterMs ?? DEFAULT_DEAD_AFTER_MS,
  };
  const stopping = new AbortController();
  let state: SocketState = "closed";
  let lastMessageElapsed = clock.elapsed();
  let current: Connection | undefined;
  let running: Promise<void> | undefined;

  const enter = (next: SocketState, reason: string, code?: number): void => {
    state = next;
    onEvent({ kind: "state", state, reason, ...(code !== undefined && { code }) });
  };

  const connectOnce = async (): Promise<boolean> => {
    enter("connecting", "");
    const connection = connect(connectionOptions, {
      onOpen: () => {
        lastMessageElapsed = clock.elapsed();
        enter("open", "");
      },
      onFrame: (bytes, isBinary) => {
        lastMessageElapsed = clock.elapsed();
        onEvent(
          isBinary
            ? { kind: "binary", frame: parseBinaryFrame(bytes) }
            : { kind: "message", message: parseSocketMessage(bytes.toString("utf8")) },
        );
      },
    });
    current = connection;
    const end = await connection.ended;
    current = undefined;
    enter("closed", end.reason, end.code);
    return end.wasOpen;
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
    reconnect: (reason) => current?.close(reason),
    stop: async () => {
      stopping.abort();
      current?.close("");
      await running;
    },
  };
}

function socketUrl(baseUrl: string, clientId: string): string {
  const url = new URL(`${baseUrl.replace(/\/+$/, "")}/ws`);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.searchParams.set("clientId", clientId);
  return url.href;
}
