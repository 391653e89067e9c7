import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isProcessAlive, waitForExit } from "@holdfast/runtime/host";
import { spawnTypeScript } from "../../../../../test/support/spawn-typescript.ts";
import { createDb, type Db } from "../db.ts";
import { SILENT_LOG } from "../log.ts";
import {
  createEmbeddedPostgres,
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
} from "./embedded-postgres.ts";

const STARTER = new URL(
  "../../../../../test/support/embedded-postgres-starter.ts",
  import.meta.url,
);
const QUICK = { fsync: "off" };

let root: string;
let dir: string;
const started: EmbeddedPostgres[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "holdfast-pg-"));
  dir = join(root, "home", "postgres");
});
afterEach(async () => {
  for (const postgres of started.splice(0)) await postgres.stop();
  const pointed = await readFile(join(dir, "location"), "utf8").catch(() => "");
  if (pointed !== "") await rm(join(pointed.trim(), ".."), { recursive: true, force: true });
  await rm(root, { recursive: true, force: true });
});

const make = (over: Partial<EmbeddedPostgresOptions> = {}): EmbeddedPostgres => {
  const postgres = createEmbeddedPostgres({
    dir,
    clock: systemClock,
    random: systemRandom,
    log: SILENT_LOG,
    settings: QUICK,
    ...over,
  });
  started.push(postgres);
  return postgres;
};
const connect = (postgres: EmbeddedPostgres): Db =>
  createDb({
    target: () => postgres.connection(),
    applicationName: "test",
    clock: systemClock,
    random: systemRandom,
    log: SILENT_LOG,
    max: 2,
    onConnectionLost: () => postgres.check(),
  });
const using = async <T>(postgres: EmbeddedPostgres, fn: (db: Db) => Promise<T>): Promise<T> => {
  const db = connect(postgres);
  try {
    return await fn(db);
  } finally {
    await db.close();
  }
};
const restarted = (postgres: EmbeddedPostgres): Promise<void> =>
  new Promise((resolve) => postgres.onRestart(() => resolve()));
const listenSomewhere = (port: number): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
const closed = (server: Server): Promise<void> =>
  new Promise((resolve) => server.close(() => resolve()));

describe("start and stop", () => {
  test("it is durable, private and quiet, and what was written is there after a stop", async () => {
    const postgres = make({ settings: {} });
    await postgres.start();
    await using(postgres, async (db) => {
      const { rows } = await db.query(
        `select current_setting('fsync') as fsync, current_setting('synchronous_commit') as sync,
          current_setting('listen_addresses') as listens, current_setting('jit') as jit`,
      );
      expect(rows).toEqual([{ fsync: "on", sync: "on", listens: "127.0.0.1", jit: "off" }]);
      await db.query("create table kept (id int)");
    });
    expect((await stat(join(dir, "password"))).mode & 0o777).toBe(0o600);
    const pid = postgres.pid() ?? 0;
    await postgres.stop();
    expect(await isProcessAlive(pid)).toBe(false);
    const again = make({ settings: {} });
    await again.start();
    expect(again.wasAdopted()).toBe(false);
    const { rows } = await using(again, (db) => db.query("select count(*) as count from kept"));
    expect(rows).toEqual([{ count: 0 }]);
  });

  test("a wrong password is refused", async () => {
    const postgres = make();
    await postgres.start();
    const db = createDb({
      target: { ...postgres.connection(), password: "guess" },
      applicationName: "test",
      clock: systemClock,
      random: systemRandom,
      log: SILENT_LOG,
    });
    await expect(db.query("select 1")).rejects.toMatchObject({ code: "28P01" });
    await db.close();
  });

  test("two starters at once share one server", async () => {
    const one = make();
    const two = make();
    await Promise.all([one.start(), two.start()]);
    expect(one.pid()).toBe(two.pid());
    expect([one.wasAdopted(), two.wasAdopted()].filter(Boolean)).toHaveLength(1);
  });

  test("a data folder of another version is refused in words", async () => {
    const postgres = make();
    await postgres.start();
    await postgres.stop();
    const location = await readFile(join(dir, "location"), "utf8").catch(() => join(dir, "data"));
    await writeFile(join(location.trim(), "PG_VERSION"), "12\n");
    await expect(make().start()).rejects.toMatchObject({ problem: "version_mismatch" });
  });
});

