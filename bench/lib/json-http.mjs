/** Both sides' HTTP: one keep-alive agent, the same for the bare client and for Holdfast's. */
import { Agent as WideAgent, request as wideRequest } from "node:http";
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

/**
 * The same for thousands of calls that are held open: `undici` looks through all connections for a free
 * one at each call.
 */
export function createWideCaller(base) {
  const agent = new WideAgent({ keepAlive: true, maxSockets: Infinity });
  const call = (method, path, body) =>
    new Promise((resolve, reject) => {
      const sent = wideRequest(
        base + path,
        { agent, method, headers: { "content-type": "application/json" } },
        (answer) => {
          const parts = [];
          answer.on("data", (part) => parts.push(part));
          answer.on("error", reject);
          answer.on("end", () => {
            const text = Buffer.concat(parts).toString();
            if (answer.statusCode < 300) resolve(text);
            else reject(new Error(`${method} ${path}: ${answer.statusCode} ${text.slice(0, 500)}`));
          });
        },
      );
      sent.on("error", reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  return {
    json: async (...request) => JSON.parse(await call(...request)),
    text: (path) => call("GET", path),
    send: call,
    close: async () => agent.destroy(),
  };
}
