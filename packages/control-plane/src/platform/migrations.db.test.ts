import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { SILENT_LOG } from "./log.ts";
import { migrate, type AppliedMigration } from "./migrations.ts";

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
