/** A loopback proxy that passes bytes on, and cuts when it is told to. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** When the next `POST /prompt` is cut. */
export type CutPoint =
  /** The request is through, its answer never comes. */
  | "after_request"
  /** ComfyUI has answered, the caller does not hear it. */
  | "at_answer"
  /** ComfyUI gets the first half of the request only. */
  | "mid_request";

/** A running proxy. */
export interface TcpProxy {
  readonly url: string;
  /** Cuts at the next `POST /prompt`, once; resolves when it has. */
  cutAtNextPrompt(point: CutPoint): Promise<void>;
  /** The ids of the prompts that were posted, in order, whatever became of the answers. */
  postedPromptIds(): readonly string[];
  /** Cuts every connection now; the next ones pass. */
  cutAll(): number;
  close(): Promise<void>;
}

/** Starts one in front of `http://host:port`. */
export async function startTcpProxy(target: string): Promise<TcpProxy> {
  const { hostname, port } = new URL(target);
  const pairs = new Set<Pair>();
  const posted: string[] = [];
  let armed: Cut;
  const takeCut = (): Cut => {
    const taken = armed;
    armed = undefined;
    return taken;
  };
  const server = createServer((client) => {
    const pair = new Pair(client, connect(Number(port), hostname), {
      takeCut,
      onPosted: (promptId) => posted.push(promptId),
    });
    pairs.add(pair);
    client.once("close", () => pairs.delete(pair));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cutAtNextPrompt: (point) =>
      new Promise((done) => {
        armed = { point, done };
      }),
    postedPromptIds: () => posted,
    cutAll() {
      const count = pairs.size;
      for (const pair of pairs) pair.destroy();
      return count;
    },
    async close() {
      for (const pair of pairs) pair.destroy();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}

type Cut = { readonly point: CutPoint; readonly done: () => void } | undefined;

/** One connection of a caller and the one behind it. */
class Pair {
  readonly #client: Socket;
  readonly #upstream: Socket;
  readonly #on: { takeCut(): Cut; onPosted(promptId: string): void };
  #cut: Cut;
  /** The `POST /prompt` that is on its way; undefined between two. */
  #request: string | undefined;

  constructor(
    client: Socket,
    upstream: Socket,
    on: { takeCut(): Cut; onPosted(promptId: string): void },
  ) {
    this.#client = client;
    this.#upstream = upstream;
    this.#on = on;
    for (const socket of [client, upstream]) {
      socket.on("error", () => this.destroy());
      socket.on("close", () => this.destroy());
    }
    client.on("data", (chunk) => this.#onRequest(chunk));
    upstream.on("data", (chunk) => {
      if (this.#cut?.point === "at_answer") this.#end();
      else client.write(chunk);
    });
  }

  destroy(): void {
    this.#client.destroy();
    this.#upstream.destroy();
  }

  #onRequest(chunk: Buffer): void {
    const text = chunk.toString("latin1");
    if (text.startsWith("POST /prompt")) {
      this.#request = "";
      this.#cut = this.#on.takeCut();
    }
    if (this.#cut?.point === "mid_request") {
      this.#upstream.write(chunk.subarray(0, Math.floor(chunk.length / 2)), () => this.#end());
      return;
    }
    if (this.#request !== undefined) this.#request += text;
    const isThrough = this.#request !== undefined && isWhole(this.#request);
    if (isThrough) {
      this.#on.onPosted(/"prompt_id":"([^"]+)"/.exec(this.#request ?? "")?.[1] ?? "");
      this.#request = undefined;
    }
    this.#upstream.write(chunk, () => {
      if (isThrough && this.#cut?.point === "after_request") this.#end();
    });
  }

  #end(): void {
    this.destroy();
    this.#cut?.done();
    this.#cut = undefined;
  }
}

/** True when the body that the header announces has passed. */
function isWhole(request: string): boolean {
  const [head = "", ...rest] = request.split("\r\n\r\n");
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1]);
  return Number.isNaN(length)
    ? request.endsWith("0\r\n\r\n")
    : rest.join("\r\n\r\n").length >= length;
}
