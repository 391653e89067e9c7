/** Bytes by their hash: stored whole or not at all, and collected when nothing names them. */
import { randomBytes } from "node:crypto";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  createFilesKit,
  MAX_FILE_BYTES,
  sha,
  source,
  type FilesBench,
  type FilesKit,
} from "../../testing/files-kit.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { createBlobKeeper, type BlobKeeper } from "./blob-service.ts";
import { createCircuitStore } from "./circuit-store.ts";
import { COLLECT_BATCH, collectPart, MIN_GRACE_MS } from "./loop.ts";
import type { BlobStore } from "./model.ts";
import type { BlobPlace } from "./store.ts";

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

describe("blobs", () => {
  const agent = { as: "key_m/agent" };

  test("an agent stores bytes under their hash and gets them back", async () => {
    const bytes = randomBytes(100_000);
    const url = `/agent/v1/blobs/${sha(bytes)}`;
    const stored = await at.inject("PUT", url, { ...agent, body: bytes });
    expect(stored.json()).toEqual({ sha256: sha(bytes), sizeBytes: bytes.length });
    expect((await at.inject("GET", url, agent)).rawPayload.equals(bytes)).toBe(true);
    expect((await at.inject("GET", url)).statusCode).toBe(403);
    expect(await at.blobs.missing(at.db, [sha(bytes), "f".repeat(64)])).toEqual(["f".repeat(64)]);
  });

  test("other bytes than announced are refused and not registered", async () => {
    const wrong = "e".repeat(64);
    const answer = await at.inject("PUT", `/agent/v1/blobs/${wrong}`, { ...agent, body: "bytes" });
    expect(answer.statusCode).toBe(422);
    expect(answer.json()).toMatchObject({ error: { code: "checksum_mismatch" } });
    expect(await at.blobs.missing(at.db, [wrong])).toEqual([wrong]);
    expect((await at.inject("GET", `/agent/v1/blobs/${wrong}`, agent)).statusCode).toBe(404);
  });

  test("a store that is down is told as such, and nothing is registered", async () => {
    const bytes = Buffer.from("bytes");
    at.isDown = true;
    const answer = await at.inject("PUT", `/agent/v1/blobs/${sha(bytes)}`, {
      ...agent,
      body: bytes,
    });
    expect(answer.statusCode).toBe(503);
    expect(answer.json()).toMatchObject({ error: { code: "store_unavailable" } });
    expect(answer.headers["retry-after"]).toBeDefined();
    expect(answer.body).not.toContain("unplugged");
    const upload = await at.inject("PUT", "/api/v1/files/a", { body: bytes });
    expect(upload.statusCode).toBe(503);
    at.isDown = false;
    expect(await at.blobs.missing(at.db, [sha(bytes)])).toEqual([sha(bytes)]);
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
    await at.blobs.put(counted);
    await at.blobs.put(counted);
    expect(reads).toBe(1);
    await at.store.remove(sha(bytes));
    await at.blobs.put(counted);
    expect(reads).toBe(2);
    expect(await at.store.has(sha(bytes))).toMatchObject({ kind: "found" });
  });
});

