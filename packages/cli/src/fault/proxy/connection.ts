import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Clock } from "@holdfast/runtime";
import { chunkDelayMs, openDelayMs, type LineLoss } from "./line-loss.ts";
import type { OwnAnswer, ProxyRules, SeenRequest } from "./proxy-rule.ts";

/** What a connection asks its proxy. */
export interface ConnectionHost {
  readonly target: URL;
  readonly clock: Clock;
  readonly rules: ProxyRules;
  loss(): LineLoss | undefined;
  /** A chunk came late. */
  onLost(): void;
  areSocketsRefused(): boolean;
  onSocketRefused(): void;
  /** Closes every connection there is. */
  cutAll(): void;
  onClose(): void;
}

/** One connection of a caller and the one behind it. */
export interface ProxyConnection {
  /** It has become a WebSocket. */
  isSocket(): boolean;
  destroy(): void;
}

const REQUEST_START = /^([A-Z]+) (\S+) HTTP\/1\.1\r\n/;
/** What a request's start is looked for in. */
const LOOK_AT_BYTES = 2_048;
/** Of a body. A prompt's id may stand behind the whole graph. */
const MAX_BODY_KEPT = 1024 * 1024;

/** Passes bytes on, HTTP and WebSocket alike, and does to requests what rules say. */
export function openConnection(client: Socket, host: ConnectionHost): ProxyConnection {
  return new Connection(client, host);
}

class Connection implements ProxyConnection {
  readonly #client: Socket;
  readonly #upstream: Socket;
  readonly #host: ConnectionHost;
  #request: SeenRequest | undefined;
  #isSocket = false;
  /** The proxy answers, or has cut: what the caller still sends goes nowhere. */
  #isDeaf = false;
  /** Chunks of a request whose body is wanted whole; undefined: none is. */
  #held: { readonly chunks: Buffer[]; bytes: number; readonly wanted: number } | undefined;
  #isClosed = false;

