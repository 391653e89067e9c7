import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer, type RawData } from "ws";
import type { EventSink } from "./engine/events.ts";
import type { FaultPlan } from "./faults/plan.ts";
import type { Pause } from "./faults/pause.ts";
import type { Preview } from "./nodes/node-class.ts";
import { encodeJpeg } from "./pixels/jpeg.ts";
import { encodePng } from "./pixels/png.ts";

const PREVIEW_EVENT = 1;
const TEXT_EVENT = 3;
const NAMED_PREVIEW_EVENT = 4;
const JPEG_TYPE = 1;
const PNG_TYPE = 2;

/** What `/features` and a feature-flags answer say. */
export const SERVER_FEATURES = { supports_preview_metadata: true, max_upload_size: 104_857_600 };

/** The part of a `ws` socket that the hub uses. */
export interface HubSocket {
  readonly readyState: number;
  readonly OPEN: number;
  on(event: "message", listener: (data: RawData, isBinary: boolean) => void): unknown;
  on(event: "ping", listener: (data: Buffer) => void): unknown;
  on(event: "close" | "error", listener: () => void): unknown;
  send(frame: string | Buffer): void;
  pong(data: Buffer): void;
  terminate(): void;
}

interface Connection {
  readonly socket: HubSocket;
  readonly sid: string;
  /** Open, and silent for ever: a stalled peer. */
  isMuted: boolean;
  isFirstMessage: boolean;
  /** Events of the running prompt that went out on it. */
  promptId: string;
  promptEvents: number;
}

/** What the hub asks of the running process. */
interface SocketHost {
  queueInfo(): unknown;
  /** The client whose prompt runs, and the node it is at. */
  current(): { readonly clientId: string | null; readonly node: string | null };
  mintSid(): string;
}

/**
 * The WebSocket side (server.py, 0.3.64). One socket is registered for each client id; the end of
 * any socket's handler takes the id out, whichever socket is registered by then (F8).
 */
export class SocketHub implements EventSink {
  readonly #server = new WebSocketServer({ noServer: true, autoPong: false });
  readonly #registered = new Map<string, Connection>();
  readonly #flags = new Map<string, Readonly<Record<string, unknown>>>();
  readonly #open = new Set<Connection>();
  readonly #plan: FaultPlan;
  readonly #pause: Pause;
  #backlog: (() => void)[] = [];
  /** The preview that was encoded last: the steps of a sampling show the same one. */
  #encoded: { readonly key: string; readonly bytes: Buffer } | null = null;
  #host: SocketHost;

  constructor(host: SocketHost, plan: FaultPlan, pause: Pause) {
    this.#host = host;
    this.#plan = plan;
    this.#pause = pause;
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** Takes over a connection that asked for `/ws`. */
  accept(request: IncomingMessage, socket: Duplex, head: Buffer, clientId: string): void {
    this.#server.handleUpgrade(request, socket, head, (ws) => this.attach(ws, clientId));
  }

  /** Takes over an open socket. */
  attach(socket: HubSocket, clientId: string): void {
    const sid = clientId === "" ? this.#host.mintSid() : clientId;
    const connection: Connection = {
      socket,
      sid,
      isMuted: false,
      isFirstMessage: true,
      promptId: "",
      promptEvents: 0,
    };
    this.#open.add(connection);
    this.#registered.set(sid, connection);
    this.#flags.set(sid, {});
    this.send("status", { status: this.#host.queueInfo(), sid }, sid);
    const current = this.#host.current();
    if (current.clientId === sid && current.node !== null) {
      this.send("executing", { node: current.node }, sid);
    }
    socket.on("message", (data, isBinary) => {
      if (!isBinary) this.#receive(connection, bufferText(data));
    });
    socket.on("ping", (data: Buffer) => {
      if (!connection.isMuted) socket.pong(data);
    });
    // The peer's trouble: `close` follows, and is where the connection ends.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.#open.delete(connection);
      this.#registered.delete(sid);
      this.#flags.delete(sid);
    });
  }

  #receive(connection: Connection, text: string): void {
    let message: unknown;
    try {
      message = JSON.parse(text);
    } catch {
      // A frame that is no JSON does not even count as the first message.
      return;
    }
    const { type, data } = (message ?? {}) as { readonly type?: unknown; readonly data?: unknown };
    if (connection.isFirstMessage && type === "feature_flags") {
      this.#flags.set(connection.sid, (data ?? {}) as Readonly<Record<string, unknown>>);
      this.send("feature_flags", SERVER_FEATURES, connection.sid);
    }
    connection.isFirstMessage = false;
  }

  send(type: string, data: Readonly<Record<string, unknown>>, to: string | null): void {
    const targets = this.#targets(to);
    if (targets.length === 0) return;
    const text = JSON.stringify({ type, data });
    const promptId = typeof data["prompt_id"] === "string" ? data["prompt_id"] : null;
    for (const target of targets) this.#deliver(target, text, promptId);
  }

  isHeard(to: string | null): boolean {
    return to === null ? this.#registered.size > 0 : this.#registered.has(to);
  }

