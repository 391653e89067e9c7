import { createHash } from "node:crypto";
import type { InstanceReport, Inventory } from "@holdfast/contract";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../../test/support/test-database.ts";
import type { Queryable } from "../platform/db.ts";
import { removeDeadPart } from "./loop.ts";
import { lockDead, readDead, removeDead, type DeadKind } from "./retention-store.ts";
import { createMachinesService } from "./service.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(() =>
  emptyTables(database.db, ["machines", "instances", "inventories", "jobs", "leases", "attempts"]),
);

const sweep = async (): Promise<Record<DeadKind, number>> => {
  const removed = { instance: 0, machine: 0, inventory: 0 };
  for (const kind of ["instance", "machine", "inventory"] as const) {
    let next: string | undefined;
    do {
      const part = await removeDeadPart(
        { db: database.db, keptMs: 30 * DAY_MS, onRemoved: (what, n) => (removed[what] += n) },
        kind,
        next,
      );
      next = part.next;
    } while (next !== undefined);
  }
  return removed;
};

/** Registers a machine with instances `<id>-0`, `<id>-1` …, and gives their ids. */
async function register(
  id: string,
  keys: readonly string[] = ["a"],
  on: Queryable = database.db,
): Promise<string[]> {
  const { instances } = await createMachinesService(database.db).register(
    on,
    { id, name: id, bootId: "b", agentVersion: "1" },
    keys.map((key) => ({
      id: `ins_${id}_${key}_${Math.random()}`,
      key,
      name: key,
      canRestart: false,
    })),
  );
  return instances.map((instance) => instance.id);
}

/** The machine was last heard of so many days ago. */
const lose = (id: string, days: number): Promise<unknown> =>
  database.db.query(
    `update machines set state = 'lost', last_heartbeat_at = now() - make_interval(days => $2)
     where id = $1`,
    [id, days],
  );

async function ids(table: string, column = "id"): Promise<unknown[]> {
  const { rows } = await database.db.query<{ id: string }>(
    `select ${column} as id from ${table} order by 1`,
  );
  return rows.map((row) => row.id);
}

function inventory(models: readonly string[]): Inventory {
  return {
    digest: createHash("sha256").update(models.join()).digest("hex"),
    nodeClasses: ["SaveImage"],
    models: { checkpoints: [...models] },
    comfyuiVersion: null,
    vramTotalBytes: null,
    deviceName: null,
    simulated: true,
  };
}

const reportOf = (instanceId: string, digest: string | null): InstanceReport => ({
  instanceId,
  state: "healthy",
  reason: null,
  inventoryDigest: digest,
  wants: 0,
  vramFreeBytes: null,
});

/** An attempt that names the instance. */
async function insertAttempt(instanceId: string): Promise<void> {
  await database.db.query(
    `with g as (
       insert into graphs (hash, body, node_count, size_bytes) values ($1, '{}', 1, 2) returning id
     ), r as (insert into requirements (hash, needs) values ($1, '{}') returning id),
     j as (
       insert into jobs (id, owner, state, rank, requirement_id, graph_id, timeout_ms, ended_at)
       select 'job_' || $1, 'local', 'failed', 1, r.id, g.id, 1000, now() from g, r returning id
     )
     insert into attempts (id, job_id, number, round, lease_epoch, lineage, machine_id, instance_id,
       prompt_id)
     select 'att_' || $1, id, 1, 1, 1, 1, 'mch_x', $1, $1 from j`,
    [instanceId],
  );
}

