/** Both sides' HTTP: one keep-alive agent, the same for the bare client and for Holdfast's. */
import { Agent, request } from "undici";

/** Connections that one side may open to its server. */
const MAX_CONNECTIONS = 64;

/** A caller of one server. `close` ends its connections. */
export function createCaller(base, { connections = MAX_CONNECTIONS } = {}) {
  const dispatcher = new Agent({ connections, keepAliveTimeout: 30_000 });
  const call = async (method, path, body, signal) => {
    const answer = await request(base + path, {
      dispatcher,
      method,
      signal,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    if (answer.statusCode >= 300) {
      throw new Error(
        `${method} ${path}: ${answer.statusCode} ${(await answer.body.text()).slice(0, 500)}`,
      );
    }
    return answer.body;
  };
  return {
    json: async (method, path, body, signal) => (await call(method, path, body, signal)).json(),
    /** For answers that are not looked at. */
    send: async (method, path, body) => (await call(method, path, body)).dump(),
    bytes: async (path) => (await call("GET", path)).arrayBuffer(),
    stream: (path) => call("GET", path),
    close: () => dispatcher.destroy(),
  };
}
