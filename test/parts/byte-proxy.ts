/** A loopback proxy in front of one server that counts what is sent to it, and loses answers. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A running proxy. */
export interface ByteProxy {
  readonly url: string;
  /** Calls once, between two pieces, as soon as so many more bytes have been sent to the server. */
  afterSending(bytes: number, call: () => void): void;
  /**
   * Drops so many answers to requests whose first line fits, and cuts their connections. Resolves when
   * the first one was dropped.
   */
  loseAnswers(request: RegExp, count: number): Promise<void>;
  /** All answers pass again. */
  passAnswers(): void;
  close(): Promise<void>;
}

/** Starts one in front of `http://host:port`. */
export async function startByteProxy(target: string): Promise<ByteProxy> {
  const { hostname, port } = new URL(target);
  const open = new Set<Socket>();
  let sent = 0;
  let trigger: { readonly at: number; readonly call: () => void } | undefined;
  let losing: { readonly request: RegExp; left: number; readonly done: () => void } | undefined;
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
    let isLosing = false;
    const cut = (): void => {
      client.destroy();
      upstream.destroy();
    };
    // One side's orderly end is the other's, once what was sent before has arrived.
    const directions = [
      [client, upstream],
      [upstream, client],
    ] as const;
    for (const [socket, other] of directions) {
      open.add(socket);
      socket.on("error", cut);
      socket.on("end", () => other.end());
      socket.on("close", (hadError) => {
        open.delete(socket);
        if (hadError) cut();
      });
    }
    client.on("data", (chunk) => {
      sent += chunk.length;
      if (trigger !== undefined && sent >= trigger.at) {
        const { call } = trigger;
        trigger = undefined;
        call();
      }
      const line = chunk.toString("latin1", 0, Math.max(0, chunk.indexOf("\r\n")));
      isLosing ||= losing !== undefined && losing.left > 0 && losing.request.test(line);
      if (upstream.write(chunk)) return;
      client.pause();
      upstream.once("drain", () => client.resume());
    });
    upstream.on("data", (chunk) => {
      if (!isLosing) return void client.write(chunk);
      if (losing !== undefined) losing.left -= 1;
      losing?.done();
      cut();
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    afterSending(bytes, call) {
      trigger = { at: sent + bytes, call };
    },
    loseAnswers: (request, count) =>
      new Promise((done) => {
        losing = { request, left: count, done };
      }),
    passAnswers() {
      losing = undefined;
    },
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}