describe("machines and instances", () => {
  test("go when nothing was heard of them for long, all others stay", async () => {
    await register("mch_dead", ["a", "b"]);
    await register("mch_away");
    await register("mch_quiet");
    const [kept = ""] = await register("mch_live", ["a", "b", "c"]);
    await lose("mch_dead", 31);
    await lose("mch_away", 29);
    // A machine that was not taken for lost is not dead, whatever its heartbeat says.
    await database.db.query(
      "update machines set last_heartbeat_at = now() - interval '99 days' where id = 'mch_quiet'",
    );
    await register("mch_live", ["a"]);
    await database.db.query(
      "update instances set state_since = now() - interval '31 days' where machine_id = 'mch_live' and key in ('a', 'b')",
    );
    expect(await sweep()).toEqual({ instance: 3, machine: 1, inventory: 0 });
    expect(await ids("machines")).toEqual(["mch_away", "mch_live", "mch_quiet"]);
    const { rows } = await database.db.query(
      "select id, key from instances where machine_id = 'mch_live' order by key",
    );
    expect(rows).toEqual([{ id: kept, key: "a" }, expect.objectContaining({ key: "c" })]);
    expect(await sweep()).toEqual({ instance: 0, machine: 0, inventory: 0 });
  });

  test("stay while a job that is kept ran on them: its page names them", async () => {
    const [named = ""] = await register("mch_dead", ["a", "b"]);
    await lose("mch_dead", 100);
    await insertAttempt(named);
    expect(await sweep()).toEqual({ instance: 1, machine: 0, inventory: 0 });
    expect(await ids("instances")).toEqual([named]);
    await database.db.query("delete from jobs");
    expect(await sweep()).toEqual({ instance: 1, machine: 1, inventory: 0 });
  });

  test("more than a step are gone through to the end", async () => {
    await database.db.query(
      `with m as (
         insert into machines (id, name, boot_id, session, state, agent_version, last_heartbeat_at)
         select 'mch_' || i, 'm', 'b', 1, 'lost', '1', now() - interval '1 year'
         from generate_series(1, 1100) i returning id
       )
       insert into instances (id, machine_id, key, name, state)
       select 'ins_' || id, id, 'k', 'n', 'stopped' from m`,
    );
    expect(await sweep()).toEqual({ instance: 1_100, machine: 1_100, inventory: 0 });
  });

  test("a machine that comes back while it is removed is there afterwards, with its instance", async () => {
    for (let round = 0; round < 15; round += 1) {
      await register("mch_back", ["a", "b"]);
      await lose("mch_back", 31);
      const [instances] = await Promise.all([
        database.db.transaction((tx) => register("mch_back", ["a", "b"], tx)),
        sweep(),
        sweep(),
      ]);
      expect(await ids("machines")).toEqual(["mch_back"]);
      expect(await ids("instances")).toEqual([...instances].sort());
    }
  });

  test("what was registered again between the look and the lock is left", async () => {
    await register("mch_back");
    await lose("mch_back", 31);
    const part = { afterMs: 30 * DAY_MS, after: "", limit: 10 };
    const { ids: found } = await readDead(database.db, "instance", part);
    expect(found).toHaveLength(1);
    await register("mch_back");
    await database.db.transaction(async (tx) => {
      expect(await lockDead(tx, "instance", 30 * DAY_MS, found)).toEqual([]);
    });
  });
});

const AGENT = { machineId: "mch_1", session: 1 };

describe("inventories", () => {
  test("go when no instance has them for a week", async () => {
    const machines = createMachinesService(database.db);
    const [used, unused, fresh] = [["a"], ["b"], ["c"]].map((models) => inventory(models));
    for (const one of [used, unused, fresh]) {
      await machines.putInventory({ inventory: one as Inventory, objectInfo: {} });
    }
    const [instance = ""] = await register("mch_1");
    await machines.report(database.db, AGENT, [reportOf(instance, used?.digest ?? null)]);
    await database.db.query(
      "update inventories set created_at = now() - interval '8 days' where digest <> $1",
      [fresh?.digest],
    );
    expect((await sweep()).inventory).toBe(1);
    expect(await ids("inventories", "digest")).toEqual([used?.digest, fresh?.digest].sort());
  });

  test("one that is reported while it is removed is asked for again", async () => {
    const machines = createMachinesService(database.db);
    const one = inventory(["a"]);
    await machines.putInventory({ inventory: one, objectInfo: {} });
    await database.db.query("update inventories set created_at = now() - interval '8 days'");
    const [instance = ""] = await register("mch_1");
    let reporting: Promise<unknown> = Promise.resolve();
    await database.db.transaction(async (tx) => {
      expect(await lockDead(tx, "inventory", 7 * DAY_MS, [one.digest])).toEqual([one.digest]);
      reporting = machines.report(database.db, AGENT, [reportOf(instance, one.digest)]);
      for (let look = 0; look < 1_000; look += 1) {
        const { rowCount } = await database.db.query(
          "select 1 from pg_locks where not granted and locktype in ('transactionid', 'tuple')",
        );
        if (rowCount > 0) break;
      }
      expect(await machines.inventory(one.digest)).toBeDefined();
      expect(await removeDead(tx, "inventory", [one.digest])).toBe(1);
    });
    await reporting;
    expect(await machines.inventory(one.digest)).toBeUndefined();
    await machines.putInventory({ inventory: one, objectInfo: {} });
    expect(await machines.inventory(one.digest)).toBeDefined();
  });

  test("one that was reported just before stays", async () => {
    const machines = createMachinesService(database.db);
    const one = inventory(["a"]);
    await machines.putInventory({ inventory: one, objectInfo: {} });
    await database.db.query("update inventories set created_at = now() - interval '8 days'");
    const [instance = ""] = await register("mch_1");
    await database.db.transaction(async (tx) => {
      await machines.report(tx, AGENT, [reportOf(instance, one.digest)]);
      expect((await sweep()).inventory).toBe(0);
    });
    expect((await sweep()).inventory).toBe(0);
  });
});
