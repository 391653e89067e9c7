import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { blobOf } from "../../testing/blob-store-contract.ts";
import { s3StoreContract } from "../../testing/s3-store-contract.ts";
import type { BlobStore } from "./model.ts";
import { openS3Store, parseS3Url } from "./s3-store.ts";

const endpoint = process.env["HOLDFAST_TEST_S3_ENDPOINT"] ?? "";
const accessKeyId = process.env["HOLDFAST_TEST_S3_ACCESS_KEY"] ?? "test";
const secretAccessKey = process.env["HOLDFAST_TEST_S3_SECRET_KEY"] ?? "testtest";
/** Servers that take any credentials (moto) cannot show a refusal. */
const takesAnyKey = process.env["HOLDFAST_TEST_S3_ANY_KEY"] === "1";

test("a store URL names a bucket and a prefix", () => {
  expect(parseS3Url("s3://renders")).toEqual({ bucket: "renders", prefix: "" });
  expect(parseS3Url("s3://renders/a/b/")).toEqual({ bucket: "renders", prefix: "a/b/" });
  for (const wrong of ["http://renders", "s3://", "s3://No_Capitals", "s3://x"]) {
    expect(() => parseS3Url(wrong)).toThrow(RangeError);
  }
});

test("a server that is not there is unavailable, with its reason", async () => {
  const store = await openS3Store({
    url: "s3://renders",
    endpoint: "http://127.0.0.1:1",
    region: "us-east-1",
    accessKeyId: "a",
    secretAccessKey: "b",
    clock: systemClock,
  });
  expect(await store.probe()).toMatchObject({
    kind: "unavailable",
    reason: expect.stringContaining("the connection was refused"),
  });
  expect(await store.put(blobOf(Buffer.from("x")))).toMatchObject({ kind: "unavailable" });
  await store.close();
});

test("a server that never answers is given up", async () => {
  let arrived = (): void => undefined;
  const asked = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const server: Server = createServer(() => arrived());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const clock = createFakeClock();
  const store = await openS3Store({
    url: "s3://renders",
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    region: "us-east-1",
    accessKeyId: "a",
    secretAccessKey: "b",
    clock,
  });
  const probing = store.probe();
  await asked;
  await clock.advance(10_001);
  expect(await probing).toMatchObject({
    kind: "unavailable",
    reason: expect.stringContaining("no answer within"),
  });
  await store.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

describe("a large upload", () => {
  const bytes = Buffer.alloc(9 * 1024 * 1024, "x");
  let server: Server;
  let store: BlobStore;
  /** What the server does with a request of the upload: answers, or goes away. */
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  beforeEach(async () => {
    server = createServer((request, response) => {
      request.resume().once("end", () => answer(request, response));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    store = await openS3Store({
      url: "s3://renders",
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      region: "us-east-1",
      accessKeyId: "a",
      secretAccessKey: "b",
      clock: systemClock,
    });
  });
  afterEach(async () => {
    await store.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const begin = (response: ServerResponse): void => {
    const result = "<InitiateMultipartUploadResult><UploadId>u</UploadId>";
    response.end(`${result}</InitiateMultipartUploadResult>`);
  };
  /** A server that forgets an upload when it has completed it; HEAD then finds so many bytes. */
  const forgetful = (sizeBytes: number) => (request: IncomingMessage, response: ServerResponse) => {
    const { method, url = "" } = request;
    if (method === "POST" && url.includes("uploads")) begin(response);
    else if (method === "PUT") response.setHeader("etag", '"e"').end();
    else if (method === "HEAD") response.setHeader("content-length", sizeBytes).end();
    else response.writeHead(404).end("<Error><Code>NoSuchUpload</Code></Error>");
  };

  test("whose server goes away in the middle is unavailable, and no failure of the body", async () => {
    answer = (request, response) => {
      if (request.method === "POST") begin(response);
      else request.socket.destroy();
    };
    // Longer than what is on its way at one time: the body is being read still.
    const long = Buffer.alloc(40 * 1024 * 1024, "x");
    expect(await store.put(blobOf(long))).toMatchObject({ kind: "unavailable" });
  });

  test("that was completed, and whose answer was lost, is stored", async () => {
    answer = forgetful(bytes.length);
    expect(await store.put(blobOf(bytes))).toEqual({ kind: "stored" });
  });

  test("that the server forgot without completing it is unavailable", async () => {
    answer = forgetful(0);
    expect(await store.put(blobOf(bytes))).toMatchObject({ kind: "unavailable" });
  });
});

const withoutServer = endpoint === "" ? "SKIPPED, set HOLDFAST_TEST_S3_ENDPOINT: " : "";
describe.skipIf(endpoint === "")(`${withoutServer}a real S3 server`, () => {
  s3StoreContract(() => ({ endpoint, accessKeyId, secretAccessKey }), { takesAnyKey });
});
