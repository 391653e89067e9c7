import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../../test/support/test-database.ts";
import { buildHttpServer, type HttpServer } from "../platform/http/server.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { ALLOWED, KEY_CACHE_MS, LAST_USED_EVERY_MS, LOCAL_CALLER } from "./model.ts";
import { accessRoutes } from "./routes.ts";
import { createAccess, createKey, hasAnyKey, listKeys, revokeKey, type Access } from "./service.ts";

let database: TestDatabase;
let clock: FakeClock;
let access: Access;
let server: HttpServer;
const ids = createIdSource(systemClock, seededRandom(1));
const make = (rateLimit = { perSecond: 1_000, burst: 1_000 }): Access =>
  createAccess({ db: database.db, clock, log: SILENT_LOG, rateLimit });

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await emptyTables(database.db, ["api_keys"]);
  clock = createFakeClock(systemClock.now());
  access = make();
  server = buildHttpServer({ log: SILENT_LOG, clock: systemClock, ids, bodyLimitBytes: 100_000 });
  await server.app.register(accessRoutes, { db: database.db, ids, log: SILENT_LOG, access });
});
afterEach(async () => {
  await server.close();
});

const local = { method: "GET", headers: { host: "127.0.0.1:8328" } };
const withKey = (text: string) => ({
  method: "GET",
  headers: { host: "holdfast.example", authorization: `Bearer ${text}` },
});
const newKey = (role: "admin" | "operator" | "user" | "agent" = "user") =>
  createKey(database.db, ids, { name: `a ${role}`, role });

describe("who calls", () => {
  test("without any key everybody on this machine is the administrator", async () => {
    expect(await access.identify(local, ALLOWED.administer)).toEqual(LOCAL_CALLER);
    expect(await hasAnyKey(database.db)).toBe(false);
  });

  test("without any key a page of another site is refused", async () => {
    const foreign = { method: "GET", headers: { host: "evil.example" } };
    await expect(access.identify(foreign, ALLOWED.use)).rejects.toMatchObject({
      code: "forbidden",
    });
    const posted = {
      method: "POST",
      headers: { host: "127.0.0.1:8328", origin: "https://evil.example" },
    };
    await expect(access.identify(posted, ALLOWED.use)).rejects.toMatchObject({ code: "forbidden" });
  });

  test("with a key in the table, one is needed; the secret is nowhere in it", async () => {
    const { key, text } = await newKey();
    await expect(access.identify(local, ALLOWED.use)).rejects.toMatchObject({
      code: "unauthorized",
    });
    expect(await access.identify(withKey(text), ALLOWED.use)).toEqual({
      id: key.id,
      role: "user",
      allowedClasses: null,
    });
    const { rows } = await database.db.query("select api_keys::text as row from api_keys");
    expect(JSON.stringify(rows)).not.toContain(text.slice(-43));
  });

  test("a revoked last key does not open the door again", async () => {
    const { key, text } = await newKey("admin");
    await revokeKey(database.db, key.id);
    await expect(access.identify(local, ALLOWED.use)).rejects.toMatchObject({
      code: "unauthorized",
    });
    await expect(access.identify(withKey(text), ALLOWED.use)).rejects.toMatchObject({
      code: "unauthorized",
      message: expect.stringContaining("revoked"),
    });
  });

  test("a wrong secret of a known key is not let in", async () => {
    const { text } = await newKey();
    const other = (await newKey()).text;
    const mixed = text.slice(0, 30) + other.slice(30);
    await expect(access.identify(withKey(mixed), ALLOWED.use)).rejects.toMatchObject({
      code: "unauthorized",
    });
    await expect(access.identify(withKey("rubbish"), ALLOWED.use)).rejects.toMatchObject({
      code: "unauthorized",
    });
  });

  test("a role may do what its row allows", async () => {
    const agent = (await newKey("agent")).text;
    const user = (await newKey("user")).text;
    const refused = { code: "forbidden" };
    await expect(access.identify(withKey(agent), ALLOWED.use)).rejects.toMatchObject(refused);
    await expect(access.identify(withKey(user), ALLOWED.operate)).rejects.toMatchObject(refused);
    await expect(access.identify(withKey(user), ALLOWED.serve)).rejects.toMatchObject(refused);
    expect((await access.identify(withKey(agent), ALLOWED.serve)).role).toBe("agent");
  });

  test("a key ends at its instant", async () => {
    const { text } = await createKey(database.db, ids, {
      name: "short",
      role: "user",
      expiresAt: clock.now() + 1_000,
    });
    await access.identify(withKey(text), ALLOWED.use);
    await clock.advance(1_000);
    await expect(access.identify(withKey(text), ALLOWED.use)).rejects.toMatchObject({
      code: "unauthorized",
      message: expect.stringContaining("expired"),
    });
  });

  test("a key revoked on another replica stops working here within the cache's time", async () => {
    const { key, text } = await newKey();
    await access.identify(withKey(text), ALLOWED.use);
    await revokeKey(database.db, key.id);
    expect((await access.identify(withKey(text), ALLOWED.use)).id).toBe(key.id);
    await clock.advance(KEY_CACHE_MS);
    await expect(access.identify(withKey(text), ALLOWED.use)).rejects.toMatchObject({
      code: "unauthorized",
    });
  });

  test("the last use is noted, at most once a minute", async () => {
    const { key, text } = await newKey();
    const lastUsed = async () =>
      (await database.db.query<{ at: number }>("select last_used_at as at from api_keys")).rows[0]
        ?.at;
    await access.identify(withKey(text), ALLOWED.use);
    expect(await lastUsed()).toEqual(expect.any(Number));
    await database.db.query("update api_keys set last_used_at = '2000-01-01' where id = $1", [
      key.id,
    ]);
    await access.identify(withKey(text), ALLOWED.use);
    expect(await lastUsed()).toBe(Date.parse("2000-01-01"));
    await clock.advance(LAST_USED_EVERY_MS);
    await access.identify(withKey(text), ALLOWED.use);
    expect(await lastUsed()).toBeGreaterThan(Date.parse("2020-01-01"));
  });

  test("a caller over its rate is told how long to wait, others are not touched", async () => {
    access = make({ perSecond: 1, burst: 2 });
    const one = (await newKey()).text;
    const two = (await newKey()).text;
    await access.identify(withKey(one), ALLOWED.use);
    await access.identify(withKey(one), ALLOWED.use);
    await expect(access.identify(withKey(one), ALLOWED.use)).rejects.toMatchObject({
      code: "rate_limited",
      retryAfterSeconds: 1,
    });
    await access.identify(withKey(two), ALLOWED.use);
    const agent = (await newKey("agent")).text;
    for (let n = 0; n < 5; n += 1) await access.identify(withKey(agent), ALLOWED.serve);
  });

  test("guessing ids costs a bounded number of queries", async () => {
    await newKey();
    const codes = new Set<string>();
    for (let i = 0; i < 300; i += 1) {
      const guess = `hf_${ids.next("key").slice(4)}_${"A".repeat(43)}`;
      await access.identify(withKey(guess), ALLOWED.use).catch((error: { code: string }) => {
        codes.add(error.code);
      });
    }
    expect([...codes].sort()).toEqual(["rate_limited", "unauthorized"]);
  });
});

