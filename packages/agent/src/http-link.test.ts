import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createHash } from "node:crypto";
import { afterEach, expect, it } from "vitest";
import { isHoldfastError } from "@holdfast/contract";
import { systemClock } from "@holdfast/runtime/system";
import { createHttpLink, type HttpLink } from "./http-link.ts";

let server: Server | undefined;
let link: HttpLink | undefined;
afterEach(async () => {
  await link?.close();
  server?.closeAllConnections();
  await new Promise((resolve) => server?.close(resolve));
});

async function linkTo(
  answer: (request: IncomingMessage, body: Buffer, response: ServerResponse) => void,
): Promise<HttpLink> {
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => answer(request, Buffer.concat(parts), response));
  });
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const baseUrl = `http://127.0.0.1:${port}/`;
  link = createHttpLink({ baseUrl, token: "secret", clock: systemClock });
  return link;
}
const never = new AbortController().signal;
const json = (response: ServerResponse, status: number, value: unknown): void => {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
};

it("sends a renewal with its key and reads the orders", async () => {
  const seen: string[] = [];
  const to = await linkTo((request, body, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.authorization}`, String(body));
    json(response, 200, { revoked: [] });
  });
  const request = { machineId: "mch_1", session: 3, held: [] };
  await expect(to.renew(request, never)).resolves.toEqual({ revoked: [] });
  expect(seen).toEqual(["POST /agent/v1/renew Bearer secret", JSON.stringify(request)]);
});

it("throws the answer's own code", async () => {
  const to = await linkTo((_request, _body, response) => {
    json(response, 409, { error: { code: "machine_unknown", message: "who?" } });
  });
  const failure = await to.renew({ machineId: "m", session: 1, held: [] }, never).catch((e) => e);
  expect(isHoldfastError(failure, "machine_unknown")).toBe(true);
});

it("takes a proxy's 502 for something that passes", async () => {
  const to = await linkTo((_request, _body, response) => {
    response.writeHead(502).end("<html>bad gateway</html>");
  });
  const failure = await to.renew({ machineId: "m", session: 1, held: [] }, never).catch((e) => e);
  expect(isHoldfastError(failure, "overloaded")).toBe(true);
});

it("streams bytes there with their length, and back", async () => {
  const bytes = Buffer.from("some bytes");
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const to = await linkTo((request, body, response) => {
    if (request.method === "GET") {
      response.end(bytes);
      return;
    }
    expect(request.headers["content-length"]).toBe("10");
    expect(request.url).toBe(`/agent/v1/blobs/${sha256}`);
    json(response, 200, { sha256, sizeBytes: body.length });
  });
  async function* open(): AsyncGenerator<Uint8Array> {
    yield bytes.subarray(0, 4);
    yield bytes.subarray(4);
  }
  const stored = await to.putBlob({ sha256, sizeBytes: bytes.length, open }, never);
  expect(stored).toEqual({ sha256, sizeBytes: 10 });
  const parts: Uint8Array[] = [];
  for await (const part of await to.getBlob(sha256, never)) parts.push(part);
  expect(Buffer.concat(parts).toString()).toBe("some bytes");
});

it("rejects with the reason of its signal", async () => {
  const to = await linkTo(() => undefined);
  const stop = new AbortController();
  const answer = to.renew({ machineId: "m", session: 1, held: [] }, stop.signal);
  stop.abort(new Error("enough"));
  await expect(answer).rejects.toThrow("enough");
});
