import { NEW_BREAKER, wantedMachine } from "@holdfast/fleet";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../../../../test/support/processes.ts";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../../test/support/test-database.ts";
import type { Transaction } from "../platform/db.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { createLead, LEAD_TTL_MS, type Lead } from "./lead-service.ts";
import { assertLeads, leaveLead, readLead, takeLead } from "./lead-store.ts";
import { writeBreaker, writePool } from "./lever-store.ts";
import { LeadLost } from "./model.ts";
import { toStored } from "./stored-machine.ts";
import { insertMachine, readLiving, updateMachine } from "./store.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ max: 4 });
});
afterAll(() => database?.drop());
beforeEach(() => emptyTables(database.db, ["fleet_leader"]));

const leadOf = (holder: string, clock = systemClock): Lead =>
  createLead({
    db: database.db,
    clock,
    random: seededRandom(1),
    log: SILENT_LOG,
    holder,
    onTaken: () => undefined,
  });

it("one of many that try leads, and its epoch stays while it keeps the lead", async () => {
  const { db } = database;
  const all = await Promise.all(
    Array.from({ length: 8 }, (_, at) => takeLead(db, `rpl_${at}`, LEAD_TTL_MS)),
  );
  expect(all.filter((epoch) => epoch !== null)).toEqual([1]);
  const holder = (await readLead(db))?.holder ?? "";
  expect(await takeLead(db, holder, LEAD_TTL_MS)).toBe(1);
  await leaveLead(db, holder);
  expect(await takeLead(db, "rpl_next", LEAD_TTL_MS)).toBe(2);
});

it("another replica leads within 10 s of the leader's death, under a higher epoch", async () => {
  const { db } = database;
  // What a leader leaves that was killed right after it had kept its lead.
  expect(await takeLead(db, "rpl_dead", LEAD_TTL_MS)).toBe(1);
  const lead = leadOf("rpl_lives");
  await lead.start();
  try {
    expect(lead.epoch()).toBeNull();
    await until("the other one leads", () => lead.epoch() === 2, 10_000);
  } finally {
    await lead.stop();
  }
  // Given back: nobody has to wait.
  expect(await takeLead(db, "rpl_third", LEAD_TTL_MS)).toBe(3);
});

it("whoever has lost the lead writes nothing", async () => {
  const { db } = database;
  await takeLead(db, "rpl_1", LEAD_TTL_MS);
  await leaveLead(db, "rpl_1");
  await takeLead(db, "rpl_2", LEAD_TTL_MS);
  const machine = { id: "flm_x", end: null } as unknown as Parameters<typeof updateMachine>[2];
  await expect(updateMachine(db, 1, machine, "ready")).rejects.toThrow(LeadLost);
});

describe("a write of the leader that is under way", () => {
  const wanted = toStored(
    wantedMachine(
      { id: "flm_w", name: "w", pool: "p", provider: "runpod", offer: null, pricePerHour: null },
      0,
    ),
    {},
  );
  const names = async (): Promise<readonly string[]> =>
    (await readLiving(database.db)).map(({ name }) => name);
  const writes: readonly (readonly [string, (tx: Transaction, epoch: number) => Promise<void>])[] =
    [
      ["a machine asked for", (tx, epoch) => insertMachine(tx, epoch, wanted)],
      ["the breaker", (tx, epoch) => writeBreaker(tx, epoch, { ...NEW_BREAKER, lookedAt: 0 })],
      [
        "a pool",
        (tx, epoch) =>
          writePool(tx, epoch, {
            name: "p",
            blockedUntil: null,
            blockKind: null,
            reason: null,
            failures: 0,
            decision: null,
          }),
      ],
      ["an agent's cordon", (tx, epoch) => assertLeads(tx, epoch)],
    ];

  it.each(writes)("is waited for by whoever takes over: %s", async (_, write) => {
    const { db } = database;
    await emptyTables(db, ["fleet_machines", "fleet_breaker", "fleet_pools"]);
    expect(await takeLead(db, "rpl_1", LEAD_TTL_MS)).toBe(1);
    const order: string[] = [];
    let taking: Promise<number | null> | undefined;
    await db.transaction(async (tx) => {
      await write(tx, 1);
      // Cut off from here on: its lead runs out, and the next one is there at once.
      await leaveLead(db, "rpl_1");
      taking = takeLead(db, "rpl_2", LEAD_TTL_MS).then((epoch) => {
        order.push("taken");
        return epoch;
      });
      await systemClock.sleep(200);
      order.push("written");
    });
    expect(await taking).toBe(2);
    expect(order).toEqual(["written", "taken"]);
    // And nothing more under the old epoch.
    await expect(db.transaction((tx) => write(tx, 1))).rejects.toThrow(LeadLost);
  });

  it("does not keep the leader from keeping its lead", async () => {
    const { db } = database;
    await takeLead(db, "rpl_1", LEAD_TTL_MS);
    await db.transaction(async (tx) => {
      await assertLeads(tx, 1);
      expect(await takeLead(db, "rpl_1", LEAD_TTL_MS)).toBe(1);
      expect(await takeLead(db, "rpl_2", LEAD_TTL_MS)).toBeNull();
    });
  });

  it("that comes after another has taken over, of a row that was read before, is not done", async () => {
    const { db } = database;
    await takeLead(db, "rpl_1", LEAD_TTL_MS);
    const late = db.transaction(async (tx) => {
      await readLiving(tx);
      await leaveLead(db, "rpl_1");
      expect(await takeLead(db, "rpl_2", LEAD_TTL_MS)).toBe(2);
      await insertMachine(tx, 1, { ...wanted, id: "flm_late", name: "late" });
    });
    await expect(late).rejects.toThrow(LeadLost);
    expect(await names()).not.toContain("late");
  });
});

it("does not believe in its lead for longer than it lasts, when the database does not answer", async () => {
  let now = 0;
  const lead = leadOf("rpl_1", { ...systemClock, elapsed: () => now });
  await lead.start();
  await until("it leads", () => lead.epoch() === 1, 5_000);
  now = LEAD_TTL_MS - 1_000;
  expect(lead.epoch()).toBeNull();
  await lead.stop();
});