describe("after a kill", () => {
  test("a server outlives the kill of its starter and is taken over with its data", async () => {
    const starter = spawnTypeScript(STARTER, [dir]);
    const [, pid] = await starter.line(/^ready (\d+) (\d+)$/);
    await starter.kill("SIGKILL");
    expect(await isProcessAlive(Number(pid))).toBe(true);
    const next = make();
    await next.start();
    expect(next.pid()).toBe(Number(pid));
    expect(next.wasAdopted()).toBe(true);
    await using(next, (db) => db.query("select 1"));
    await next.stop();
    expect(await isProcessAlive(Number(pid))).toBe(false);
  });

  test("starter and server killed: what was committed is there again", async () => {
    const starter = spawnTypeScript(STARTER, [dir]);
    const [, pid] = await starter.line(/^ready (\d+) (\d+)$/);
    const joined = make({ join: true });
    await joined.start();
    await using(joined, async (db) => {
      await db.query("create table kept (id int)");
      await db.query("insert into kept values (1)");
    });
    await joined.stop();
    await starter.kill("SIGKILL");
    process.kill(Number(pid), "SIGKILL");
    await waitForExit(Number(pid), 10_000, systemClock);
    const next = make({ settings: {} });
    await next.start();
    expect(next.wasAdopted()).toBe(false);
    const { rows } = await using(next, (db) => db.query("select id from kept"));
    expect(rows).toEqual([{ id: 1 }]);
  });

  test("a stale postmaster.pid whose number is another process now does not mislead", async () => {
    const first = make();
    await first.start();
    const pid = first.pid() ?? 0;
    process.kill(pid, "SIGKILL");
    await waitForExit(pid, 10_000, systemClock);
    await first.stop();
    const location = await readFile(join(dir, "location"), "utf8").catch(() => join(dir, "data"));
    const pidFile = join(location.trim(), "postmaster.pid");
    const text = await readFile(pidFile, "utf8").catch(() => `${pid}\n${location}\n0\n1\n\n`);
    // Our own pid: alive, and certainly no Postgres.
    await writeFile(pidFile, text.replace(String(pid), String(process.pid)));
    const next = make();
    await next.start();
    expect(next.pid()).not.toBe(process.pid);
    await using(next, (db) => db.query("select 1"));
  });

  test("a server that crashes is started again, and callers get through", async () => {
    const postgres = make();
    await postgres.start();
    await using(postgres, async (db) => {
      await db.query("create table kept (id int)");
      const pid = postgres.pid() ?? 0;
      const back = restarted(postgres);
      process.kill(pid, "SIGKILL");
      await back;
      expect(postgres.pid()).not.toBe(pid);
      // The first query may meet a connection that died with the old server.
      await db.query("select 1").catch(() => undefined);
      const { rows } = await db.query("select count(*) as count from kept");
      expect(rows).toEqual([{ count: 0 }]);
    });
  });

  test("a port taken meanwhile is given up for another, and the pool finds it", async () => {
    const first = make();
    await first.start();
    const { port } = first.connection();
    await first.stop();
    const squatter = await listenSomewhere(port);
    try {
      const next = make();
      await next.start();
      expect(next.connection().port).not.toBe(port);
      await using(next, (db) => db.query("select 1"));
    } finally {
      await closed(squatter);
    }
  });
});

describe("joining", () => {
  test("who joins uses the server of another process and leaves it running", async () => {
    const owner = make();
    await owner.start();
    const guest = make({ join: true });
    await guest.start();
    expect(guest.connection()).toEqual(owner.connection());
    await guest.stop();
    await using(owner, (db) => db.query("select 1"));
  });

  test("who joins where nobody runs a server is told so", async () => {
    await expect(make({ join: true }).start()).rejects.toMatchObject({ problem: "not_running" });
  });
});

const isRoot = process.getuid?.() === 0;
describe.skipIf(!isRoot)("as root", () => {
  test("it runs in a folder that only root can enter", async () => {
    await mkdir(join(root, "home"), { recursive: true });
    await chmod(join(root, "home"), 0o700);
    const postgres = make();
    await postgres.start();
    const { rows } = await using(postgres, (db) => db.query("select 1 as one"));
    expect(rows).toEqual([{ one: 1 }]);
  });

  test("without user namespaces the data goes where a borrowed account reaches it, and is found again", async () => {
    const first = make({ allowNamespaces: false });
    await first.start();
    await using(first, (db) => db.query("create table kept (id int)"));
    await first.stop();
    const pointed = (await readFile(join(dir, "location"), "utf8")).trim();
    expect((await stat(pointed)).uid).not.toBe(0);
    // Also on a machine that allows them again.
    const second = make();
    await second.start();
    const { rows } = await using(second, (db) => db.query("select count(*) as count from kept"));
    expect(rows).toEqual([{ count: 0 }]);
  });

  test("data that a pointer names and that is gone is missed, not made anew", async () => {
    const first = make({ allowNamespaces: false });
    await first.start();
    await first.stop();
    const pointed = (await readFile(join(dir, "location"), "utf8")).trim();
    await rm(join(pointed, ".."), { recursive: true });
    await expect(make().start()).rejects.toMatchObject({ problem: "data_missing" });
  });
});
