import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../../test/support/test-database.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { deleteOldEnrolments } from "./enrolment-store.ts";
import {
  createEnrolment,
  createEnrolmentService,
  listEnrolments,
  revokeEnrolment,
  type EnrolmentService,
} from "./enrolment-service.ts";
import { ALLOWED, assertActsAs, type Caller, type RegisteredMachine } from "./model.ts";
import {
  bindToMachine,
  createAccess,
  createKey,
  listKeys,
  machineToRegister,
  revokeKey,
} from "./service.ts";

let database: TestDatabase;
let clock: FakeClock;
let enrolments: EnrolmentService;
const ids = createIdSource(systemClock, seededRandom(1));
const told: string[] = [];
const NONCE = "n".repeat(32);

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await emptyTables(database.db, ["api_keys", "enrolments", "events"]);
  await createKey(database.db, ids, { name: "admin", role: "admin" });
  clock = createFakeClock(systemClock.now());
  told.length = 0;
  enrolments = createEnrolmentService({
    db: database.db,
    clock,
    ids,
    log: SILENT_LOG,
    onEvents: (types) => void told.push(...types),
  });
});

const token = (more: { machineName?: string; ttlSeconds?: number } = {}) =>
  createEnrolment(database.db, ids, { name: "boxes", createdBy: "key_admin", ...more });
const enroll = (text: string, nonce = NONCE, machineName = "box") =>
  enrolments.enroll({ token: text, machineName, nonce }, "10.0.0.1");
const identify = (key: string): Promise<Caller> =>
  createAccess({ db: database.db, clock: systemClock, log: SILENT_LOG }).identify(
    { method: "POST", headers: { host: "h", authorization: `Bearer ${key}` } },
    ALLOWED.serve,
  );
const fresh = (id: string) => ({ id, isNew: true, nameBefore: null });
const there = (id: string, nameBefore = "box"): RegisteredMachine => ({
  id,
  isNew: false,
  nameBefore,
});
const expireAll = () =>
  database.db.query("update enrolments set expires_at = now() - interval '1 second'");

test("a token gives a machine a key of its own, once; nothing of either is stored", async () => {
  const { text, enrolment } = await token();
  const made = await enroll(text);
  expect(await identify(made.key)).toMatchObject({ id: made.keyId, role: "agent", boundTo: null });
  await expect(enroll(text, "x".repeat(32))).rejects.toMatchObject({ code: "enrolment_used" });
  const { rows } = await database.db.query<{ row: string }>(
    "select e::text as row from enrolments e union all select k::text from api_keys k",
  );
  for (const secret of [text.slice(-43), made.key.slice(-43), NONCE]) {
    expect(JSON.stringify(rows)).not.toContain(secret);
  }
  const { items } = await listEnrolments(database.db, { cursor: null, limit: 10 });
  expect(items).toMatchObject([{ id: enrolment.id, usedByName: "box", keyId: made.keyId }]);
  expect(Object.keys(items[0] ?? {})).not.toContain("secretHash");
});

test("an answer that got lost is given again, also when two calls run at the same time", async () => {
  const { text } = await token();
  const [first, second] = await Promise.all([enroll(text), enroll(text)]);
  expect(second).toEqual(first);
  expect(await enroll(text)).toEqual(first);
  await database.db.query("update enrolments set used_at = now() - interval '1 hour'");
  await expect(enroll(text)).rejects.toMatchObject({ code: "enrolment_used" });
  // One key, told once.
  const keys = (await listKeys(database.db, { cursor: null, limit: 10 })).items;
  expect(keys.filter(({ role }) => role === "agent")).toHaveLength(1);
  const { rows } = await database.db.query("select payload from events");
  expect(rows).toMatchObject([{ payload: { machineName: "box", name: "boxes" } }]);
  expect(told).toEqual(["machine.enrolled"]);
});

