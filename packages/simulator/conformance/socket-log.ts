import { WebSocket } from "ws";

/** One frame as it came: text parsed, binary as bytes. */
export type Frame =
  | {
      readonly kind: "json";
      readonly json: { readonly type: string; readonly data: Record<string, unknown> };
    }
  | { readonly kind: "binary"; readonly bytes: Buffer };

/** A WebSocket that keeps what it hears, and can be waited on. */
export class SocketLog {
  readonly frames: Frame[] = [];
  /** How it ended; undefined before. */
  closeCode: number | undefined;
  readonly #socket: WebSocket;
  #waiters: (() => void)[] = [];

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data: Buffer, isBinary) => {
      this.frames.push(
        isBinary
          ? { kind: "binary", bytes: data }
          : { kind: "json", json: JSON.parse(data.toString("utf8")) as never },
      );
      this.#tell();
    });
    socket.on("close", (code) => {
      this.closeCode = code;
      this.#tell();
    });
    socket.on("error", () => this.#tell());
  }

  /** Opens one at `path` (`/ws?clientId=…`) of a server. */
  static async open(url: string, path: string): Promise<SocketLog> {
    const log = new SocketLog(new WebSocket(`${url.replace("http", "ws")}${path}`));
    await new Promise<void>((resolve, reject) => {
      log.#socket.once("open", resolve);
      log.#socket.once("error", reject);
    });
    return log;
  }

  get isOpen(): boolean {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /** Types of the text frames so far. */
  get types(): readonly string[] {
    return this.frames.flatMap((frame) => (frame.kind === "json" ? [frame.json.type] : []));
  }

  send(text: string): void {
    this.#socket.send(text);
  }

  /** Waits until `isThere`; throws with what came instead after `limitMs`. */
  async until(isThere: () => boolean, limitMs = 15_000): Promise<void> {
    const timer = setTimeout(() => this.#tell(), limitMs);
    const deadline = performance.now() + limitMs;
    try {
      while (!isThere()) {
        if (performance.now() >= deadline) {
          throw new Error(`waited ${String(limitMs)} ms; heard ${this.types.join(", ")}`);
        }
        await new Promise<void>((resolve) => this.#waiters.push(resolve));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Waits until a node is told to run. */
  untilExecuting(nodeId: string): Promise<void> {
    return this.until(() =>
      this.frames.some(
        ({ kind, ...frame }) =>
          kind === "json" &&
          "json" in frame &&
          frame.json.type === "executing" &&
          frame.json.data["node"] === nodeId,
      ),
    );
  }

  /** Waits for the end marker of a prompt, `executing {node: null}`. */
  untilEnded(promptId: string): Promise<void> {
    return this.until(() =>
      this.frames.some(
        ({ kind, ...frame }) =>
          kind === "json" &&
          "json" in frame &&
          frame.json.type === "executing" &&
          frame.json.data["node"] === null &&
          frame.json.data["prompt_id"] === promptId,
      ),
    );
  }

  /** Waits for the peer to end it, or ends it here. */
  async close(): Promise<void> {
    if (this.#socket.readyState === WebSocket.CLOSED) return;
    const closed = new Promise<void>((resolve) => this.#socket.once("close", () => resolve()));
    this.#socket.close();
    await closed;
  }

  /** Waits until the peer has ended it. */
  async untilClosed(): Promise<void> {
    await this.until(() => this.#socket.readyState === WebSocket.CLOSED);
  }

  #tell(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}
