/** A TCP balancer on loopback: each new connection goes to the next target that takes it. */
import { connect, createServer, type Socket } from "node:net";

/** A running balancer. */
export interface Balancer {
  readonly port: number;
  /**
   * Takes a target out, its connections too, or puts it back: what a balancer's health check does
   * with one that takes connections and does not answer.
   */
  setOut(target: number, isOut: boolean): void;
  close(): Promise<void>;
}

/** Listens on a free port; the targets are tried round robin, those that refuse are passed over. */
export function startBalancer(targets: readonly number[]): Promise<Balancer> {
  const open = new Set<Socket>();
  const upstreams = new Map<Socket, number>();
  const out = new Set<number>();
  let turn = 0;
  const server = createServer((client) => {
    open.add(client);
    client.on("error", () => client.destroy());
    client.on("close", () => open.delete(client));
    client.pause();
    const first = (turn += 1);
    const attempt = (index: number): void => {
      const port = targets[(first + index) % targets.length];
      if (index >= targets.length || port === undefined) {
        client.destroy();
        return;
      }
      if (out.has(port)) return attempt(index + 1);
      const upstream = connect(port, "127.0.0.1");
      upstreams.set(upstream, port);
      let connected = false;
      upstream.once("connect", () => {
        connected = true;
        client.pipe(upstream).pipe(client);
        client.resume();
      });
      upstream.on("error", () => {
        if (connected) client.destroy();
        else attempt(index + 1);
      });
      upstream.on("close", () => {
        upstreams.delete(upstream);
        if (connected) client.destroy();
      });
      client.on("close", () => upstream.destroy());
    };
    attempt(0);
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve({
        port: typeof address === "object" && address !== null ? address.port : 0,
        setOut(target, isOut) {
          if (!isOut) return void out.delete(target);
          out.add(target);
          for (const [upstream, port] of upstreams) {
            if (port === target) upstream.destroy(new Error("taken out"));
          }
        },
        close: () =>
          new Promise((done) => {
            for (const socket of open) socket.destroy();
            server.close(() => done());
          }),
      });
    });
  });
}
