import { stat } from "node:fs/promises";
import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, test } from "vitest";
import { DownloadKit, FILE } from "../../../testing/download-kit.ts";
import { serveFile } from "../../../testing/file-server.ts";

const kit = DownloadKit.forEachTest();

test("416 for a complete part of unknown size is the end of it", async () => {
  await kit.keep(FILE.bytes);
  kit.server.on("/x", serveFile(FILE.bytes));
  expect(await kit.fetch()).toMatchObject({ kind: "fetched", receivedBytes: 0 });
  await kit.expectFile();
});

test("416 for a part that is too long makes it begin anew", async () => {
  await kit.keep(Buffer.concat([FILE.bytes, Buffer.from("too much")]));
  kit.server.on("/x", serveFile(FILE.bytes));
  expect(await kit.fetch()).toMatchObject({ receivedBytes: FILE.bytes.length });
  await kit.expectFile();
});

test("bytes from elsewhere in the file are refused, and the whole is fetched instead", async () => {
  await kit.keep(FILE.bytes.subarray(0, 2_000_000));
  kit.server.on("/x", (request, response) => {
    if (request.headers.range === undefined) {
      response.end(FILE.bytes);
      return;
    }
    const total = FILE.bytes.length;
    const range = `bytes 1999999-${total - 1}/${total}`;
    response.writeHead(206, { "content-range": range }).end(FILE.bytes.subarray(1_999_999));
  });
  expect(await kit.fetch()).toMatchObject({ kind: "fetched", receivedBytes: FILE.bytes.length });
  await kit.expectFile();
  expect(kit.notes.join()).toContain("bytes from 2000000 on were asked for");
});

test("a server that breaks off and then sends other ranges is given up", async () => {
  kit.server.on("/x", (request, response) => {
    const total = FILE.bytes.length;
    if (request.headers.range === undefined) {
      response.writeHead(200, { "content-length": total });
      response.write(FILE.bytes.subarray(0, 1_500_000), () => response.destroy());
      return;
    }
    response.writeHead(206, { "content-range": `bytes 0-9/${total}` }).end("0123456789");
  });
  expect(kit.failureOf(await kit.fetch({ tries: 3 })).kind).toBe("wrong_range");
  expect(kit.server.seen.length).toBeLessThan(8);
});

test("a part that was not asked for is refused", async () => {
  kit.server.on("/x", (_, response) => {
    const headers = { "content-range": `bytes 0-9/${FILE.bytes.length}` };
    response.writeHead(206, headers).end(FILE.bytes.subarray(0, 10));
  });
  expect(kit.failureOf(await kit.fetch()).kind).toBe("wrong_range");
});

test("a shorter part than was asked for is taken, and the rest asked for", async () => {
  kit.server.on("/x", (request, response) => {
    const from = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
    const end = Math.min(from + 1_500_000, FILE.bytes.length);
    const total = FILE.bytes.length;
    if (request.headers.range === undefined) {
      response.writeHead(200, { "content-length": total });
      response.write(FILE.bytes.subarray(0, 1_000_000), () => response.destroy());
      return;
    }
    response.writeHead(206, { "content-range": `bytes ${from}-${end - 1}/${total}` });
    response.end(FILE.bytes.subarray(from, end));
  });
  expect(await kit.fetch()).toMatchObject({ receivedBytes: FILE.bytes.length });
  await kit.expectFile();
});

test("an encoded body is refused", async () => {
  kit.server.on("/x", (_, response) => {
    response.writeHead(200, { "content-encoding": "gzip" }).end("x");
  });
  expect(kit.failureOf(await kit.fetch())).toMatchObject({
    kind: "bad_answer",
    isTransient: false,
  });
});

test("a login page is told as one, and does not cost the part that is kept", async () => {
  await kit.keep(FILE.bytes.subarray(0, 2_000_000));
  kit.server.on("/x", (_, response) => {
    response.writeHead(200, { "content-type": "text/html" });
    response.end("\n<!DOCTYPE html><title>Log in</title>");
  });
  const failure = kit.failureOf(await kit.fetch());
  expect(failure).toMatchObject({ kind: "web_page", isTransient: false });
  expect(failure.message).toContain("it may want a login");
  expect((await stat(kit.part())).size).toBe(2_000_000);
});

test.each([
  [401, "gated"],
  [403, "gated"],
  [404, "not_found"],
  [410, "not_found"],
  [400, "bad_answer"],
])("%i is %s, at once", async (status, kind) => {
  kit.server.on("/x", (_, response) => void response.writeHead(status).end());
  expect(kit.failureOf(await kit.fetch()).kind).toBe(kind);
  expect(kit.server.seen).toHaveLength(1);
});

test("a gated file names the licence and where a token belongs", async () => {
  kit.server.on("/x", (_, response) => void response.writeHead(403).end());
  const failure = kit.failureOf(await kit.fetch({ licence: "FLUX-1-dev (https://x/licence)" }));
  expect(failure.advice).toContain("Accept the licence FLUX-1-dev (https://x/licence)");
  expect(failure.advice).toContain(`name a token file for ${kit.server.host} under downloads.auth`);
});

test("trouble of the server is waited out with a growing rest, and its wish is kept", async () => {
  const clock = createFakeClock();
  let asked = 0;
  kit.server.on("/x", (request, response, seen) => {
    asked += 1;
    if (asked === 1) response.writeHead(503, { "retry-after": "7" }).end();
    else if (asked === 2) response.writeHead(502).end();
    else void serveFile(FILE.bytes)(request, response, seen);
  });
  const running = kit.fetch({ clock });
  await kit.untilNoted(1);
  await kit.untilAsleep(clock, 1);
  await clock.advance(6_999);
  expect(asked).toBe(1);
  await clock.advance(1);
  await kit.untilNoted(2);
  await kit.untilAsleep(clock, 1);
  await clock.advance(100);
  expect(await running).toMatchObject({ kind: "fetched" });
  await kit.expectFile();
});
