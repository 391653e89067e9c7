import { createServer, type RequestListener } from "node:http";
import { createServer as createTcpServer, type AddressInfo, type Server } from "node:net";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, describe, expect, test } from "vitest";
import { createHttpProbe, judgeStatus, tellFailure } from "./probe.ts";

const servers: Server[] = [];
const listen = async (server: Server): Promise<number> => {
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return (server.address() as AddressInfo).port;
};
const serve = (handler: RequestListener): Promise<number> => listen(createServer(handler));
const close = async (server: Server): Promise<void> => {
  (server as Partial<{ closeAllConnections(): void }>).closeAllConnections?.();
  await new Promise((resolve) => void server.close(resolve));
};
afterEach(async () => {
  for (const server of servers.splice(0)) await close(server);
});

const never = new AbortController().signal;
const look = (port: number, over: { timeoutMs?: number; expectStatus?: number[] } = {}) =>
  createHttpProbe(systemClock)(
    { url: `http://127.0.0.1:${port}/health?key=secret`, timeoutMs: 5_000, ...over },
    never,
  );

describe("what a look finds", () => {
  test("a status that is well passes", async () => {
    const port = await serve((_request, response) => response.end("fine"));
    expect(await look(port)).toEqual({ kind: "passed", detail: "HTTP 200" });
  });

  test("another status fails", async () => {
    const port = await serve((_request, response) => response.writeHead(503).end());
    expect(await look(port)).toEqual({
      kind: "failed",
      detail: "HTTP 503 (expected 200 to 299)",
    });
    expect(await look(port, { expectStatus: [401, 503] })).toMatchObject({ kind: "passed" });
  });

  test("a redirect is not followed", async () => {
    let asked = 0;
    const port = await serve((_request, response) => {
      asked += 1;
      response.writeHead(302, { location: "/login" }).end();
    });
    expect(await look(port)).toEqual({
      kind: "failed",
      detail: "HTTP 302 (expected 200 to 299; it points elsewhere, and that is not followed)",
    });
    expect(asked).toBe(1);
  });

  test("nothing that listens is refused, and a key in the URL is not told", async () => {
    const server = createServer();
    const port = await listen(server);
    await close(server);
    const outcome = await look(port);
    expect(outcome).toEqual({
      kind: "failed",
      detail: `connection refused: nothing listens there (127.0.0.1:${port})`,
    });
  });

  test("one that takes the connection and says nothing times out", async () => {
    const port = await listen(createTcpServer((socket) => void socket.resume()));
    expect(await look(port, { timeoutMs: 100 })).toEqual({
      kind: "failed",
      detail: `timed out after 0.1 s (127.0.0.1:${port})`,
    });
  });

  test("one that hangs up, or speaks something else, is told as that", async () => {
    const hangsUp = await listen(createTcpServer((socket) => socket.destroy()));
    expect((await look(hangsUp)).detail).toMatch(/before an answer came/);
    const redis = await listen(
      createTcpServer((socket) => {
        socket.on("error", () => undefined).resume();
        socket.end("-ERR unknown command\r\n");
      }),
    );
    expect((await look(redis)).detail).toMatch(/its answer is not HTTP/);
  });

  test("a body without end changes nothing, and is not read for ever", async () => {
    let written = 0;
    const port = await serve((_request, response) => {
      const more = (): void => {
        const chunk = Buffer.alloc(16 * 1024);
        while (!response.destroyed && response.write(chunk)) written += chunk.length;
        if (!response.destroyed) response.once("drain", more);
      };
      more();
    });
    expect(await look(port)).toMatchObject({ kind: "passed" });
    expect(written).toBeLessThan(50 * 1024 * 1024);
  });

  test("each look is a connection of its own", async () => {
    const server = createServer((_request, response) => response.end());
    let connections = 0;
    server.on("connection", () => (connections += 1));
    const port = await listen(server);
    await look(port);
    await look(port);
    expect(connections).toBe(2);
  });

  test("an abort ends it", async () => {
    const port = await listen(createTcpServer((socket) => void socket.resume()));
    const stop = new AbortController();
    const looking = createHttpProbe(createFakeClock())(
      { url: `http://127.0.0.1:${port}/`, timeoutMs: 5_000 },
      stop.signal,
    );
    stop.abort(new Error("stopping"));
    expect((await looking).kind).toBe("failed");
  });
});

const withCode = (code: string, cause?: unknown): Error =>
  Object.assign(new Error("text", { cause }), { code });

describe("failures in words", () => {
  const target = { url: "https://user:pw@redis.local:6379/x", timeoutMs: 5_000 };

  test.each([
    [withCode("ENOTFOUND"), /^its name cannot be resolved \(redis.local:6379\)$/],
    [withCode("EAI_AGAIN"), /the name server does not answer/],
    [withCode("UND_ERR_SOCKET"), /closed before an answer/],
    [withCode("DEPTH_ZERO_SELF_SIGNED_CERT"), /certificate is not trusted: DEPTH_ZERO/],
    [withCode("ERR_SSL_WRONG_VERSION_NUMBER"), /no TLS connection: ERR_SSL/],
    [withCode("SOMETHING", withCode("ECONNREFUSED")), /refused/],
    [new AggregateError([withCode("EHOSTUNREACH")], "all failed"), /no route to the host/],
    [new Error("odd"), /^odd \(redis.local:6379\)$/],
    ["odder", /^odder/],
  ])("%s", (error, expected) => {
    expect(tellFailure(error, target)).toMatch(expected);
    expect(tellFailure(error, target)).not.toContain("pw");
  });

  test("what is no URL is told as that", () => {
    expect(tellFailure(new Error("x"), { url: "::", timeoutMs: 1 })).toBe("x (not a URL)");
  });

  test("expected statuses are listed", () => {
    expect(judgeStatus(200, undefined, [204, 401]).detail).toBe("HTTP 200 (expected 204, 401)");
  });
});
