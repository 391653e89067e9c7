import { HoldfastError } from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { createFakeClock } from "@holdfast/runtime/testing";
import { strFromU8, unzipSync } from "fflate";
import { afterEach, expect, test } from "vitest";
import { batchView, bookPage, outputOf, pagesOf, storeOf } from "../../testing/book-facts.ts";
import { LOCAL_CALLER } from "../access/model.ts";
import { buildHttpServer, type HttpServer } from "../platform/http/server.ts";
import { SILENT_LOG } from "../platform/log.ts";
import type { BookReader } from "./book-files.ts";
import { bookFileRoutes } from "./file-routes.ts";

let server: HttpServer | undefined;
afterEach(async () => {
  await server?.close();
});

const PAGES = [
  { page: bookPage(1), outputs: [outputOf("a", "one")] },
  { page: bookPage(2, { status: "attention", badge: "Needs attention" }), outputs: [] },
];

async function serve(assertUsable: () => void = () => undefined): Promise<HttpServer> {
  const clock = createFakeClock();
  const books: BookReader = {
    find: async (_caller, ref) => {
      if (ref !== "12") throw new HoldfastError("not_found", `there is no batch ${ref}`);
      return { batch: batchView(), largestPage: 2 };
    },
    pages: pagesOf(PAGES),
  };
  server = buildHttpServer({
    log: SILENT_LOG,
    clock,
    ids: createIdSource(clock, seededRandom(1)),
    bodyLimitBytes: 1_000,
  });
  await server.app.register(bookFileRoutes, {
    identify: async () => LOCAL_CALLER,
    books,
    blobs: { open: storeOf("one"), assertUsable },
    clock,
  });
  return server;
}

test("an archive is a zip that is saved under the book's number", async () => {
  const { app } = await serve();
  const answer = await app.inject("/api/v1/batches/12/archive");
  expect(answer.statusCode).toBe(200);
  expect(answer.headers).toMatchObject({
    "content-type": "application/zip",
    "content-disposition": expect.stringContaining('attachment; filename="book-12.zip"'),
  });
  const files = unzipSync(new Uint8Array(answer.rawPayload));
  expect(Object.keys(files)).toEqual(["0001.png", "pages.json"]);
  expect(strFromU8(files["0001.png"] ?? new Uint8Array())).toBe("one");
});

test("a HEAD reads nothing, a book of nobody is not found, a store that is down is said so at once", async () => {
  const { app } = await serve(() => {
    throw new HoldfastError("store_unavailable", "the file store cannot be used now");
  });
  expect((await app.inject("/api/v1/batches/13/archive")).statusCode).toBe(404);
  expect((await app.inject("/api/v1/batches/12/archive")).statusCode).toBe(503);
  const head = await app.inject({ method: "HEAD", url: "/api/v1/batches/12/contact-sheet" });
  expect([head.statusCode, head.body]).toEqual([200, ""]);
});

test("a contact sheet is a page that may run nothing", async () => {
  const { app } = await serve();
  const answer = await app.inject("/api/v1/batches/12/contact-sheet?status=attention&limit=1");
  expect(answer.statusCode).toBe(200);
  expect(answer.headers["content-type"]).toBe("text/html; charset=utf-8");
  expect(answer.headers["content-security-policy"]).toContain("default-src 'none'");
  expect(answer.body).toContain('id="p2"');
  expect(answer.body).not.toContain('id="p1"');
});

test.each(["limit=0", "limit=10001", "after=x", "status=broken", "x=1"])(
  "a sheet of %s is refused",
  async (query) => {
    const { app } = await serve();
    const answer = await app.inject(`/api/v1/batches/12/contact-sheet?${query}`);
    expect(answer.statusCode).toBe(400);
  },
);