describe("routes", () => {
  const headers = { host: "127.0.0.1" };

  test("a key is made, listed without its secret, used and revoked", async () => {
    const made = await server.app.inject({
      method: "POST",
      url: "/api/v1/keys",
      headers,
      payload: { name: "me", role: "admin", expiresAt: "2100-01-01T00:00:00.000Z" },
    });
    expect(made.statusCode).toBe(201);
    const { key, text } = made.json<{ key: { id: string }; text: string }>();
    await clock.advance(KEY_CACHE_MS);
    const authorized = { ...headers, "x-api-key": text };
    expect((await server.app.inject({ url: "/api/v1/keys", headers })).statusCode).toBe(401);
    const list = await server.app.inject({ url: "/api/v1/keys", headers: authorized });
    expect(list.json()).toMatchObject({ items: [{ id: key.id, role: "admin" }], next: null });
    expect(list.body).not.toContain(text.slice(-43));
    expect(list.body).not.toContain("ecretHash");
    const me = await server.app.inject({ url: "/api/v1/me", headers: authorized });
    expect(me.json()).toEqual({
      id: key.id,
      role: "admin",
      allowedClasses: null,
      keysRequired: true,
    });
    const gone = await server.app.inject({
      method: "DELETE",
      url: `/api/v1/keys/${key.id}`,
      headers: authorized,
    });
    expect(gone.json()).toMatchObject({ revokedAt: expect.any(String) });
    await clock.advance(KEY_CACHE_MS);
    const after = await server.app.inject({ url: "/api/v1/me", headers: authorized });
    expect(after.statusCode).toBe(401);
  });

  test("keys come in pages, newest first, without gap or repeat", async () => {
    for (let i = 0; i < 5; i += 1) await newKey();
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<typeof listKeys>> = await listKeys(database.db, {
        cursor,
        limit: 2,
      });
      seen.push(...page.items.map((key) => key.id));
      cursor = page.next;
    } while (cursor !== null);
    expect(seen).toHaveLength(5);
    expect(seen).toEqual([...seen].sort().reverse());
  });

  test.each([
    ["POST", "/api/v1/keys", { name: "x", role: "king" }, 400, "invalid_request"],
    ["POST", "/api/v1/keys", { name: "", role: "user" }, 400, "invalid_request"],
    ["DELETE", "/api/v1/keys/key_00000000000000000000000000", undefined, 404, "not_found"],
    ["GET", "/api/v1/keys?cursor=%27%3B--", undefined, 400, "invalid_cursor"],
    ["GET", "/api/v1/keys?limit=501", undefined, 400, "invalid_request"],
  ] as const)("%s %s %j is %i %s", async (method, url, payload, status, code) => {
    const answer = await server.app.inject({
      method,
      url,
      headers,
      ...(payload === undefined ? {} : { payload }),
    });
    expect(answer.statusCode).toBe(status);
    expect(answer.json()).toMatchObject({ error: { code } });
  });
});
