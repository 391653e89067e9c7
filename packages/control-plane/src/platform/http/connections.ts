import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** Knows which connections of a server carry a request now. */
export interface Connections {
  /** Ends every connection without a request, and each of the others when its request is answered. */
  endIdle(): void;
}

/**
 * Watches a server's connections. Node's own `closeIdleConnections` passes over connections that
 * never carried a request, such as those that browsers open in advance: they would hold a closing
 * server for as long as it is ready to wait.
 */
export function watchConnections(server: Server): Connections {
  const requests = new Map<Socket, number>();
  let isEnding = false;
  server.on("connection", (socket: Socket) => {
    requests.set(socket, 0);
    socket.once("close", () => requests.delete(socket));
  });
  server.on("request", ({ socket }: IncomingMessage, response: ServerResponse) => {
    requests.set(socket, (requests.get(socket) ?? 0) + 1);
    response.once("close", () => {
      const left = (requests.get(socket) ?? 1) - 1;
      if (!requests.has(socket)) return;
      requests.set(socket, left);
      if (isEnding && left === 0) socket.end();
    });
  });
  return {
    endIdle() {
      isEnding = true;
      for (const [socket, count] of requests) if (count === 0) socket.destroy();
    },
  };
}
