import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { statement, toJson, toTimestamp } from "./db.ts";
import { isConnectionFailure, isUniqueViolation, sqlState } from "./db-errors.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ migrated: false });
  await database.db.query("create table counters (id int primary key, value int not null)");
});
afterAll(() => database.drop());

describe("column types", () => {
  test("instants are epoch milliseconds, int8 is a number, numeric stays text", async () => {
    const { rows } = await database.db.query(
      `select $1::timestamptz as at, 9007199254740991::int8 as big, 1.50::numeric as price,
        $2::jsonb as data, array[1::int8, null] as numbers, array[$1::timestamptz] as instants,
        'infinity'::timestamptz as never, null::timestamptz as nothing`,
      [toTimestamp(1_700_000_000_123), toJson([{ a: 1 }])],
    );
    expect(rows).toEqual([
      {
        at: 1_700_000_000_123,
        big: 9_007_199_254_740_991,
        price: "1.50",
        data: [{ a: 1 }],
        numbers: [1, null],
        instants: [1_700_000_000_123],
        never: Number.POSITIVE_INFINITY,
        nothing: null,
      },
    ]);
  });

  test("an int8 that a number cannot hold is refused, not rounded", async () => {
    await expect(database.db.query("select 9007199254740993::int8")).rejects.toThrow(/safe range/);
  });

  test("instants are read right whatever zone the database prefers", async () => {
    await database.db.transaction(async (tx) => {
      await tx.query("set local timezone = 'Asia/Kolkata'");
      const { rows } = await tx.query("select $1::timestamptz as at", [
        toTimestamp(1_700_000_000_000),
      ]);
      expect(rows).toEqual([{ at: 1_700_000_000_000 }]);
    });
  });
});

describe("queries", () => {
  test("a transaction that stands still is ended before those who wait for its locks give up", async () => {
    const { rows } = await database.db.query<{ idle: number; statement: number }>(
      `select i.setting::int as idle, s.setting::int as statement from pg_settings i, pg_settings s
       where i.name = 'idle_in_transaction_session_timeout' and s.name = 'statement_timeout'`,
    );
    const [limits] = rows;
    expect(limits?.idle).toBeGreaterThan(10_000);
    expect(limits?.idle).toBeLessThan((limits?.statement ?? 0) - 5_000);
  });

  test("a named statement is planned once per connection and runs again", async () => {
    const add = statement("test-add", "select $1::int + 1 as sum");
    await database.db.transaction(async (tx) => {
      expect((await tx.query(add, [1])).rows).toEqual([{ sum: 2 }]);
      expect((await tx.query(add, [2])).rows).toEqual([{ sum: 3 }]);
      const { rows } = await tx.query(
        "select count(*) as plans from pg_prepared_statements where name = 'test-add'",
      );
      expect(rows).toEqual([{ plans: 1 }]);
    });
  });

  test("errors of Postgres keep their state", async () => {
    await database.db.query("insert into counters values (99, 0)");
    const failure = await database.db
      .query("insert into counters values (99, 0)")
      .catch((error: unknown) => error);
    expect(sqlState(failure)).toBe("23505");
    expect(isUniqueViolation(failure, "counters_pkey")).toBe(true);
    expect(isUniqueViolation(failure, "another")).toBe(false);
  });
});

describe("transactions", () => {
  test("what throws is rolled back and the connection stays usable", async () => {
    await expect(
      database.db.transaction(async (tx) => {
        await tx.query("insert into counters values (1, 1)");
        throw new Error("no");
      }),
    ).rejects.toThrow("no");
    const { rowCount } = await database.db.query("select 1 from counters where id = 1");
    expect(rowCount).toBe(0);
  });

  test("two transactions that deadlock both end well", async () => {
    await database.db.query("insert into counters values (10, 0), (11, 0)");
    let inside = 0;
    let openGate = (): void => undefined;
    const bothInside = new Promise<void>((resolve) => (openGate = resolve));
    const cross = (first: number, second: number): Promise<number> => {
      let tries = 0;
      return database.db.transaction(async (tx) => {
        tries += 1;
        await tx.query("update counters set value = value + 1 where id = $1", [first]);
        if ((inside += 1) === 2) openGate();
        await bothInside;
        await tx.query("update counters set value = value + 1 where id = $1", [second]);
        return tries;
      });
    };
    const tries = await Promise.all([cross(10, 11), cross(11, 10)]);
    expect(Math.max(...tries)).toBeGreaterThan(1);
    const { rows } = await database.db.query("select value from counters where id in (10, 11)");
    expect(rows).toEqual([{ value: 2 }, { value: 2 }]);
  });

  test("serializable transactions that collide are run again", async () => {
    await database.db.query("insert into counters values (20, 0)");
    const bump = (): Promise<void> =>
      database.db.transaction(
        async (tx) => {
          const { rows } = await tx.query<{ value: number }>(
            "select value from counters where id = 20",
          );
          await tx.query("update counters set value = $1 where id = 20", [
            (rows[0]?.value ?? 0) + 1,
          ]);
        },
        { isolation: "serializable" },
      );
    await Promise.all([bump(), bump(), bump()]);
    const { rows } = await database.db.query("select value from counters where id = 20");
    expect(rows).toEqual([{ value: 3 }]);
  });

  test("a connection cut in the middle fails the transaction and not the process", async () => {
    await expect(
      database.db.transaction(async (tx) => {
        const { rows } = await tx.query<{ pid: number }>("select pg_backend_pid() as pid");
        await database.db.query("select pg_terminate_backend($1)", [rows[0]?.pid]);
        await tx.query("select 1");
      }),
    ).rejects.toSatisfy(isConnectionFailure);
    expect((await database.db.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
  });
});
