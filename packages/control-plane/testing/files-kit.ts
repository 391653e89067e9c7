/** The routes of files on a database and a folder of their own, for tests. */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../test/support/test-database.ts";
import { createGuardedFetch } from "../src/access/guarded-fetch.ts";
import { parseUrlRules } from "../src/access/url-rules.ts";
import { createBlobKeeper } from "../src/files/blob-service.ts";
import { createCircuitStore } from "../src/files/circuit-store.ts";
import { openFolderStore } from "../src/files/folder-store.ts";
import type { BlobStore } from "../src/files/model.ts";
import { fileRoutes } from "../src/files/routes.ts";
import { createFileService } from "../src/files/service.ts";
import { buildHttpServer } from "../src/platform/http/server.ts";
import { SILENT_LOG } from "../src/platform/log.ts";
import { insertQueuedJob } from "./queued-job.ts";
import { TEST_ACCESS } from "./test-access.ts";

/** The largest file that is taken. */
export const MAX_FILE_BYTES = 3 * 1024 * 1024;
const ids = createIdSource(systemClock, seededRandom(3));

/** SHA-256 as the store names bytes by. */
export const sha = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Bytes as a blob that announces what it is. */
export const source = (bytes: Uint8Array) => ({
  sha256: sha(bytes),
  sizeBytes: bytes.length,
  async *open() {
    yield bytes;
  },
});

/** See {@link createFilesKit}. */
export type FilesKit = Awaited<ReturnType<typeof createFilesKit>>;
/** What one test works on. */
export type FilesBench = Awaited<ReturnType<FilesKit["open"]>>;

/** Opens a database; `open` empties it and makes a store and a server for one test. */
export async function createFilesKit() {
  const database = await createTestDatabase();
  return { open: () => openBench(database), close: () => database.drop() };
}

async function openBench({ db }: TestDatabase) {
  await emptyTables(db, ["files", "outputs", "jobs", "requirements", "graphs", "blobs"]);
  const folder = await mkdtemp(join(tmpdir(), "holdfast-files-"));
  await mkdir(join(folder, "spool"));
  /** Until a test unplugs the store. */
  const plug = { isDown: false };
  const real = await openFolderStore({ path: join(folder, "blobs"), clock: systemClock, ids });
  const store = unpluggable(real, plug);
  const random = seededRandom(1);
  const circuit = createCircuitStore({ store, clock: systemClock, random, log: SILENT_LOG });
  const blobs = createBlobKeeper({ db, store: circuit, maxBytes: MAX_FILE_BYTES });
  const fetcher = createGuardedFetch({ clock: systemClock, rules: parseUrlRules("127.0.0.1") });
  const files = createFileService({
    db,
    blobs,
    ids,
    fetch: fetcher,
    spoolFolder: join(folder, "spool"),
    maxFileBytes: MAX_FILE_BYTES,
  });
  const server = buildHttpServer({
    log: SILENT_LOG,
    clock: systemClock,
    ids,
    bodyLimitBytes: 10_000,
  });
  await server.app.register(fileRoutes, {
    access: TEST_ACCESS,
    files,
    blobs,
    maxFileBytes: MAX_FILE_BYTES,
  });
  const insertJob = (owner: string, inputs: unknown[] = []): Promise<string> =>
    insertQueuedJob(db, ids, { owner, inputs });

  return {
    db,
    folder,
    store,
    blobs,
    server,
    get isDown() {
      return plug.isDown;
    },
    set isDown(isDown: boolean) {
      plug.isDown = isDown;
    },
    inject: (
      method: "GET" | "POST" | "PUT" | "DELETE" | "HEAD",
      url: string,
      options: { body?: Uint8Array | string; headers?: Record<string, string>; as?: string } = {},
    ) =>
      server.app.inject({
        method,
        url,
        headers: { "x-test-caller": options.as ?? "key_a/user", ...options.headers },
        ...(options.body === undefined ? {} : { payload: Buffer.from(options.body) }),
      }),
    insertJob,
    async insertOutput(owner: string, bytes: Uint8Array, name: string): Promise<string> {
      await blobs.put(source(bytes));
      const output = ids.next("out");
      await db.query(
        `insert into outputs (id, job_id, attempt_id, lineage, node_id, ordinal, kind, name,
           media_type, size_bytes, sha256, temporary)
         values ($1, $2, 'att', 1, '9', 0, 'image', $3, 'image/png', $4, $5, false)`,
        [output, await insertJob(owner), name, bytes.length, sha(bytes)],
      );
      return output;
    },
    async close() {
      await server.close();
      await fetcher.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function unpluggable(real: BlobStore, plug: { readonly isDown: boolean }): BlobStore {
  const down = { kind: "unavailable", reason: "unplugged" } as const;
  return {
    ...real,
    put: async (blob) => (plug.isDown ? down : real.put(blob)),
    open: async (name, range) => (plug.isDown ? down : real.open(name, range)),
    has: async (name) => (plug.isDown ? down : real.has(name)),
    remove: async (name) => (plug.isDown ? down : real.remove(name)),
    probe: async () => (plug.isDown ? down : real.probe()),
  };
}
