import { copyFile, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { SILENT_LOG } from "./log.ts";
import { migrate, migrationsFolder, type AppliedMigration } from "./migrations.ts";

let database: TestDatabase;
let folder: string;
beforeEach(async () => {
  database = await createTestDatabase({ migrated: false });
  folder = await mkdtemp(join(tmpdir(), "holdfast-migrations-"));
});
afterEach(async () => {
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

const put = (name: string, sql: string): Promise<void> => writeFile(join(folder, name), sql);
const run = (): Promise<readonly AppliedMigration[]> =>
  migrate(database.db, { folder, log: SILENT_LOG });

test("files are applied in order, once", async () => {
  await put("0002_fill.sql", "insert into things values (1); insert into things values (2);");
  await put("0001_things.sql", "create table things (id int primary key);");
  expect((await run()).map((applied) => applied.name)).toEqual(["things", "fill"]);
  expect(await run()).toEqual([]);
  expect((await database.db.query("select id from things order by id")).rows).toHaveLength(2);
});

test("many replicas starting at once apply each file once", async () => {
  await put("0001_things.sql", "create table things (id int primary key); select pg_sleep(0.05);");
  await put("0002_more.sql", "alter table things add column name text;");
  const runs = await Promise.all([run(), run(), run(), run()]);
  const versions = runs.flat().map((applied) => applied.version);
  expect(versions.sort((a, b) => a - b)).toEqual([1, 2]);
});

test("a file that fails leaves nothing of itself and keeps what came before", async () => {
  await put("0001_things.sql", "create table things (id int primary key);");
  await put("0002_wrong.sql", "create table halves (id int); select 1/0;");
  await expect(run()).rejects.toThrow(/division by zero/);
  const { rows } = await database.db.query(
    "select to_regclass('things')::text as things, to_regclass('halves')::text as halves",
  );
  expect(rows).toEqual([{ things: "things", halves: null }]);
  await put("0002_wrong.sql", "create table halves (id int);");
  expect((await run()).map((applied) => applied.version)).toEqual([2]);
});

test("an edited file stops the start before anything else is applied", async () => {
  await put("0001_things.sql", "create table things (id int primary key);");
  await run();
  await put("0001_things.sql", "create table things (id bigint primary key);");
  await put("0002_more.sql", "create table more (id int);");
  await expect(run()).rejects.toMatchObject({ problem: "edited" });
  const { rows } = await database.db.query("select to_regclass('more')::text as more");
  expect(rows).toEqual([{ more: null }]);
});

test("a database changed by a newer release is refused only when the change breaks older ones", async () => {
  await put("0001_things.sql", "create table things (id int primary key);");
  await put("0002_harmless.sql", "create table harmless (id int);");
  await run();
  await rm(join(folder, "0002_harmless.sql"));
  expect(await run()).toEqual([]);
  await put("0002_harmless.sql", "create table harmless (id int);");
  await put("0003_breaks.sql", "--! breaking\ndrop table harmless;");
  await run();
  await rm(join(folder, "0003_breaks.sql"));
  await expect(run()).rejects.toMatchObject({ problem: "newer_database" });
});

describe("indexes that are built while writers go on", () => {
  const THINGS = "create table things (id int primary key, name text);";
  const INDEX = "create unique index concurrently things_once on things (name) where id > 0;";
  const index = async () => {
    const { rows } = await database.db.query<{ oid: number; isValid: boolean }>(
      `select indexrelid::int as oid, indisvalid as "isValid" from pg_index
       where indexrelid = to_regclass('things_once')`,
    );
    return rows[0];
  };

  test("are built once, however many replicas start at once", async () => {
    await put("0001_things.sql", THINGS);
    await put("0002_once.sql", `--! concurrently\n-- Why; and how.\n${INDEX}`);
    await put("0003_more.sql", "create table more (id int);");
    const runs = await Promise.all([run(), run(), run()]);
    expect(runs.flat().map(({ version }) => version)).toEqual(expect.arrayContaining([1, 2, 3]));
    expect(runs.flat()).toHaveLength(3);
    expect(await index()).toMatchObject({ isValid: true });
    expect(await run()).toEqual([]);
  });

  test("keep nobody from writing", async () => {
    await put("0001_things.sql", THINGS);
    await run();
    await put("0002_once.sql", `--! concurrently\n${INDEX}`);
    let migrated: Promise<unknown> = Promise.resolve();
    await database.db.transaction(async (tx) => {
      await tx.query("insert into things values (1, 'a')");
      migrated = run();
      // It waits for this transaction, and whoever comes after does not wait for it.
      await expect.poll(index).toMatchObject({ isValid: false });
      await database.db.query("insert into things values (2, 'b')");
    });
    await migrated;
    expect(await index()).toMatchObject({ isValid: true });
  });

  test("that a cut build has left behind are dropped and built anew", async () => {
    await put("0001_things.sql", THINGS);
    await run();
    await database.db.query("insert into things values (1, 'a'), (2, 'a')");
    await put("0002_once.sql", `--! concurrently\n${INDEX}`);
    await expect(run()).rejects.toThrow(/could not create unique index/);
    const broken = await index();
    expect(broken).toMatchObject({ isValid: false });
    await database.db.query("delete from things where id = 2");
    expect((await run()).map(({ version }) => version)).toEqual([2]);
    expect(await index()).toMatchObject({ isValid: true });
    expect((await index())?.oid).not.toBe(broken?.oid);
  });

  test("that are there already are taken as they are", async () => {
    await put("0001_things.sql", THINGS + INDEX.replace("concurrently ", ""));
    await run();
    const before = await index();
    await put("0002_once.sql", `--! concurrently\n${INDEX}`);
    expect((await run()).map(({ version }) => version)).toEqual([2]);
    expect(await index()).toEqual(before);
  });

  test.each([
    "create table x (id int);",
    `${INDEX} drop table things;`,
    INDEX.replace("concurrently ", ""),
    "",
  ])("stand in files of their own: %j", async (sql) => {
    await put("0001_wrong.sql", `--! concurrently\n${sql}`);
    await expect(run()).rejects.toMatchObject({ problem: "bad_folder" });
  });

  test("of alerts are there, and a database that has them from an earlier 0013 goes on", async () => {
    // The files of then: those that came after would have to be undone as well.
    for (const file of await readdir(migrationsFolder())) {
      if (file < "0016") await copyFile(join(migrationsFolder(), file), join(folder, file));
    }
    await run();
    const indexes = async () =>
      (
        await database.db.query(
          `select c.relname as name, c.oid::int as oid, i.indisvalid as valid
           from pg_index i join pg_class c on c.oid = i.indexrelid
           where c.relname in ('jobs_poisoned', 'attempts_died', 'webhook_deliveries_dead')
           order by 1`,
        )
      ).rows;
    const before = await indexes();
    expect(before.map(({ valid }) => valid)).toEqual([true, true, true]);
    await database.db.query(`update schema_migrations set checksum = $1 where version = 13`, [
      "01c3dd61e4a43909aac6be70a73e688f35721102a3055b34e7d106688961b1e2",
    ]);
    await database.db.query("delete from schema_migrations where version >= 15");
    expect((await run()).map(({ version }) => version)).toEqual([15]);
    expect(await indexes()).toEqual(before);
  });
});