describe("collecting", () => {
  const graceMs = MIN_GRACE_MS;
  /** A whole pass; gives what it removed. */
  const collect = async (store: BlobStore = at.store): Promise<number> => {
    let removed = 0;
    let next: BlobPlace | undefined;
    const options = { db: at.db, store, log: SILENT_LOG, graceMs, onRemoved: () => undefined };
    do {
      const part = await collectPart(options, next);
      removed += part.removed;
      next = part.next;
    } while (next !== undefined);
    return removed;
  };
  const age = (...blobsToAge: Uint8Array[]) =>
    at.db.query(
      `update blobs set stored_at = now() - interval '30 days',
         unnamed_since = now() - interval '20 days' where sha256 = any($1)`,
      [blobsToAge.map(sha)],
    );

  test("only old bytes that nothing names are removed", async () => {
    const [old, fresh, named, shown, input] = ["old", "fresh", "named", "shown", "input"].map(
      (text) => Buffer.from(text),
    ) as [Buffer, Buffer, Buffer, Buffer, Buffer];
    for (const bytes of [old, fresh, input]) await at.blobs.put(source(bytes));
    await at.inject("PUT", "/api/v1/files/named", { body: named });
    await at.insertOutput("key_a", shown, "shown.png");
    await at.insertJob("key_a", [{ name: "x", sha256: sha(input), sizeBytes: 5 }]);
    await age(old, named, shown, input);
    await collect();
    const left = await Promise.all(
      [old, fresh, named, shown, input].map(async (bytes) => [
        (await at.store.has(sha(bytes))).kind,
        (await at.blobs.missing(at.db, [sha(bytes)])).length,
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

  test("old bytes behind many that must stay are found, and inputs are looked at once a grace", async () => {
    const stays = Array.from({ length: COLLECT_BATCH + 20 }, (_, n) => `${n}`.padStart(64, "0"));
    await at.db.query(
      `with b as (
         insert into blobs (sha256, size_bytes, stored_at)
         select sha, 1, now() - interval '60 days' from unnest($1::text[]) as s (sha) returning sha256
       )
       insert into files (id, owner, name, sha256, media_type)
       select 'fil_' || sha256, 'key_a', sha256, sha256, 'x' from b`,
      [stays],
    );
    const [old, input] = [Buffer.from("behind"), Buffer.from("read by a job")];
    for (const bytes of [old, input]) await at.blobs.put(source(bytes));
    await at.insertJob("key_a", [
      { name: "x", sha256: sha(input), sizeBytes: 5 },
      { name: "y", sha256: "of another", sizeBytes: 5 },
    ]);
    await age(old, input);
    expect(await collect()).toBe(1);
    expect((await at.store.has(sha(old))).kind).toBe("missing");
    expect((await at.store.has(sha(input))).kind).toBe("found");
    const { rows } = await at.db.query(
      "select stored_at > now() - interval '1 minute' as touched from blobs where sha256 = $1",
      [sha(input)],
    );
    expect(rows).toEqual([{ touched: true }]);
    // Its job was removed, and the grace is over once more.
    await at.db.query("delete from jobs");
    await age(input);
    expect(await collect()).toBe(1);
  });

  test("bytes outlive the last row that named them by the grace period", async () => {
    const bytes = Buffer.from("named until now");
    await at.inject("PUT", "/api/v1/files/a", { body: bytes });
    await age(bytes);
    await at.db.query("update blobs set unnamed_since = null");
    expect(await collect()).toBe(0);
    await at.db.query("delete from files");
    // Its age is long over; that nothing names it is seen now.
    expect([await collect(), await collect()]).toEqual([0, 0]);
    await at.db.query(
      "update blobs set unnamed_since = unnamed_since - make_interval(secs => $1)",
      [graceMs / 1000 - 60],
    );
    expect(await collect()).toBe(0);
    await at.db.query("update blobs set unnamed_since = unnamed_since - interval '2 minutes'");
    expect(await collect()).toBe(1);
  });

  test("bytes that were noted as unnamed and then named again begin anew", async () => {
    const bytes = Buffer.from("named again");
    await at.blobs.put(source(bytes));
    await age(bytes);
    await at.inject("PUT", "/api/v1/files/a", { body: bytes });
    const remove = async (): Promise<number[]> => {
      await at.db.query("delete from files");
      await at.db.query("update blobs set stored_at = now() - interval '30 days'");
      return [await collect(), await collect()];
    };
    expect(await remove()).toEqual([0, 0]);
    // Also when whoever named it did not touch it: a pass sees it.
    await at.inject("PUT", "/api/v1/files/a", { body: bytes });
    await age(bytes);
    expect(await collect()).toBe(0);
    expect(await remove()).toEqual([0, 0]);
    expect((await at.store.has(sha(bytes))).kind).toBe("found");
  });

  test("asking for a blob keeps it for another grace period", async () => {
    const bytes = Buffer.from("wanted");
    await at.blobs.put(source(bytes));
    await age(bytes);
    expect(await at.blobs.missing(at.db, [sha(bytes)])).toEqual([]);
    await collect();
    expect((await at.store.has(sha(bytes))).kind).toBe("found");
  });

  test("bytes that could not be removed are tried again later", async () => {
    const bytes = Buffer.from("stuck");
    await at.blobs.put(source(bytes));
    await age(bytes);
    at.isDown = true;
    await collect();
    at.isDown = false;
    expect((await at.store.has(sha(bytes))).kind).toBe("found");
    await age(bytes);
    await collect();
    expect((await at.store.has(sha(bytes))).kind).toBe("missing");
  });

  /** A keeper of its own on a store whose steps a test comes between. */
  const keeperOn = (between: Partial<BlobStore>): BlobKeeper =>
    createBlobKeeper({
      db: at.db,
      maxBytes: MAX_FILE_BYTES,
      store: createCircuitStore({
        store: { ...at.store, ...between },
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
        const result = await at.store.put(blob);
        if (puts === 1) await at.store.remove(blob.sha256);
        return result;
      },
    });
    await keeper.put(source(bytes));
    expect(puts).toBe(2);
    expect((await at.store.has(sha(bytes))).kind).toBe("found");
  });

  test("an upload that comes while its bytes are being removed waits, and stores them again", async () => {
    const bytes = Buffer.from("removed just now");
    await at.blobs.put(source(bytes));
    await age(bytes);
    let uploading: Promise<unknown> = Promise.resolve();
    await collect({
      ...at.store,
      async remove(name) {
        uploading = at.blobs.put(source(bytes));
        await expect
          .poll(async () => {
            const { rows } = await at.db.query(
              "select from pg_locks join pg_database on oid = database where datname = current_database() and locktype = 'advisory' and not granted",
            );
            return rows.length;
          })
          .toBe(1);
        return at.store.remove(name);
      },
    });
    await uploading;
    expect((await at.store.has(sha(bytes))).kind).toBe("found");
    expect(await at.blobs.missing(at.db, [sha(bytes)])).toEqual([]);
  });

  test("uploads that meet the collector end with their bytes in the store", async () => {
    const all = Array.from({ length: 12 }, (_, n) => Buffer.from(`blob ${n}`));
    for (let round = 0; round < 8; round += 1) {
      for (const bytes of all) await at.blobs.put(source(bytes));
      await age(...all);
      await Promise.all([collect(), collect(), ...all.map((bytes) => at.blobs.put(source(bytes)))]);
      for (const bytes of all) {
        expect(await at.store.has(sha(bytes))).toMatchObject({ kind: "found" });
        expect(await at.blobs.missing(at.db, [sha(bytes)])).toEqual([]);
      }
    }
  });
});
