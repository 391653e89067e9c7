/** Files that callers upload or name by URL, and the outputs they read. */
import { randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { createServer, request as httpRequest, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  createFilesKit,
  MAX_FILE_BYTES,
  sha,
  type FilesBench,
  type FilesKit,
} from "../../testing/files-kit.ts";
import { forgetUnusedPart } from "./loop.ts";
import { resolveInputs } from "./service.ts";

let kit: FilesKit;
let at: FilesBench;
beforeAll(async () => {
  kit = await createFilesKit();
});
afterAll(() => kit.close());
beforeEach(async () => {
  at = await kit.open();
});
afterEach(() => at.close());

describe("uploads", () => {
  test("a file is uploaded, shown, read back, replaced and forgotten", async () => {
    const bytes = randomBytes(2 * 1024 * 1024);
    const made = await at.inject("POST", "/api/v1/files?name=pets/cat.png", {
      body: bytes,
      headers: { "content-type": "image/png" },
    });
    expect(made.statusCode).toBe(201);
    expect(made.json()).toMatchObject({
      name: "pets/cat.png",
      owner: "key_a",
      sha256: sha(bytes),
      sizeBytes: bytes.length,
      mediaType: "image/png",
    });
    const { id, url } = made.json<{ id: string; url: string }>();
    const content = await at.inject("GET", url);
    expect(content.rawPayload.equals(bytes)).toBe(true);
    expect(content.headers).toMatchObject({
      "content-type": "image/png",
      "content-security-policy": expect.stringContaining("sandbox"),
      "x-content-type-options": "nosniff",
      etag: `"${sha(bytes)}"`,
    });
    const again = await at.inject("PUT", "/api/v1/files/pets%2Fcat.png", { body: "other" });
    expect(again.statusCode).toBe(200);
    expect(again.json()).toMatchObject({ id, sizeBytes: 5, name: "pets/cat.png" });
    expect((await at.inject("DELETE", `/api/v1/files/${id}`)).statusCode).toBe(204);
    expect((await at.inject("GET", `/api/v1/files/${id}`)).statusCode).toBe(404);
    expect(await readdir(join(at.folder, "spool"))).toEqual([]);
  });

  test("an empty file and a JSON file with a name are files", async () => {
    const empty = await at.inject("PUT", "/api/v1/files/empty.txt");
    expect(empty.json()).toMatchObject({ sizeBytes: 0 });
    const json = await at.inject("POST", "/api/v1/files?name=a.json", {
      body: '{"url": 1}',
      headers: { "content-type": "application/json" },
    });
    expect(json.json()).toMatchObject({ sizeBytes: 10, mediaType: "application/json" });
  });

  test("a file belongs to its caller", async () => {
    const mine = (await at.inject("PUT", "/api/v1/files/a.png", { body: "a" })).json<{
      id: string;
    }>();
    const theirs = (
      await at.inject("PUT", "/api/v1/files/a.png", { body: "b", as: "key_b/user" })
    ).json<{
      id: string;
    }>();
    expect(theirs.id).not.toBe(mine.id);
    const stranger = { as: "key_b/user" };
    for (const [method, url] of [
      ["GET", `/api/v1/files/${mine.id}`],
      ["GET", `/api/v1/files/${mine.id}/content`],
      ["DELETE", `/api/v1/files/${mine.id}`],
    ] as const) {
      expect((await at.inject(method, url, stranger)).statusCode).toBe(404);
    }
    const list = await at.inject("GET", "/api/v1/files", stranger);
    expect(list.json<{ items: { id: string }[] }>().items.map((file) => file.id)).toEqual([
      theirs.id,
    ]);
    const all = await at.inject("GET", "/api/v1/files", { as: "key_o/operator" });
    expect(all.json<{ items: unknown[] }>().items).toHaveLength(2);
    expect((await at.inject("GET", "/api/v1/files", { as: "key_m/agent" })).statusCode).toBe(403);
  });

  test("lists come in pages", async () => {
    for (const name of ["a", "b", "c"])
      await at.inject("PUT", `/api/v1/files/${name}`, { body: name });
    const first = (await at.inject("GET", "/api/v1/files?limit=2")).json<{
      items: { name: string }[];
      next: string;
    }>();
    expect(first.items.map((file) => file.name)).toEqual(["c", "b"]);
    const last = await at.inject("GET", `/api/v1/files?limit=2&cursor=${first.next}`);
    expect(last.json()).toMatchObject({ items: [{ name: "a" }], next: null });
  });

  test.each([
    ["POST", "/api/v1/files?name=../x", 400, "invalid_file_name"],
    ["POST", "/api/v1/files?name=/etc/passwd", 400, "invalid_file_name"],
    ["PUT", "/api/v1/files/a%2F..%2F..%2Fb", 400, "invalid_file_name"],
    ["PUT", "/api/v1/files/a%00b", 400, "invalid_file_name"],
    ["POST", "/api/v1/files", 400, "invalid_request"],
    ["POST", `/api/v1/files?name=x&sha256=${"0".repeat(64)}`, 422, "checksum_mismatch"],
    ["POST", "/api/v1/files?name=x&sha256=short", 400, "invalid_request"],
    ["GET", "/api/v1/files/nothing", 400, "invalid_request"],
    ["GET", "/api/v1/files/fil_00000000000000000000000000", 404, "not_found"],
  ] as const)("%s %s is %i %s", async (method, url, status, code) => {
    const answer = await at.inject(method, url, {
      ...(method === "GET" ? {} : { body: "bytes" }),
      headers: method === "GET" ? {} : { "content-type": "image/png" },
    });
    expect(answer.statusCode).toBe(status);
    expect(answer.json()).toMatchObject({ error: { code } });
    const { rows } = await at.db.query("select from files");
    expect(rows).toHaveLength(0);
  });

  test("a body over the limit is refused, whether it says its size or not", async () => {
    const port = await at.server.listen({ host: "127.0.0.1", port: 0 });
    const url = `http://127.0.0.1:${port}/api/v1/files?name=big`;
    const announced = await fetch(url, {
      method: "POST",
      body: new Uint8Array(MAX_FILE_BYTES + 1),
    });
    expect(announced.status).toBe(413);
    const chunked = await fetch(url, {
      method: "POST",
      body: new Blob([new Uint8Array(MAX_FILE_BYTES + 1)]).stream(),
      duplex: "half",
    } as RequestInit);
    expect(chunked.status).toBe(413);
    expect(await chunked.json()).toMatchObject({ error: { code: "file_too_large" } });
    expect(await readdir(join(at.folder, "spool"))).toEqual([]);
  });

  test("an upload that is cut off leaves nothing behind", async () => {
    const port = await at.server.listen({ host: "127.0.0.1", port: 0 });
    await new Promise<void>((resolve) => {
      const sent = httpRequest({
        port,
        host: "127.0.0.1",
        method: "PUT",
        path: "/api/v1/files/half.bin",
        headers: { "content-length": "2500000" },
      });
      sent.on("error", () => undefined);
      sent.on("close", resolve);
      sent.write(randomBytes(2_000_000), () => sent.destroy());
    });
    await at.server.close(); // Waits for the request under way.
    expect(await readdir(join(at.folder, "spool"))).toEqual([]);
    expect((await at.db.query("select from files")).rows).toHaveLength(0);
  });
});

describe("files from a URL", () => {
  let origin: Server;
  let base: string;
  beforeEach(async () => {
    origin = createServer((request, response) => {
      if (request.url === "/cat.png") {
        response.setHeader("content-type", "image/png").end("meow");
      } else if (request.url === "/inside") {
        response.writeHead(302, { location: "http://127.0.0.2/" }).end();
      } else if (request.url === "/big") response.end(Buffer.alloc(MAX_FILE_BYTES + 1));
      else response.writeHead(404).end();
    });
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    base = `http://127.0.0.1:${(origin.address() as AddressInfo).port}`;
  });
  afterEach(async () => {
    origin.closeAllConnections();
    await new Promise((resolve) => origin.close(resolve));
  });
  const post = (body: unknown) =>
    at.inject("POST", "/api/v1/files", {
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    });

  test("are fetched and named", async () => {
    expect((await post({ url: `${base}/cat.png` })).json()).toMatchObject({
      name: "cat.png",
      sha256: sha(Buffer.from("meow")),
      mediaType: "image/png",
    });
    const named = await post({ url: `${base}/cat.png`, name: "my/cat.png" });
    expect(named.json()).toMatchObject({ name: "my/cat.png" });
  });

  test.each<[{ url?: string; uri?: string; name?: string }, number, string]>([
    [{ url: "http://169.254.169.254/latest/meta-data/x" }, 422, "url_forbidden"],
    [{ url: "http://[::1]:5432/x" }, 422, "url_forbidden"],
    [{ url: "file:///etc/passwd" }, 422, "url_forbidden"],
    [{ url: "nonsense" }, 422, "url_forbidden"],
    [{ url: "/inside" }, 422, "url_forbidden"],
    [{ url: "/nothing" }, 422, "url_unreachable"],
    [{ url: "/big" }, 413, "file_too_large"],
    [{ url: "/cat.png", name: "../x" }, 400, "invalid_file_name"],
    [{ uri: "/cat.png" }, 400, "invalid_request"],
  ])("%j is %i %s", async (body, status, code) => {
    const url = body.url?.startsWith("/") === true ? { url: base + body.url } : {};
    const answer = await post({ ...body, ...url });
    expect(answer.json()).toMatchObject({ error: { code } });
    expect(answer.statusCode).toBe(status);
  });

  test("a body that is not JSON is told so", async () => {
    const answer = await at.inject("POST", "/api/v1/files", {
      body: "{",
      headers: { "content-type": "application/json" },
    });
    expect(answer.json()).toMatchObject({ error: { code: "invalid_json" } });
  });
});

describe("outputs", () => {
  const bytes = Buffer.from("0123456789");

  test("are shown and read whole and in part, by their owner and by operators", async () => {
    const id = await at.insertOutput("key_a", bytes, "a.png");
    expect((await at.inject("GET", `/api/v1/outputs/${id}`)).json()).toMatchObject({
      id,
      sha256: sha(bytes),
      url: `/api/v1/outputs/${id}/content`,
    });
    const url = `/api/v1/outputs/${id}/content`;
    const whole = await at.inject("GET", url);
    expect(whole.body).toBe("0123456789");
    expect(whole.headers["content-disposition"]).toContain('inline; filename="a.png"');
    const part = await at.inject("GET", url, { headers: { range: "bytes=2-4" } });
    expect(part.statusCode).toBe(206);
    expect(part.body).toBe("234");
    expect(part.headers).toMatchObject({
      "content-range": "bytes 2-4/10",
      "content-length": "3",
    });
    const stale = await at.inject("GET", url, {
      headers: { range: "bytes=2-4", "if-range": '"other"' },
    });
    expect(stale.statusCode).toBe(200);
    const behind = await at.inject("GET", url, { headers: { range: "bytes=10-" } });
    expect(behind.statusCode).toBe(416);
    expect(behind.headers["content-range"]).toBe("bytes */10");
    const known = await at.inject("GET", url, { headers: { "if-none-match": `"${sha(bytes)}"` } });
    expect(known.statusCode).toBe(304);
    const head = await at.inject("HEAD", url);
    expect([head.statusCode, head.headers["content-length"], head.body]).toEqual([200, "10", ""]);
    expect((await at.inject("GET", url, { as: "key_b/user" })).statusCode).toBe(404);
    expect((await at.inject("GET", url, { as: "key_o/operator" })).statusCode).toBe(200);
  });

  test("whose bytes are gone answer 410, and 503 while the store is down", async () => {
    const id = await at.insertOutput("key_a", bytes, "a.png");
    at.isDown = true;
    const down = await at.inject("GET", `/api/v1/outputs/${id}/content`);
    expect(down.json()).toMatchObject({ error: { code: "store_unavailable" } });
    at.isDown = false;
    await systemClock.sleep(800); // The store is asked again after its pause.
    await at.store.remove(sha(bytes));
    const gone = await at.inject("GET", `/api/v1/outputs/${id}/content`);
    expect(gone.statusCode).toBe(410);
    expect(gone.json()).toMatchObject({ error: { code: "output_gone" } });
  });
});

describe("inputs of a graph", () => {
  test("are found by their owner's names, all or the missing ones named", async () => {
    await at.inject("PUT", "/api/v1/files/a.png", { body: "a" });
    await at.inject("PUT", "/api/v1/files/b.png", { body: "b", as: "key_b/user" });
    expect(await resolveInputs(at.db, "key_a", ["a.png", "a.png"])).toEqual({
      kind: "found",
      inputs: [{ name: "a.png", sha256: sha(Buffer.from("a")), sizeBytes: 1 }],
    });
    expect(await resolveInputs(at.db, "key_a", ["a.png", "b.png", "c.png"])).toEqual({
      kind: "missing",
      names: ["b.png", "c.png"],
    });
    expect(await resolveInputs(at.db, "key_a", [])).toEqual({ kind: "found", inputs: [] });
  });
});

describe("input files that nobody uses", () => {
  const dayMs = 24 * 60 * 60 * 1000;
  const forget = (onRemoved = (_files: number) => undefined as void) =>
    forgetUnusedPart({ db: at.db, keptMs: dayMs, onRemoved }, undefined);
  const names = async (): Promise<unknown[]> =>
    (await at.db.query<{ name: string }>("select name from files order by name")).rows.map(
      (row) => row.name,
    );
  const age = (name: string, hours: number, what: "both" | "file" | "blob") =>
    at.db.query(
      `with f as (
         update files set created_at = case when $3 = 'blob' then created_at
           else now() - make_interval(secs => $2::float8 * 3600) end
         where name = $1 returning sha256
       )
       update blobs set stored_at = case when $3 = 'file' then stored_at
         else now() - make_interval(secs => $2::float8 * 3600) end
       where sha256 in (select sha256 from f)`,
      [name, hours, what],
    );

  test("go after their time; fresh ones and those that a submit has read stay", async () => {
    for (const name of ["old", "fresh", "read", "again", "edge"]) {
      await at.inject("PUT", `/api/v1/files/${name}`, { body: name });
    }
    await age("old", 26, "both");
    await age("read", 26, "both");
    await age("again", 26, "blob");
    // Read when its blob was just touched, it may have been used for an hour longer than that says.
    await age("edge", 24.5, "both");
    expect(await resolveInputs(at.db, "key_a", ["read"])).toMatchObject({ kind: "found" });
    let told = 0;
    expect(await forget((files) => (told += files) as never)).toEqual({
      removed: 1,
      next: undefined,
    });
    expect(told).toBe(1);
    expect(await names()).toEqual(["again", "edge", "fresh", "read"]);
    expect(await resolveInputs(at.db, "key_a", ["old"])).toMatchObject({ kind: "missing" });
  });

  test("one that a submit is just reading stays", async () => {
    await at.inject("PUT", "/api/v1/files/busy", { body: "busy" });
    await age("busy", 48, "both");
    await at.db.transaction(async (tx) => {
      await resolveInputs(tx, "key_a", ["busy"]);
      expect(await forget()).toMatchObject({ removed: 0 });
    });
    expect(await forget()).toMatchObject({ removed: 0 });
    expect(await names()).toEqual(["busy"]);
  });
});
