import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A TCP balancer on loopback: each new connection goes to the next target that takes it. */
export interface Balancer {
  readonly url: string;
  close(): Promise<void>;
}

const HOST = "127.0.0.1";

/** Listens on a free port; the targets are tried round robin, those that refuse are passed over. */
export async function startBalancer(targets: readonly number[]): Promise<Balancer> {
  const open = new Set<Socket>();
  let turn = 0;
  const server = createServer((client) => {
    open.add(client);
    client.on("error", () => client.destroy());
    client.on("close", () => open.delete(client));
    client.pause();
    turn += 1;
    tryTargets(client, [
      ...targets.slice(turn % targets.length),
      ...targets.slice(0, turn % targets.length),
    ]);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, HOST, resolve);
  });
  return {
    url: `http://${HOST}:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        for (const socket of open) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

function tryTargets(client: Socket, [port, ...others]: readonly number[]): void {
  if (port === undefined) {
    client.destroy();
    return;
  }
  const upstream = connect(port, HOST);
  let isConnected = false;
  upstream.once("connect", () => {
    isConnected = true;
    client.pipe(upstream).pipe(client);
    client.resume();
  });
  upstream.on("error", () => {
    if (isConnected) client.destroy();
    else tryTargets(client, others);
  });
  upstream.on("close", () => {
    if (isConnected) client.destroy();
  });
  client.on("close", () => upstream.destroy());
}
