import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, describe, expect, test } from "vitest";
import { createGuardedFetch, type FetchOutcome, type GuardedFetch } from "./guarded-fetch.ts";
import { parseUrlRules } from "./url-rules.ts";

const open: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function serve(listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  open.push({
    close: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function guarded(options: Partial<Parameters<typeof createGuardedFetch>[0]> = {}): GuardedFetch {
  const made = createGuardedFetch({
    clock: systemClock,
    rules: parseUrlRules("127.0.0.1"),
    ...options,
  });
  open.push(made);
  return made;
}

const limits = { timeoutMs: 5_000, maxBytes: 1_000, maxRedirects: 5 };

async function text(outcome: FetchOutcome): Promise<string> {
  if (outcome.kind !== "answered") throw new Error(`${outcome.kind}: ${outcome.reason}`);
  const chunks: Uint8Array[] = [];
  for await (const chunk of outcome.body) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

test("an address that the rules name is fetched, and no other private one", async () => {
  const url = await serve((_request, response) => response.end("hello"));
  expect(await text(await guarded().fetch(url, limits))).toBe("hello");
  const strict = guarded({ rules: parseUrlRules("") });
  expect(await strict.fetch(url, limits)).toMatchObject({ kind: "forbidden" });
  expect(await strict.check(url)).toMatchObject({ kind: "forbidden" });
});

test("a name that leads to a private address is refused, also among public ones", async () => {
  let asked = 0;
  const url = await serve((_request, response) => {
    asked += 1;
    response.end();
  });
  const { port } = new URL(url);
  const fetcher = guarded({
    rules: parseUrlRules(""),
    resolve: async () => [
      { address: "93.184.216.34", family: 4 },
      { address: "127.0.0.1", family: 4 },
    ],
  });
  expect(await fetcher.check(`http://evil.example:${port}/`)).toMatchObject({ kind: "forbidden" });
  expect(await fetcher.fetch(`http://evil.example:${port}/`, limits)).toMatchObject({
    kind: "forbidden",
    reason: expect.stringContaining("127.0.0.1"),
  });
  expect(asked).toBe(0);
});

test("a name that changes its address after the check is refused at the connection", async () => {
  const url = await serve((_request, response) => response.end("secret"));
  const { port } = new URL(url);
  const answers = ["93.184.216.34", "127.0.0.1"];
  const fetcher = guarded({
    rules: parseUrlRules(""),
    resolve: async () => [{ address: answers.shift() ?? "127.0.0.1", family: 4 }],
  });
  expect(await fetcher.check(`http://rebind.example:${port}/`)).toEqual({ kind: "allowed" });
  expect(await fetcher.fetch(`http://rebind.example:${port}/`, limits)).toMatchObject({
    kind: "forbidden",
  });
});

test("a name is looked up once for a connection: the checked address is the called one", async () => {
  const url = await serve((request, response) => response.end(request.headers.host));
  const { port } = new URL(url);
  let lookups = 0;
  const fetcher = guarded({
    resolve: async () => {
      lookups += 1;
      return [{ address: "127.0.0.1", family: 4 }];
    },
  });
  const outcome = await fetcher.fetch(`http://named.example:${port}/`, limits);
  expect(await text(outcome)).toBe(`named.example:${port}`);
  expect(lookups).toBe(1);
});

describe("redirects", () => {
  test("are followed, and each target is judged", async () => {
    const url = await serve((request, response) => {
      if (request.url === "/first") response.writeHead(302, { location: "/second" }).end();
      else if (request.url === "/second") response.end("there");
      else response.writeHead(307, { location: "http://169.254.169.254/latest/meta-data" }).end();
    });
    expect(await text(await guarded().fetch(`${url}/first`, limits))).toBe("there");
    expect(await guarded().fetch(`${url}/inside`, limits)).toMatchObject({
      kind: "forbidden",
      reason: expect.stringContaining("169.254.169.254"),
    });
  });

  test("end after the limit", async () => {
    const url = await serve((_request, response) => {
      response.writeHead(302, { location: "/again" }).end();
    });
    expect(await guarded().fetch(url, limits)).toMatchObject({
      kind: "unreachable",
      reason: expect.stringContaining("redirects"),
    });
  });

  test("are an answer like any other when none may be followed", async () => {
    const url = await serve((_request, response) => {
      response.writeHead(302, { location: "/again" }).end();
    });
    const outcome = await guarded().fetch(url, { ...limits, maxRedirects: 0 });
    expect(outcome).toMatchObject({ kind: "answered", status: 302 });
    if (outcome.kind === "answered") outcome.discard();
  });
});

test("a body over the limit stops at the limit", async () => {
  const url = await serve((_request, response) => response.end("x".repeat(2_000)));
  await expect(guarded().fetch(url, limits).then(text)).rejects.toMatchObject({
    code: "file_too_large",
  });
});

test("a server that never answers is given up at the deadline", async () => {
  const clock = createFakeClock();
  let arrived = (): void => undefined;
  const asked = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const url = await serve(() => arrived());
  const outcome = guarded({ clock }).fetch(url, limits);
  await asked;
  await clock.advance(5_001);
  expect(await outcome).toEqual({ kind: "unreachable", reason: "no answer within 5 s" });
  expect(clock.sleeperCount()).toBe(0);
});

test("a connection that is cut, refused or not to be found is told apart", async () => {
  const cut = await serve((request) => request.socket.destroy());
  expect(await guarded().fetch(cut, limits)).toMatchObject({ reason: "the connection was cut" });
  expect(await guarded().fetch("http://127.0.0.1:1/", limits)).toMatchObject({
    reason: "the connection was refused",
  });
  const nowhere = guarded({
    resolve: async () => {
      throw Object.assign(new Error("getaddrinfo ENOTFOUND"), { code: "ENOTFOUND" });
    },
  });
  expect(await nowhere.fetch("http://nowhere.example/", limits)).toMatchObject({
    reason: "the host name was not found",
  });
});

test("a body that is cut off is an error, never a short answer", async () => {
  const url = await serve((_request, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("half", () => response.destroy());
  });
  await expect(guarded().fetch(url, limits).then(text)).rejects.toMatchObject({
    code: "url_unreachable",
  });
});

test("the caller's own abort is thrown, not told as a failure of the target", async () => {
  const stop = new AbortController();
  const url = await serve(() => stop.abort(new Error("stopping")));
  await expect(guarded().fetch(url, { ...limits, signal: stop.signal })).rejects.toThrow(
    "stopping",
  );
});
