import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer, request as httpRequest, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HoldfastError } from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { createGuardedFetch, type GuardedFetch } from "../access/guarded-fetch.ts";
import type { Caller, Role } from "../access/model.ts";
import type { Access } from "../access/service.ts";
import { parseUrlRules } from "../access/url-rules.ts";
import { buildHttpServer, type HttpServer } from "../platform/http/server.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { createBlobKeeper, type BlobKeeper } from "./blob-service.ts";
import { createCircuitStore } from "./circuit-store.ts";
import { openFolderStore } from "./folder-store.ts";
import { collectOnce, MIN_GRACE_MS } from "./loop.ts";
import type { BlobStore } from "./model.ts";
import { fileRoutes } from "./routes.ts";
import { createFileService, resolveInputs, type FileService } from "./service.ts";

const MAX_BYTES = 3 * 1024 * 1024;
const ids = createIdSource(systemClock, seededRandom(3));
const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const source = (bytes: Uint8Array) => ({
  sha256: sha(bytes),
  sizeBytes: bytes.length,
  async *open() {
    yield bytes;
  },
});

let database: TestDatabase;
let folder: string;
let store: BlobStore;
let isDown = false;
let blobs: BlobKeeper;
let files: FileService;
let fetcher: GuardedFetch;
let server: HttpServer;

/** The header `x-test-caller: id/role` says who calls; who may is asked as the real one does. */
const access: Access = {
  hasKeys: async () => true,
  async identify(request, allowed) {
    const [id = "key_a", role = "user"] = String(
      request.headers["x-test-caller"] ?? "key_a/user",
    ).split("/");
    if (!allowed.includes(role as Role)) throw new HoldfastError("forbidden", "wrong role");
    return { id, role: role as Role, allowedClasses: null } satisfies Caller;
  },
};

/** The real store, until a test unplugs it. */
function unpluggable(real: BlobStore): BlobStore {
  const down = { kind: "unavailable", reason: "unplugged" } as const;
  return {
    ...real,
    put: async (blob) => (isDown ? down : real.put(blob)),
    open: async (name, range) => (isDown ? down : real.open(name, range)),
    has: async (name) => (isDown ? down : real.has(name)),
    remove: async (name) => (isDown ? down : real.remove(name)),
    probe: async () => (isDown ? down : real.probe()),
  };
}

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  isDown = false;
  await database.db.query("truncate files, outputs, jobs, requirements, graphs, blobs cascade");
  folder = await mkdtemp(join(tmpdir(), "holdfast-files-"));
  await mkdir(join(folder, "spool"));
  const real = await openFolderStore({ path: join(folder, "blobs"), clock: systemClock, ids });
  store = unpluggable(real);
  const random = seededRandom(1);
  const circuit = createCircuitStore({ store, clock: systemClock, random, log: SILENT_LOG });
  blobs = createBlobKeeper({ db: database.db, store: circuit, maxBytes: MAX_BYTES });
  fetcher = createGuardedFetch({ clock: systemClock, rules: parseUrlRules("127.0.0.1") });
  files = createFileService({
    db: database.db,
    blobs,
    ids,
    fetch: fetcher,
    spoolFolder: join(folder, "spool"),
    maxFileBytes: MAX_BYTES,
  });
  server = buildHttpServer({ log: SILENT_LOG, clock: systemClock, ids, bodyLimitBytes: 10_000 });
  await server.app.register(fileRoutes, { access, files, blobs, maxFileBytes: MAX_BYTES });
});
afterEach(async () => {
  await server.close();
  await fetcher.close();
  await rm(folder, { recursive: true, force: true });
});

const inject = (
  method: "GET" | "POST" | "PUT" | "DELETE" | "HEAD",
  url: string,
  options: { body?: Uint8Array | string; headers?: Record<string, string>; as?: string } = {},
) =>
  server.app.inject({
    method,
    url,
    headers: { "x-test-caller": options.as ?? "key_a/user", ...options.headers },
    ...(options.body === undefined ? {} : { payload: Buffer.from(options.body) }),
  });

