import type { InstanceReport } from "@holdfast/contract";
import { expect, test } from "vitest";
import { createMachineViews, VIEW_MAX_AGE_MS, type SeenPoll } from "./machine-views.ts";

const report: InstanceReport = {
  instanceId: "ins_1",
  state: "healthy",
  reason: null,
  inventoryDigest: "a".repeat(64),
  wants: 1,
  vramFreeBytes: null,
} as InstanceReport;
const known = {
  instanceId: "ins_1",
  state: "starting",
  reason: "asked",
  inventoryDigest: null,
  cordoned: false,
};
const agent = { machineId: "mch_1", session: 3 };
const poll = (...held: string[]): SeenPoll => ({
  ...agent,
  sequence: 8,
  instances: [report],
  held: held.map((attemptId) => ({ attemptId }) as SeenPoll["held"][number]),
});
const lease = (attemptId: string) => ({
  jobId: "job_1",
  attemptId,
  instanceId: "ins_1",
  leaseEpoch: 1,
});

function setUp(...attempts: string[]) {
  const ended = new Set<string>();
  const views = createMachineViews((attemptId) => ended.has(attemptId));
  views.noteBeat(
    { ...poll(), sequence: 7 },
    { session: 3, leases: attempts.map(lease), instances: [known] },
    [report],
    { now: 100, version: views.version() },
  );
  return { views, ended };
}

test("a poll that agrees with the last heartbeat needs none, for a second", () => {
  const { views } = setUp("att_1");
  expect(views.find(poll("att_1"), 100 + VIEW_MAX_AGE_MS - 1)).toEqual({
    instances: [
      { ...known, state: "healthy", reason: null, inventoryDigest: report.inventoryDigest },
    ],
    placed: [{ attemptId: "att_1", instanceId: "ins_1" }],
    isInDoubt: false,
  });
  expect(views.find(poll("att_1"), 100 + VIEW_MAX_AGE_MS)).toBeUndefined();
});

test("what was granted while a heartbeat was under way is not lost from the view", () => {
  const { views } = setUp("att_1");
  const at = { now: 200, version: views.version() };
  views.noteGranted("mch_1", [lease("att_2")], 210);
  const found = { session: 3, leases: [lease("att_1")], instances: [known] };
  views.noteBeat({ ...poll(), sequence: 7 }, found, [report], at);
  expect(views.find(poll("att_1", "att_2"), 220)).toMatchObject({ isInDoubt: false });
  expect(views.find(poll("att_1"), 220)).toMatchObject({ isInDoubt: true });
});

test("but what was granted before it and is gone by then is not believed any more", () => {
  const { views } = setUp("att_1");
  views.noteGranted("mch_1", [lease("att_2")], 190);
  const found = { session: 3, leases: [lease("att_1")], instances: [known] };
  const at = { now: 200, version: views.version() };
  views.noteBeat({ ...poll(), sequence: 7 }, found, [report], at);
  expect(views.find(poll("att_1", "att_2"), 220)).toBeUndefined();
});

test("an answer counts as on its way for a second after its grant, heartbeats between or not", () => {
  const { views } = setUp("att_1");
  expect(views.isOnItsWay("mch_1", "att_1", 101)).toBe(false);
  views.noteGranted("mch_1", [lease("att_2")], 190);
  const found = { session: 3, leases: [lease("att_1"), lease("att_2")], instances: [known] };
  const at = { now: 200, version: views.version() };
  views.noteBeat({ ...poll(), sequence: 7 }, found, [report], at);
  expect(views.isOnItsWay("mch_1", "att_2", 190 + VIEW_MAX_AGE_MS - 1)).toBe(true);
  expect(views.isOnItsWay("mch_1", "att_2", 190 + VIEW_MAX_AGE_MS)).toBe(false);
  expect(views.isOnItsWay("mch_2", "att_2", 191)).toBe(false);
});

test("whatever differs asks for a heartbeat", () => {
  const { views } = setUp("att_1");
  expect(views.find(poll(), 101)).toBeUndefined(); // It lost the answer that granted it.
  expect(views.find(poll("att_1", "att_2"), 101)).toBeUndefined(); // It holds what it should not.
  expect(views.find({ ...poll("att_1"), session: 4 }, 101)).toBeUndefined();
  expect(views.find({ ...poll("att_1"), machineId: "mch_2" }, 101)).toBeUndefined();
  const unwell = { ...report, state: "unhealthy" } as InstanceReport;
  expect(views.find({ ...poll("att_1"), instances: [unwell] }, 101)).toBeUndefined();
  const unseen = { ...report, instanceId: "ins_2" } as InstanceReport;
  expect(views.find({ ...poll("att_1"), instances: [report, unseen] }, 101)).toBeUndefined();
  expect(views.find(poll("att_1"), 101)).toBeDefined();
  views.forget("mch_1");
  expect(views.find(poll("att_1"), 101)).toBeUndefined();
});

test("a poll that another replica answered in between asks for a heartbeat", () => {
  const { views } = setUp("att_1");
  expect(views.find(poll("att_1"), 101)).toBeDefined();
  expect(views.find({ ...poll("att_1"), sequence: 9 }, 101)).toBeDefined();
  expect(views.find({ ...poll("att_1"), sequence: 8 }, 101)).toBeDefined(); // Overtaken on its way.
  expect(views.find({ ...poll("att_1"), sequence: 11 }, 101)).toBeUndefined();
  expect(views.find({ ...poll("att_1"), sequence: 12 }, 101)).toBeUndefined();
});

test("grants and recorded ends keep a view right without a heartbeat", () => {
  const { views, ended } = setUp("att_1");
  views.noteGranted("mch_1", [lease("att_2")], 200);
  expect(views.find(poll("att_1", "att_2"), 201)?.isInDoubt).toBe(false);
  ended.add("att_1");
  expect(views.find(poll("att_2"), 101)).toBeDefined();
  expect(views.find(poll("att_1", "att_2"), 101)).toBeDefined(); // Sent before its report was answered.
  views.noteGranted("mch_9", [lease("att_3")], 201); // Unknown machines are none of its business.
  expect(views.find({ ...poll("att_3"), machineId: "mch_9" }, 101)).toBeUndefined();
});

test("a grant whose answer may be on its way makes doubt, and then asks for a heartbeat", () => {
  const { views } = setUp();
  views.noteGranted("mch_1", [lease("att_2")], 99);
  expect(views.find(poll(), 101)?.isInDoubt).toBe(true);
  expect(views.find(poll(), 99 + VIEW_MAX_AGE_MS)).toBeUndefined();
});

test("a heartbeat that was under way when something changed is not believed", () => {
  const { views } = setUp("att_1");
  const version = views.version();
  views.forget("mch_1"); // A cancel, say: the heartbeat may have read before it.
  const found = { session: 3, leases: [lease("att_1")], instances: [known] };
  views.noteBeat({ ...poll(), sequence: 8 }, found, [report], { now: 200, version });
  expect(views.find(poll("att_1"), 201)).toBeUndefined();
});

test("what a heartbeat found of an instance stays as it is when nothing was reported with it", () => {
  const { views } = setUp();
  const found = { session: 3, leases: [], instances: [known] };
  views.noteBeat({ ...poll(), sequence: 8 }, found, [], { now: 200, version: views.version() });
  expect(views.find(poll(), 201)).toBeUndefined(); // "starting" there, "healthy" here.
});