  constructor(client: Socket, host: ConnectionHost) {
    this.#client = client;
    this.#host = host;
    this.#upstream = openUpstream(host.target);
    const { clock } = host;
    const loss = host.loss();
    const openLateMs = loss === undefined ? 0 : openDelayMs(loss);
    if (openLateMs > 0) {
      host.onLost();
      client.pause();
      void clock.sleep(openLateMs).then(() => client.resume());
    }
    client.on("data", (chunk) => this.#onClientData(chunk));
    this.#upstream.on("data", (chunk) => this.#onAnswerData(chunk));
    client.on("drain", () => this.#upstream.resume());
    this.#upstream.on("drain", () => client.resume());
    for (const socket of [client, this.#upstream]) {
      // An error is followed by `close`; a half-closed connection ends whole, as nobody here needs one.
      socket.on("error", () => this.destroy());
    }
    client.on("close", () => this.destroy());
    this.#upstream.on("close", () => {
      if (!this.#isDeaf) this.destroy();
    });
    client.on("end", () => this.#upstream.end());
    this.#upstream.on("end", () => {
      if (!this.#isDeaf) client.end();
    });
  }

  isSocket(): boolean {
    return this.#isSocket;
  }

  destroy(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#client.destroy();
    this.#upstream.destroy();
    this.#host.onClose();
  }

  #onClientData(chunk: Buffer): void {
    if (this.#isDeaf) return;
    if (this.#held !== undefined) return this.#hold(chunk);
    const head = chunk.subarray(0, LOOK_AT_BYTES).toString("latin1");
    const start = this.#isSocket ? null : REQUEST_START.exec(head);
    if (start !== null) return this.#begin(chunk, head, start);
    const seen = this.#request;
    if (seen !== undefined && seen.body.length < MAX_BODY_KEPT) {
      this.#request = { ...seen, body: seen.body + chunk.toString("latin1") };
    }
    this.#pass(this.#client, this.#upstream, chunk);
  }

  #begin(chunk: Buffer, head: string, start: RegExpExecArray): void {
    const { rules } = this.#host;
    const request = { method: start[1] ?? "", path: start[2] ?? "", body: bodyIn(chunk) };
    this.#request = request;
    if (/\r\nupgrade: websocket/i.test(head)) {
      if (this.#host.areSocketsRefused()) {
        this.#host.onSocketRefused();
        this.destroy();
        return;
      }
      this.#isSocket = true;
    }
    const action = rules.strike(request, "head");
    if (action?.kind === "answer") {
      return this.#answer({ status: action.status, json: { error: "injected" } });
    }
    if (action?.kind === "cut") {
      return action.connections === "all" ? this.#host.cutAll() : this.destroy();
    }
    const passed = withHost(chunk, head, this.#host.target.host);
    if (rules.wantsBody(request)) {
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
      const wanted = chunk.indexOf("\r\n\r\n") + 4 + Math.min(length, MAX_BODY_KEPT);
      const added = passed.length - chunk.length;
      this.#held = { chunks: [], bytes: 0, wanted: wanted + added };
      return this.#hold(passed);
    }
    this.#pass(this.#client, this.#upstream, passed);
  }

  /** Keeps a request back until its body is whole, then lets a rule answer it or passes it on. */
  #hold(chunk: Buffer): void {
    const held = this.#held;
    if (held === undefined) return;
    held.chunks.push(chunk);
    held.bytes += chunk.length;
    if (held.bytes < held.wanted) return;
    this.#held = undefined;
    const whole = Buffer.concat(held.chunks);
    const request = { method: "", path: "", ...this.#request, body: bodyIn(whole) };
    this.#request = request;
    const action = this.#host.rules.strike(request, "body");
    const own = action?.kind === "respond" ? action.respond(request) : undefined;
    if (own !== undefined) return this.#answer(own);
    this.#pass(this.#client, this.#upstream, whole);
  }

  #answer({ status, json }: OwnAnswer): void {
    this.#isDeaf = true;
    const body = JSON.stringify(json);
    this.#upstream.destroy();
    this.#client.end(
      `HTTP/1.1 ${status} Injected\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
  }

  #onAnswerData(chunk: Buffer): void {
    const request = this.#request;
    const action =
      request === undefined || this.#isSocket
        ? undefined
        : this.#host.rules.strike(request, "answer");
    if (action?.kind === "cut") {
      return action.connections === "all" ? this.#host.cutAll() : this.destroy();
    }
    // The rest of this answer belongs to the same request, which was struck already.
    this.#request = undefined;
    const lateMs = action?.kind === "delay" ? action.ms : 0;
    this.#pass(this.#upstream, this.#client, chunk, lateMs);
  }

  /** Writes on; a lost chunk holds up its direction, as TCP keeps the order. */
  #pass(from: Socket, to: Socket, chunk: Buffer, lateMs = 0): void {
    const loss = this.#host.loss();
    const lostMs = loss === undefined ? 0 : chunkDelayMs(loss);
    if (lostMs > 0) this.#host.onLost();
    if (lostMs + lateMs === 0) {
      if (!to.write(chunk)) from.pause();
      return;
    }
    from.pause();
    void this.#host.clock.sleep(lostMs + lateMs).then(() => {
      if (!to.destroyed && to.write(chunk)) from.resume();
    });
  }
}

function bodyIn(chunk: Buffer): string {
  const end = chunk.indexOf("\r\n\r\n");
  return end < 0 ? "" : chunk.subarray(end + 4, end + 4 + MAX_BODY_KEPT).toString("latin1");
}

function openUpstream(target: URL): Socket {
  const isTls = target.protocol === "https:";
  const port = target.port === "" ? (isTls ? 443 : 80) : Number(target.port);
  const host = target.hostname.replace(/^\[|\]$/g, "");
  return isTls ? connectTls({ host, port, servername: host }) : connectTcp({ host, port });
}

/** Requests name the host that they are for; it is ComfyUI's, not ours. */
function withHost(chunk: Buffer, head: string, host: string): Buffer {
  const found = /\r\nhost: [^\r\n]*/i.exec(head);
  if (found === null) return chunk;
  const after = found.index + found[0].length;
  return Buffer.concat([
    chunk.subarray(0, found.index),
    Buffer.from(`\r\nHost: ${host}`, "latin1"),
    chunk.subarray(after),
  ]);
}