describe("uploads", () => {
  test("a file is uploaded, shown, read back, replaced and forgotten", async () => {
    const bytes = randomBytes(2 * 1024 * 1024);
    const made = await inject("POST", "/api/v1/files?name=pets/cat.png", {
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
    const content = await inject("GET", url);
    expect(content.rawPayload.equals(bytes)).toBe(true);
    expect(content.headers).toMatchObject({
      "content-type": "image/png",
      "content-security-policy": expect.stringContaining("sandbox"),
      "x-content-type-options": "nosniff",
      etag: `"${sha(bytes)}"`,
    });
    const again = await inject("PUT", "/api/v1/files/pets%2Fcat.png", { body: "other" });
    expect(again.statusCode).toBe(200);
    expect(again.json()).toMatchObject({ id, sizeBytes: 5, name: "pets/cat.png" });
    expect((await inject("DELETE", `/api/v1/files/${id}`)).statusCode).toBe(204);
    expect((await inject("GET", `/api/v1/files/${id}`)).statusCode).toBe(404);
    expect(await readdir(join(folder, "spool"))).toEqual([]);
  });

  test("an empty file and a JSON file with a name are files", async () => {
    const empty = await inject("PUT", "/api/v1/files/empty.txt");
    expect(empty.json()).toMatchObject({ sizeBytes: 0 });
    const json = await inject("POST", "/api/v1/files?name=a.json", {
      body: '{"url": 1}',
      headers: { "content-type": "application/json" },
    });
    expect(json.json()).toMatchObject({ sizeBytes: 10, mediaType: "application/json" });
  });

  test("a file belongs to its caller", async () => {
    const mine = (await inject("PUT", "/api/v1/files/a.png", { body: "a" })).json<{ id: string }>();
    const theirs = (
      await inject("PUT", "/api/v1/files/a.png", { body: "b", as: "key_b/user" })
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
      expect((await inject(method, url, stranger)).statusCode).toBe(404);
    }
    const list = await inject("GET", "/api/v1/files", stranger);
    expect(list.json<{ items: { id: string }[] }>().items.map((file) => file.id)).toEqual([
      theirs.id,
    ]);
    const all = await inject("GET", "/api/v1/files", { as: "key_o/operator" });
    expect(all.json<{ items: unknown[] }>().items).toHaveLength(2);
    expect((await inject("GET", "/api/v1/files", { as: "key_m/agent" })).statusCode).toBe(403);
  });

  test("lists come in pages", async () => {
    for (const name of ["a", "b", "c"])
      await inject("PUT", `/api/v1/files/${name}`, { body: name });
    const first = (await inject("GET", "/api/v1/files?limit=2")).json<{
      items: { name: string }[];
      next: string;
    }>();
    expect(first.items.map((file) => file.name)).toEqual(["c", "b"]);
    const last = await inject("GET", `/api/v1/files?limit=2&cursor=${first.next}`);
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
    const answer = await inject(method, url, {
      ...(method === "GET" ? {} : { body: "bytes" }),
      headers: method === "GET" ? {} : { "content-type": "image/png" },
    });
    expect(answer.statusCode).toBe(status);
    expect(answer.json()).toMatchObject({ error: { code } });
    const { rows } = await database.db.query("select from files");
    expect(rows).toHaveLength(0);
  });

  test("a body over the limit is refused, whether it says its size or not", async () => {
    const port = await server.listen({ host: "127.0.0.1", port: 0 });
    const url = `http://127.0.0.1:${port}/api/v1/files?name=big`;
    const announced = await fetch(url, { method: "POST", body: new Uint8Array(MAX_BYTES + 1) });
    expect(announced.status).toBe(413);
    const chunked = await fetch(url, {
      method: "POST",
      body: new Blob([new Uint8Array(MAX_BYTES + 1)]).stream(),
      duplex: "half",
    } as RequestInit);
    expect(chunked.status).toBe(413);
    expect(await chunked.json()).toMatchObject({ error: { code: "file_too_large" } });
    expect(await readdir(join(folder, "spool"))).toEqual([]);
  });

  test("an upload that is cut off leaves nothing behind", async () => {
    const port = await server.listen({ host: "127.0.0.1", port: 0 });
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
    await server.close(); // Waits for the request under way.
    expect(await readdir(join(folder, "spool"))).toEqual([]);
    expect((await database.db.query("select from files")).rows).toHaveLength(0);
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
      } else if (request.url === "/big") response.end(Buffer.alloc(MAX_BYTES + 1));
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
    inject("POST", "/api/v1/files", {
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
    const answer = await inject("POST", "/api/v1/files", {
      body: "{",
      headers: { "content-type": "application/json" },
    });
    expect(answer.json()).toMatchObject({ error: { code: "invalid_json" } });
  });
});

describe("blobs", () => {
  const agent = { as: "key_m/agent" };

  test("an agent stores bytes under their hash and gets them back", async () => {
    const bytes = randomBytes(100_000);
    const url = `/agent/v1/blobs/${sha(bytes)}`;
    const stored = await inject("PUT", url, { ...agent, body: bytes });
    expect(stored.json()).toEqual({ sha256: sha(bytes), sizeBytes: bytes.length });
    expect((await inject("GET", url, agent)).rawPayload.equals(bytes)).toBe(true);
    expect((await inject("GET", url)).statusCode).toBe(403);
    expect(await blobs.missing(database.db, [sha(bytes), "f".repeat(64)])).toEqual([
      "f".repeat(64),
    ]);
  });

  test("other bytes than announced are refused and not registered", async () => {
    const wrong = "e".repeat(64);
    const answer = await inject("PUT", `/agent/v1/blobs/${wrong}`, { ...agent, body: "bytes" });
    expect(answer.statusCode).toBe(422);
    expect(answer.json()).toMatchObject({ error: { code: "checksum_mismatch" } });
    expect(await blobs.missing(database.db, [wrong])).toEqual([wrong]);
    expect((await inject("GET", `/agent/v1/blobs/${wrong}`, agent)).statusCode).toBe(404);
  });

  test("a store that is down is told as such, and nothing is registered", async () => {
    const bytes = Buffer.from("bytes");
    isDown = true;
    const answer = await inject("PUT", `/agent/v1/blobs/${sha(bytes)}`, { ...agent, body: bytes });
    expect(answer.statusCode).toBe(503);
    expect(answer.json()).toMatchObject({ error: { code: "store_unavailable" } });
    expect(answer.headers["retry-after"]).toBeDefined();
    expect(answer.body).not.toContain("unplugged");
    const upload = await inject("PUT", "/api/v1/files/a", { body: bytes });
    expect(upload.statusCode).toBe(503);
    isDown = false;
    expect(await blobs.missing(database.db, [sha(bytes)])).toEqual([sha(bytes)]);
  });

  test("bytes that somebody deleted behind our back are stored again, never taken for there", async () => {
    const bytes = Buffer.from("twice");
    let reads = 0;
    const counted = {
      ...source(bytes),
      async *open() {
        reads += 1;
        yield bytes;
      },
    };
    await blobs.put(counted);
    await blobs.put(counted);
    expect(reads).toBe(1);
    await store.remove(sha(bytes));
    await blobs.put(counted);
    expect(reads).toBe(2);
    expect(await store.has(sha(bytes))).toMatchObject({ kind: "found" });
  });
});

async function insertJob(owner: string, inputs: unknown[] = []): Promise<string> {
  const job = ids.next("job");
  await database.db.query(
    `with r as (insert into requirements (hash, needs) values ($1, '{}') returning id),
       g as (insert into graphs (hash, body, node_count, size_bytes) values ($1, '{}', 1, 2) returning id)
     insert into jobs (id, owner, state, rank, requirement_id, graph_id, timeout_ms, inputs)
     select $1, $2, 'queued', 1, r.id, g.id, 1000, $3 from r, g`,
    [job, owner, JSON.stringify(inputs)],
  );
  return job;
}

async function insertOutput(owner: string, bytes: Uint8Array, name: string): Promise<string> {
  await blobs.put(source(bytes));
  const output = ids.next("out");
  await database.db.query(
    `insert into outputs (id, job_id, attempt_id, lineage, node_id, ordinal, kind, name, media_type,
       size_bytes, sha256, temporary)
     values ($1, $2, 'att', 1, '9', 0, 'image', $3, 'image/png', $4, $5, false)`,
    [output, await insertJob(owner), name, bytes.length, sha(bytes)],
  );
  return output;
}

describe("outputs", () => {
  const bytes = Buffer.from("0123456789");

  test("are shown and read whole and in part, by their owner and by operators", async () => {
    const id = await insertOutput("key_a", bytes, "a.png");
    expect((await inject("GET", `/api/v1/outputs/${id}`)).json()).toMatchObject({
      id,
      sha256: sha(bytes),
      url: `/api/v1/outputs/${id}/content`,
    });
    const url = `/api/v1/outputs/${id}/content`;
    const whole = await inject("GET", url);
    expect(whole.body).toBe("0123456789");
    expect(whole.headers["content-disposition"]).toContain('inline; filename="a.png"');
    const part = await inject("GET", url, { headers: { range: "bytes=2-4" } });
    expect(part.statusCode).toBe(206);
    expect(part.body).toBe("234");
    expect(part.headers).toMatchObject({
      "content-range": "bytes 2-4/10",
      "content-length": "3",
    });
    const stale = await inject("GET", url, {
      headers: { range: "bytes=2-4", "if-range": '"other"' },
    });
    expect(stale.statusCode).toBe(200);
    const behind = await inject("GET", url, { headers: { range: "bytes=10-" } });
    expect(behind.statusCode).toBe(416);
    expect(behind.headers["content-range"]).toBe("bytes */10");
    const known = await inject("GET", url, { headers: { "if-none-match": `"${sha(bytes)}"` } });
    expect(known.statusCode).toBe(304);
    const head = await inject("HEAD", url);
    expect([head.statusCode, head.headers["content-length"], head.body]).toEqual([200, "10", ""]);
    expect((await inject("GET", url, { as: "key_b/user" })).statusCode).toBe(404);
    expect((await inject("GET", url, { as: "key_o/operator" })).statusCode).toBe(200);
  });

  test("whose bytes are gone answer 410, and 503 while the store is down", async () => {
    const id = await insertOutput("key_a", bytes, "a.png");
    isDown = true;
    const down = await inject("GET", `/api/v1/outputs/${id}/content`);
    expect(down.json()).toMatchObject({ error: { code: "store_unavailable" } });
    isDown = false;
    await systemClock.sleep(800); // The store is asked again after its pause.
    await store.remove(sha(bytes));
    const gone = await inject("GET", `/api/v1/outputs/${id}/content`);
    expect(gone.statusCode).toBe(410);
    expect(gone.json()).toMatchObject({ error: { code: "output_gone" } });
  });
});

describe("inputs of a graph", () => {
  test("are found by their owner's names, all or the missing ones named", async () => {
    await inject("PUT", "/api/v1/files/a.png", { body: "a" });
    await inject("PUT", "/api/v1/files/b.png", { body: "b", as: "key_b/user" });
    expect(await resolveInputs(database.db, "key_a", ["a.png", "a.png"])).toEqual({
      kind: "found",
      inputs: [{ name: "a.png", sha256: sha(Buffer.from("a")), sizeBytes: 1 }],
    });
    expect(await resolveInputs(database.db, "key_a", ["a.png", "b.png", "c.png"])).toEqual({
      kind: "missing",
      names: ["b.png", "c.png"],
    });
    expect(await resolveInputs(database.db, "key_a", [])).toEqual({ kind: "found", inputs: [] });
  });
});

describe("collecting", () => {
  const collect = () =>
    collectOnce({ db: database.db, store, log: SILENT_LOG, graceMs: MIN_GRACE_MS });
  const age = (...blobsToAge: Uint8Array[]) =>
    database.db.query(
      "update blobs set stored_at = now() - interval '30 days' where sha256 = any($1)",
      [blobsToAge.map(sha)],
    );

  test("only old bytes that nothing names are removed", async () => {
    const [old, fresh, named, shown, input] = ["old", "fresh", "named", "shown", "input"].map(
      (text) => Buffer.from(text),
    ) as [Buffer, Buffer, Buffer, Buffer, Buffer];
    for (const bytes of [old, fresh, input]) await blobs.put(source(bytes));
    await inject("PUT", "/api/v1/files/named", { body: named });
    await insertOutput("key_a", shown, "shown.png");
    await insertJob("key_a", [{ name: "x", sha256: sha(input), sizeBytes: 5 }]);
    await age(old, named, shown, input);
    await collect();
    const left = await Promise.all(
      [old, fresh, named, shown, input].map(async (bytes) => [
        (await store.has(sha(bytes))).kind,
        (await blobs.missing(database.db, [sha(bytes)])).length,
      ]),
    );
    expect(left).toEqual([
      ["missing", 1],
      ["found", 0],
      ["found", 0],
      ["found", 0],
      ["found", 0],
    ]);
  });

  test("asking for a blob keeps it for another grace period", async () => {
    const bytes = Buffer.from("wanted");
    await blobs.put(source(bytes));
    await age(bytes);
    expect(await blobs.missing(database.db, [sha(bytes)])).toEqual([]);
    await collect();
    expect((await store.has(sha(bytes))).kind).toBe("found");
  });

  test("bytes that could not be removed are tried again later", async () => {
    const bytes = Buffer.from("stuck");
    await blobs.put(source(bytes));
    await age(bytes);
    isDown = true;
    await collect();
    isDown = false;
    expect((await store.has(sha(bytes))).kind).toBe("found");
    await age(bytes);
    await collect();
    expect((await store.has(sha(bytes))).kind).toBe("missing");
  });

  /** A keeper of its own on a store whose steps a test comes between. */
  const keeperOn = (between: Partial<BlobStore>): BlobKeeper =>
    createBlobKeeper({
      db: database.db,
      maxBytes: MAX_BYTES,
      store: createCircuitStore({
        store: { ...store, ...between },
        clock: systemClock,
        random: seededRandom(1),
        log: SILENT_LOG,
      }),
    });

  test("bytes that are collected between storing and registering are stored again", async () => {
    const bytes = Buffer.from("taken once");
    let puts = 0;
    const keeper = keeperOn({
      async put(blob) {
        puts += 1;
        const result = await store.put(blob);
        if (puts === 1) await store.remove(blob.sha256);
        return result;
      },
    });
    await keeper.put(source(bytes));
    expect(puts).toBe(2);
    expect((await store.has(sha(bytes))).kind).toBe("found");
  });

  test("an upload that comes while its bytes are being removed waits, and stores them again", async () => {
    const bytes = Buffer.from("removed just now");
    await blobs.put(source(bytes));
    await age(bytes);
    let uploading: Promise<unknown> = Promise.resolve();
    await collectOnce({
      db: database.db,
      log: SILENT_LOG,
      graceMs: MIN_GRACE_MS,
      store: {
        ...store,
        async remove(name) {
          uploading = blobs.put(source(bytes));
          await expect
            .poll(async () => {
              const { rows } = await database.db.query(
                "select from pg_locks join pg_database on oid = database where datname = current_database() and locktype = 'advisory' and not granted",
              );
              return rows.length;
            })
            .toBe(1);
          return store.remove(name);
        },
      },
    });
    await uploading;
    expect((await store.has(sha(bytes))).kind).toBe("found");
    expect(await blobs.missing(database.db, [sha(bytes)])).toEqual([]);
  });

  test("uploads that meet the collector end with their bytes in the store", async () => {
    const all = Array.from({ length: 12 }, (_, n) => Buffer.from(`blob ${n}`));
    for (let round = 0; round < 8; round += 1) {
      for (const bytes of all) await blobs.put(source(bytes));
      await age(...all);
      await Promise.all([collect(), collect(), ...all.map((bytes) => blobs.put(source(bytes)))]);
      for (const bytes of all) {
        expect(await store.has(sha(bytes))).toMatchObject({ kind: "found" });
        expect(await blobs.missing(database.db, [sha(bytes)])).toEqual([]);
      }
    }
  });
});