  wantsNamedPreviews(to: string | null): boolean {
    return to !== null && this.#flags.get(to)?.["supports_preview_metadata"] === true;
  }

  preview(preview: Preview, to: string | null): void {
    if (!this.isHeard(to)) return;
    const head = Buffer.alloc(8);
    head.writeUInt32BE(PREVIEW_EVENT, 0);
    head.writeUInt32BE(preview.format === "JPEG" ? JPEG_TYPE : PNG_TYPE, 4);
    this.#sendBytes(Buffer.concat([head, this.#encode(preview)]), to);
  }

  namedPreview(
    preview: Preview,
    about: Readonly<Record<string, unknown>>,
    to: string | null,
  ): void {
    if (!this.isHeard(to)) return;
    const imageType = preview.format === "JPEG" ? "image/jpeg" : "image/png";
    const metadata = Buffer.from(JSON.stringify({ ...about, image_type: imageType }));
    const head = Buffer.alloc(8);
    head.writeUInt32BE(NAMED_PREVIEW_EVENT, 0);
    head.writeUInt32BE(metadata.length, 4);
    this.#sendBytes(Buffer.concat([head, metadata, this.#encode(preview)]), to);
  }

  text(nodeId: string, text: string, to: string | null): void {
    const id = Buffer.from(nodeId);
    const head = Buffer.alloc(8);
    head.writeUInt32BE(TEXT_EVENT, 0);
    head.writeUInt32BE(id.length, 4);
    this.#sendBytes(Buffer.concat([head, id, Buffer.from(text)]), to);
  }

  /** Cuts every socket, as the end of the process does: the peer sees 1006. */
  cutAll(): void {
    for (const { socket } of this.#open) socket.terminate();
    this.#open.clear();
    this.#registered.clear();
    this.#flags.clear();
    this.#backlog = [];
  }

  /** Silences every open socket, without closing it. */
  muteAll(): void {
    for (const connection of this.#open) connection.isMuted = true;
  }

  /** Forgets which socket belongs to which client id, of one or of all. */
  unregister(sid?: string): void {
    if (sid === undefined) this.#registered.clear();
    else this.#registered.delete(sid);
  }

  #encode(preview: Preview): Buffer {
    const key = `${preview.format}:${preview.picture.key}`;
    if (this.#encoded?.key !== key) this.#encoded = { key, bytes: encodePreview(preview) };
    return this.#encoded.bytes;
  }

  #targets(to: string | null): readonly Connection[] {
    if (to === null) return [...this.#registered.values()];
    const one = this.#registered.get(to);
    return one === undefined ? [] : [one];
  }

  #sendBytes(bytes: Buffer, to: string | null): void {
    for (const target of this.#targets(to)) this.#deliver(target, bytes, null);
  }

  #deliver(connection: Connection, frame: string | Buffer, promptId: string | null): void {
    const pause = this.#pause.untilOver();
    if (pause !== undefined || this.#backlog.length > 0) {
      this.#backlog.push(() => this.#write(connection, frame, promptId));
      if (this.#backlog.length === 1) void this.#flushAfter(pause ?? Promise.resolve());
      return;
    }
    this.#write(connection, frame, promptId);
  }

  async #flushAfter(pause: Promise<void>): Promise<void> {
    await pause;
    const waiting = this.#backlog;
    this.#backlog = [];
    for (const write of waiting) write();
  }

  #write(connection: Connection, frame: string | Buffer, promptId: string | null): void {
    if (connection.isMuted || connection.socket.readyState !== connection.socket.OPEN) return;
    if (promptId !== null && !this.#plan.isEmpty && this.#strike(connection, promptId)) return;
    if (promptId !== null) {
      connection.promptEvents = connection.promptId === promptId ? connection.promptEvents + 1 : 1;
      connection.promptId = promptId;
    }
    connection.socket.send(frame);
  }

  /** Lets a fault have the event; true when it did. */
  #strike(connection: Connection, promptId: string): boolean {
    const sent = connection.promptId === promptId ? connection.promptEvents : 0;
    const isDue = (action: { readonly afterEvents?: number }): boolean =>
      sent >= (action.afterEvents ?? 0);
    if (this.#plan.strike("drop_socket", { promptId }, isDue) !== null) {
      connection.socket.terminate();
      return true;
    }
    if (this.#plan.strike("stall_socket", { promptId }, isDue) !== null) {
      connection.isMuted = true;
      return true;
    }
    if (this.#plan.strike("lose_registration", { promptId }, isDue) !== null) {
      this.unregister(connection.sid);
      return true;
    }
    return false;
  }
}

function encodePreview({ picture, format }: Preview): Buffer {
  return format === "JPEG"
    ? encodeJpeg(picture)
    : encodePng(picture.width, picture.height, picture.paint());
}

function bufferText(data: RawData): string {
  if (Array.isArray(data)) return Buffer.concat(data).toString("utf8");
  return Buffer.from(data as Buffer).toString("utf8");
}
