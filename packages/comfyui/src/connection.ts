import type { Clock } from "@holdfast/runtime";
import { WebSocket, type ClientOptions, type RawData } from "ws";

/** One WebSocket from its opening to its end. */
export interface Connection {
  /** Asks for a closing handshake, and cuts the connection when that takes too long. */
  close(reason: string): void;
  /** Resolves at the close event, which always comes; never rejects. */
  readonly ended: Promise<ConnectionEnd>;
}

/** How a connection ended. */
export interface ConnectionEnd {
  readonly wasOpen: boolean;
  /** 1006: without a closing handshake. */
  readonly code: number;
  readonly reason: string;
}

/** The part of a `ws` socket that a connection uses; `close` comes last, and always. */
export interface RawSocket {
  readonly readyState: number;
  on(event: "open" | "pong", listener: () => void): unknown;
  on(event: "message", listener: (data: RawData, isBinary: boolean) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "close", listener: (code: number, reason: Buffer) => void): unknown;
  send(text: string): void;
  ping(): void;
  close(code: number, reason: string): void;
  terminate(): void;
}

/** Begins to open a socket; what becomes of it is told by its events. */
export type OpenSocket = (url: string, options: ClientOptions) => RawSocket;

/** Limits and target of a connection. */
export interface ConnectionOptions {
  readonly url: string;
  /** Takes the place of `ws`. */
  readonly openSocket: OpenSocket | undefined;
  readonly clock: Clock;
  readonly headers: Readonly<Record<string, string>>;
  readonly handshakeTimeoutMs: number;
  readonly maxFrameBytes: number;
  readonly pingEveryMs: number;
  /** Neither frame nor pong for so long: cut it. */
  readonly deadAfterMs: number;
}

/** How long a closing handshake may take before the connection is cut. */
const CLOSE_PATIENCE_MS = 2_000;
/** A close frame carries at most 123 bytes of reason. */
const MAX_REASON = 40;
/** Must be the first message; previews then say which prompt they belong to. */
const FEATURE_FLAGS = '{"type":"feature_flags","data":{"supports_preview_metadata":true}}';

/** Opens a connection to ComfyUI's `/ws` and keeps watch over it. */
export function connect(
  options: ConnectionOptions,
  on: {
    readonly onOpen: () => void;
    readonly onFrame: (bytes: Buffer, isBinary: boolean) => void;
  },
): Connection {
  const { clock } = options;
  const over = new AbortController();
  const openSocket = options.openSocket ?? openWebSocket;
  const socket = openSocket(options.url, {
    handshakeTimeout: options.handshakeTimeoutMs,
    maxPayload: options.maxFrameBytes,
    perMessageDeflate: false,
    headers: options.headers,
  });
  let lastSign = clock.elapsed();
  let wasOpen = false;
  let failure = "";
  const heard = (): void => {
    lastSign = clock.elapsed();
  };
  const keepWatch = async (): Promise<void> => {
    while (await slept(clock, options.pingEveryMs, over.signal)) {
      if (clock.elapsed() - lastSign >= options.deadAfterMs) socket.terminate();
      else if (socket.readyState === WebSocket.OPEN) socket.ping();
    }
  };
  socket.on("open", () => {
    wasOpen = true;
    heard();
    socket.send(FEATURE_FLAGS);
    on.onOpen();
    void keepWatch();
  });
  socket.on("pong", heard);
  socket.on("message", (data, isBinary) => {
    heard();
    on.onFrame(toBytes(data), isBinary);
  });
  // A close event always follows.
  socket.on("error", (error) => {
    failure = error.message;
  });
  const ended = new Promise<ConnectionEnd>((resolve) => {
    socket.on("close", (code, reason) => {
      over.abort();
      resolve({ wasOpen, code, reason: failure !== "" ? failure : reason.toString("utf8") });
    });
  });
  return {
    ended,
    close: (reason) => {
      socket.close(1000, reason.slice(0, MAX_REASON));
      void slept(clock, CLOSE_PATIENCE_MS, over.signal).then(() => socket.terminate());
    },
  };
}

const openWebSocket: OpenSocket = (url, options) => new WebSocket(url, options);

/** Whether the whole pause passed; false when the signal cut it short. */
export async function slept(clock: Clock, ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await clock.sleep(ms, signal);
    return true;
  } catch {
    return false;
  }
}

function toBytes(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}
