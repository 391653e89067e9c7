import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { until } from "../../../../test/support/processes.ts";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { createLead, LEAD_TTL_MS, type Lead } from "./lead-service.ts";
import { leaveLead, readLead, takeLead } from "./lead-store.ts";
import { LeadLost } from "./model.ts";
import { updateMachine } from "./store.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ max: 4 });
});
afterAll(() => database?.drop());
beforeEach(() => database.db.query("truncate fleet_leader"));

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

it("does not believe in its lead for longer than it lasts, when the database does not answer", async () => {
  let now = 0;
  const lead = leadOf("rpl_1", { ...systemClock, elapsed: () => now });
  await lead.start();
  await until("it leads", () => lead.epoch() === 1, 5_000);
  now = LEAD_TTL_MS - 1_000;
  expect(lead.epoch()).toBeNull();
  await lead.stop();
});