test("a token that is over, revoked, for another name, or unknown is refused, each in its words", async () => {
  const named = await token({ machineName: "other" });
  await expect(enroll(named.text)).rejects.toMatchObject({ code: "forbidden" });
  const { text, enrolment } = await token();
  await revokeEnrolment(database.db, enrolment.id);
  await expect(enroll(text)).rejects.toMatchObject({ code: "enrolment_expired" });
  const late = await token();
  await expireAll();
  await expect(enroll(late.text)).rejects.toMatchObject({ code: "enrolment_expired" });
  const wrong = `${late.text.slice(0, -1)}${late.text.endsWith("A") ? "B" : "A"}`;
  await expect(enroll(wrong)).rejects.toMatchObject({ code: "unauthorized" });
  const nobodys = `hfe_${"0".repeat(26)}_${"a".repeat(43)}`;
  await expect(enroll(nobodys)).rejects.toMatchObject({ code: "unauthorized" });
  await expect(revokeEnrolment(database.db, `enr_${"0".repeat(26)}`)).rejects.toMatchObject({
    code: "not_found",
  });
});

test("guessing is limited for each address", async () => {
  const nobodys = `hfe_${"0".repeat(26)}_${"a".repeat(43)}`;
  const refusals = [];
  for (let n = 0; n < 30; n += 1) {
    refusals.push(
      await enroll(nobodys).then(
        () => "taken",
        (error: { code: string }) => error.code,
      ),
    );
  }
  expect(refusals.filter((code) => code === "unauthorized")).toHaveLength(20);
  expect(refusals.at(-1)).toBe("rate_limited");
  await expect(
    enrolments.enroll({ token: nobodys, machineName: "box", nonce: NONCE }, "10.0.0.2"),
  ).rejects.toMatchObject({ code: "unauthorized" });
});

test("one address uses up its own limit and not everybody's", async () => {
  const nobodys = `hfe_${"0".repeat(26)}_${"a".repeat(43)}`;
  const knock = (peer: string) =>
    enrolments.enroll({ token: nobodys, machineName: "box", nonce: NONCE }, peer);
  // Enough for the limit of all, and for its growth meanwhile.
  for (let n = 0; n < 400; n += 1) await expect(knock("10.0.0.1")).rejects.toThrow();
  await expect(knock("10.0.0.2")).rejects.toMatchObject({ code: "unauthorized" });
});

test("without a key to administer with there is no token: its key would close the door", async () => {
  await emptyTables(database.db, ["api_keys"]);
  await expect(token()).rejects.toMatchObject({ code: "admin_key_missing" });
  const { key } = await createKey(database.db, ids, { name: "a", role: "admin" });
  await revokeKey(database.db, key.id);
  await expect(token()).rejects.toMatchObject({ code: "admin_key_missing" });
});

test("a machine's key acts as the first machine it registers, and as no other", async () => {
  const { key } = await enroll((await token()).text);
  const caller = await identify(key);
  expect(machineToRegister(caller, null)).toBeNull();
  expect(() => assertActsAs(caller, "mch_a")).toThrow(/register first/);
  await database.db.transaction((tx) => bindToMachine(tx, caller, fresh("mch_a")));
  const bound = await identify(key);
  expect(bound.boundTo).toBe("mch_a");
  // Its folder is gone, or the answer was lost: it is the same machine.
  expect(machineToRegister(bound, null)).toBe("mch_a");
  expect(machineToRegister(bound, "mch_a")).toBe("mch_a");
  expect(() => machineToRegister(bound, "mch_b")).toThrow(/mch_a alone/);
  expect(() => assertActsAs(bound, "mch_b")).toThrow(/mch_a alone/);
  expect(() => assertActsAs(bound, "mch_a")).not.toThrow();
  await expect(
    database.db.transaction((tx) => bindToMachine(tx, bound, fresh("mch_b"))),
  ).rejects.toMatchObject({ code: "forbidden" });
});

test("a machine that has a key is taken over with none, and after that by its own nonce alone", async () => {
  const other = "o".repeat(32);
  const first = await identify((await enroll((await token()).text)).key);
  const again = await identify((await enroll((await token()).text)).key);
  const thief = await identify((await enroll((await token()).text, other)).key);
  const bind = (caller: Caller, machine = there("mch_a")) =>
    database.db.transaction((tx) => bindToMachine(tx, caller, machine));
  await bind(first, fresh("mch_a"));
  // The same key again: a restart.
  await bind(first);
  await expect(bind(again)).rejects.toMatchObject({ code: "forbidden" });
  await expect(bind(thief)).rejects.toMatchObject({ code: "forbidden" });
  await revokeKey(database.db, first.id);
  await expect(bind(thief)).rejects.toMatchObject({ code: "forbidden" });
  await bind(again);
});

test("a machine that came in without a token is nobody's to take with one", async () => {
  const caller = await identify((await enroll((await token()).text)).key);
  await expect(
    database.db.transaction((tx) => bindToMachine(tx, caller, there("mch_old"))),
  ).rejects.toThrow(/mch_old is known here/);
  await database.db.transaction((tx) => bindToMachine(tx, caller, fresh("mch_new")));
});

test("a machine whose nonce is gone is taken over by a token made for its name, once its key is not valid", async () => {
  const bind = (caller: Caller, machine = there("mch_a")) =>
    database.db.transaction((tx) => bindToMachine(tx, caller, machine));
  const first = await identify((await enroll((await token()).text)).key);
  await bind(first, fresh("mch_a"));
  const other = "o".repeat(32);
  const made = await token({ machineName: "box" });
  const again = await identify((await enroll(made.text, other)).key);
  const unnamed = await identify((await enroll((await token()).text, "p".repeat(32))).key);
  await expect(bind(again)).rejects.toMatchObject({ code: "forbidden" });
  await revokeKey(database.db, first.id);
  await expect(bind(unnamed)).rejects.toThrow(
    'holdfast keys enroll --name "box" --machine-name "box"',
  );
  // What the machine was called before counts, not what its registration calls it.
  await expect(bind(again, there("mch_a", "another"))).rejects.toThrow(/is known here/);
  await expect(bind(again, there("mch_shared"))).rejects.toThrow(/is known here/);
  await bind(again);
});

test("a key that is bound elsewhere is known as such at once, however lately it was looked up", async () => {
  const { key } = await enroll((await token()).text);
  const access = createAccess({ db: database.db, clock, log: SILENT_LOG });
  const headers = { host: "h", authorization: `Bearer ${key}` };
  const ask = () => access.identify({ method: "POST", headers }, ALLOWED.serve);
  const caller = await ask();
  await database.db.transaction((tx) => bindToMachine(tx, caller, fresh("mch_a")));
  expect((await ask()).boundTo).toBe("mch_a");
});

test("an older kind of agent key acts as any machine", async () => {
  const { text } = await createKey(database.db, ids, { name: "fleet", role: "agent" });
  const caller = await identify(text);
  expect(caller.boundTo).toBeUndefined();
  expect(machineToRegister(caller, "mch_x")).toBe("mch_x");
  expect(() => assertActsAs(caller, "mch_y")).not.toThrow();
  await database.db.transaction((tx) => bindToMachine(tx, caller, fresh("mch_x")));
});

test("tokens that were over long ago are forgotten, their keys are not", async () => {
  const { key } = await enroll((await token()).text);
  await token();
  await database.db.query(
    "update enrolments set expires_at = now() - interval '40 days' where used_at is not null",
  );
  // By its nonce a machine that is there gets its next key.
  const caller = await identify(key);
  await database.db.query(
    "insert into machines (id, name, boot_id, session, state, agent_version) values ('mch_a', 'a', 'b', 1, 'online', '1')",
  );
  await database.db.transaction((tx) => bindToMachine(tx, caller, fresh("mch_a")));
  expect(await deleteOldEnrolments(database.db, 30 * 86_400_000, 10)).toBe(0);
  await database.db.query("delete from machines");
  expect(await deleteOldEnrolments(database.db, 30 * 86_400_000, 10)).toBe(1);
  expect((await listEnrolments(database.db, { cursor: null, limit: 10 })).items).toHaveLength(1);
  expect((await identify(key)).role).toBe("agent");
});

test("the token of a key is found by an index, however many there are", async () => {
  await database.db.transaction(async (tx) => {
    // The table is small here: only whether there is such a way is asked.
    await tx.query("set local enable_seqscan = off");
    const { rows } = await tx.query("explain select from enrolments where key_id = 'key_a'");
    expect(JSON.stringify(rows)).toContain("enrolments_by_key");
  });
});
