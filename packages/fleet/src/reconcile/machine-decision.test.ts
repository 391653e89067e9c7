import { describe, expect, it } from "vitest";
import type { ProvidedMachine } from "../provider/model.ts";
import { decideMachine, type MachineFacts } from "./machine-decision.ts";
import {
  DEFAULT_FLEET_POLICY,
  NO_SIGNS,
  toListing,
  type FleetMachine,
  type FleetPolicy,
  type MachineSigns,
  type PoolPolicy,
} from "./model.ts";
import { wantedMachine } from "./transitions.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const NOW = 100 * MINUTE;
const POOL: PoolPolicy = {
  name: "gpu",
  provider: "runpod",
  min: 0,
  max: 4,
  instancesPerMachine: 1,
  pricePerHour: 1,
  startTimeoutMs: 30 * MINUTE,
  progressTimeoutMs: 10 * MINUTE,
  offerCount: 2,
};
const POLICY: FleetPolicy = { ...DEFAULT_FLEET_POLICY, pools: [POOL] };
const ASKED = wantedMachine(
  { id: "m1", name: "hf-1", pool: "gpu", provider: "runpod", offer: null, pricePerHour: 1 },
  NOW - MINUTE,
);
const STARTING: FleetMachine = {
  ...ASKED,
  state: "starting",
  ref: "ref-1",
  createdAt: NOW - 5 * MINUTE,
};
const READY: FleetMachine = { ...STARTING, state: "ready", healthyAt: NOW - 3 * MINUTE };
const WELL: MachineSigns = { ...NO_SIGNS, heartbeatAt: NOW - SECOND, isHealthy: true };
const provided = (more: Partial<ProvidedMachine> = {}): ProvidedMachine => ({
  ref: "ref-1",
  name: "hf-1",
  state: "running",
  reason: null,
  offer: null,
  pricePerHour: null,
  address: null,
  createdAt: null,
  ...more,
});
const decide = (
  machine: FleetMachine,
  signs: Partial<MachineSigns> = {},
  more: Partial<MachineFacts> = {},
) => {
  const listing = toListing(NOW, [provided()]);
  const seen = { ...NO_SIGNS, ...signs };
  const facts = { machine, signs: seen, listing, pool: POOL, now: NOW };
  const word = { listeningSince: 0, wantedEnd: null };
  return decideMachine({ ...facts, ...word, ...more }, POLICY);
};
const EMPTY = { listing: toListing(NOW, []) };

describe("a machine that is asked for", () => {
  it.each<[string, Partial<FleetMachine>, Partial<MachineFacts>, object]>([
    ["is asked for at once", {}, EMPTY, { kind: "ask" }],
    ["also before its provider has listed anything", {}, { listing: null }, { kind: "ask" }],
    ["is written down when it is listed", { unsureUntil: NOW }, {}, { kind: "adopt" }],
    [
      "is not asked for again while it may be made",
      { askedCount: 1, unsureUntil: NOW + 1 },
      EMPTY,
      { kind: "nothing" },
    ],
    [
      "nor before a list that would show it",
      { askedCount: 1, unsureUntil: NOW - 1 },
      { listing: toListing(NOW - 2, []) },
      { kind: "nothing" },
    ],
    ["is asked for again after that", { askedCount: 1, unsureUntil: NOW }, EMPTY, { kind: "ask" }],
    ["waits as it was told to", { nextAskAt: NOW + 1 }, EMPTY, { kind: "nothing" }],
    [
      "is its provider's failure after some times",
      { askedCount: 3 },
      EMPTY,
      { kind: "fail", failure: "provider_error" },
    ],
    ["ends when there is no other offer", { offerIndex: 2 }, EMPTY, { kind: "end" }],
    ["ends without its pool", {}, { ...EMPTY, pool: null }, { kind: "end" }],
  ])("%s", (_, machine, facts, action) => {
    expect(decide({ ...ASKED, ...machine }, {}, facts)).toMatchObject(action);
  });
});

describe("a machine that may have been made for a pool that is not in the settings any more", () => {
  const asked: FleetMachine = { ...ASKED, askedCount: 1, unsureUntil: NOW - MINUTE };
  const gone = { listing: null, pool: null };
  const late = { ...gone, now: NOW + 14 * MINUTE };

  it("is waited for, for the pool may come back, and says until when", () => {
    const until = new Date(NOW + 14 * MINUTE).toISOString();
    expect(decide(asked, {}, gone)).toEqual({
      kind: "nothing",
      reason: `its pool is not in the settings any more, so that nobody can say whether it was made: put the pool back, or it is given up at ${until}`,
    });
    expect(decide(asked, {}, { pool: null })).toMatchObject({ kind: "adopt" });
  });

  it("is given up after a quarter of an hour, with what a person should look for", () => {
    expect(decide(asked, {}, { ...late, now: late.now - 1 })).toMatchObject({ kind: "nothing" });
    expect(decide(asked, {}, late)).toEqual({
      kind: "end",
      reason:
        "its pool is not in the settings any more, and it was never known whether it was made: look for hf-1 at its provider (runpod), and end it there",
      isGivenUp: true,
    });
  });

  it("is there as long as its agent is heard", () => {
    const heard = { heartbeatAt: late.now - SECOND };
    expect(decide(asked, heard, late)).toEqual({
      kind: "nothing",
      reason: "its pool is not in the settings any more, so it cannot be ended here",
    });
  });

  it("and was ended is not waited for without end either", () => {
    const end = { at: NOW, cause: "intended", kind: null, reason: "" } as const;
    const ending: FleetMachine = { ...asked, state: "ending", end };
    expect(decide(ending, {}, gone)).toMatchObject({ kind: "nothing" });
    expect(decide(ending, { heartbeatAt: late.now }, late)).toMatchObject({ kind: "nothing" });
    expect(decide(ending, {}, late)).toEqual({ kind: "forget" });
    // Listed after all: it is ended.
    const listed = { ...late, pool: POOL, listing: toListing(late.now, [provided()]) };
    expect(decide(ending, {}, listed)).toEqual({ kind: "terminate" });
  });
});

describe("a machine that starts", () => {
  it.each<[string, Partial<MachineSigns>, Partial<MachineFacts>, object]>([
    ["is waited for", {}, {}, { kind: "nothing" }],
    ["is ready when an instance is healthy", WELL, {}, { kind: "become_ready" }],
    [
      "has crashed when its provider says so",
      {},
      { listing: toListing(NOW, [provided({ state: "ended", reason: "exit 1" })]) },
      { kind: "fail", failure: "crash", reason: "its provider says that it ended: exit 1" },
    ],
    ["or does not list it any more", {}, EMPTY, { kind: "fail", failure: "crash" }],
    [
      "but not by a list from before it",
      {},
      { listing: toListing(NOW - 5 * MINUTE, []) },
      { kind: "nothing" },
    ],
    [
      "is borne with a fault for a while",
      { fault: { reason: "card lost", since: NOW - 59 * SECOND } },
      {},
      { kind: "nothing" },
    ],
    [
      "then not",
      { fault: { reason: "card lost", since: NOW - MINUTE } },
      {},
      { kind: "fail", failure: "fault_report", reason: "card lost" },
    ],
    ["is left alone without its pool", {}, { pool: null }, { kind: "nothing" }],
    [
      "lives when its agent is heard, whatever is listed",
      { heartbeatAt: NOW - SECOND },
      EMPTY,
      { kind: "nothing" },
    ],
    [
      "is not to blame for having been turned away",
      {},
      { listing: toListing(NOW, [provided({ state: "ended", isUnplaced: true })]) },
      { kind: "end", isUnplaced: true },
    ],
    [
      "is not late while nobody could hear it",
      {},
      { now: NOW + 60 * MINUTE, listeningSince: NOW + 55 * MINUTE },
      { kind: "nothing" },
    ],
    [
      "is not to blame for having no place",
      {},
      { listing: toListing(NOW, [provided({ isUnplaced: true })]), now: NOW + 20 * MINUTE },
      { kind: "end" },
    ],
    ["has not started in time", {}, { now: NOW + 25 * MINUTE }, { failure: "no_start" }],
    [
      "stands still without steps",
      {},
      { now: NOW + 5 * MINUTE },
      {
        failure: "no_start",
        reason: "its agent has never registered: no sign of progress for 600 s",
      },
    ],
    [
      "and does not with them",
      { progressAt: NOW, heartbeatAt: NOW },
      { now: NOW + 9 * MINUTE },
      { kind: "nothing" },
    ],
  ])("%s", (_, signs, facts, action) => {
    expect(decide(STARTING, signs, facts)).toMatchObject(action);
  });
});

describe("a machine that serves", () => {
  it.each<[string, Partial<MachineSigns>, object]>([
    ["is left alone", WELL, { kind: "nothing" }],
    [
      "has failed without a heartbeat",
      { heartbeatAt: NOW - 5 * MINUTE },
      { kind: "fail", failure: "no_heartbeat" },
    ],
    [
      "has failed when its health server is silent and no instance works",
      { ...WELL, isHealthy: false, silence: { reason: "hangs", since: NOW - MINUTE } },
      { failure: "no_heartbeat", reason: "hangs" },
    ],
    [
      "and not while one does",
      { ...WELL, silence: { reason: "hangs", since: NOW - MINUTE } },
      { kind: "nothing" },
    ],
    [
      "has failed by its own report",
      { ...WELL, isHealthy: false, fault: { reason: "card lost", since: NOW - MINUTE } },
      { failure: "fault_report" },
    ],
    [
      "is borne without an instance that works",
      { ...WELL, isHealthy: false, unwellSince: NOW - 9 * MINUTE },
      { kind: "nothing" },
    ],
    [
      "and not for ever, whatever the reason",
      { ...WELL, isHealthy: false, unwellSince: NOW - 10 * MINUTE },
      { failure: "fault_report", reason: "no instance of it works since 600 s" },
    ],
    [
      "has crashed when its agent went and nobody had asked",
      { heartbeatAt: NOW - 31 * SECOND, hasSignedOff: true },
      { failure: "crash" },
    ],
  ])("%s", (_, signs, action) => {
    expect(decide(READY, signs)).toMatchObject(action);
  });

  it("is not silent while nobody could hear it: the control plane was away", () => {
    const silent = { heartbeatAt: NOW - 60 * MINUTE };
    const listening = { listeningSince: NOW - MINUTE };
    expect(decide(READY, silent, listening)).toMatchObject({ kind: "nothing" });
    const given = { ...READY, provider: "static" as const, ref: null };
    expect(decide(given, silent, listening)).toMatchObject({ kind: "nothing" });
  });

  it("of somebody else ends by its sign-off, and fails by silence alone", () => {
    const given = { ...READY, provider: "static" as const, ref: null };
    expect(decide(given, { ...WELL, hasSignedOff: true })).toMatchObject({ kind: "end" });
    expect(decide(given, WELL, EMPTY)).toMatchObject({ kind: "nothing" });
    expect(decide(given, { heartbeatAt: null })).toMatchObject({ failure: "no_heartbeat" });
    const over = { ...given, state: "ending" as const };
    expect(decide(over)).toEqual({ kind: "forget" });
  });
});

describe("a machine that is not needed", () => {
  const draining: FleetMachine = { ...READY, state: "draining", drainingSince: NOW - MINUTE };

  it("ends when its jobs are done, or in vain waited for", () => {
    expect(decide(draining, { ...WELL, jobCount: 1 })).toMatchObject({ kind: "nothing" });
    expect(decide(draining, WELL)).toMatchObject({ kind: "end" });
    const late = { ...draining, drainingSince: NOW - 30 * MINUTE };
    expect(decide(late, { ...WELL, jobCount: 1 })).toMatchObject({ kind: "end" });
    const silent = { heartbeatAt: NOW - 5 * MINUTE, jobCount: 1 };
    expect(decide(draining, silent)).toMatchObject({ kind: "end" });
    const gone = { listing: toListing(NOW, [provided({ state: "ended" })]) };
    expect(decide(draining, { ...WELL, jobCount: 1 }, gone)).toMatchObject({ kind: "end" });
  });

  it("keeps a person's reason to the end, and says beside it what became of the jobs", () => {
    const more = { wantedEnd: "key_ann wanted it ended: too slow" };
    expect(decide(draining, WELL, more)).toEqual({ kind: "end", reason: more.wantedEnd });
    const late = { ...draining, drainingSince: NOW - 30 * MINUTE };
    expect(decide(late, { ...WELL, jobCount: 1 }, more)).toEqual({
      kind: "end",
      reason: "key_ann wanted it ended: too slow; its job was not done within 1800 s",
    });
    const silent = { heartbeatAt: NOW - 5 * MINUTE, jobCount: 1 };
    expect(decide(draining, silent, more)).toMatchObject({
      reason: expect.stringMatching(/^key_ann wanted it ended: too slow; .*nothing was heard/),
    });
    const gone = { ...more, listing: toListing(NOW, [provided({ state: "ended" })]) };
    expect(decide(draining, WELL, gone)).toMatchObject({
      reason: "key_ann wanted it ended: too slow; it has ended",
    });
  });
});

describe("a machine that is to be gone", () => {
  const end = { at: NOW, cause: "intended", kind: null, reason: "" } as const;
  const ending: FleetMachine = { ...READY, state: "ending", end };

  it.each<[string, Partial<FleetMachine>, Partial<MachineFacts>, string]>([
    ["is told to end", {}, {}, "terminate"],
    ["once, for a while", { terminatedAt: NOW - SECOND }, {}, "nothing"],
    ["and again", { terminatedAt: NOW - 30 * SECOND }, {}, "terminate"],
    [
      "also when it has ended by itself: it may be paid for still",
      {},
      { listing: toListing(NOW, [provided({ state: "ended" })]) },
      "terminate",
    ],
    [
      "is forgotten after that",
      { terminatedAt: NOW - SECOND },
      { listing: toListing(NOW, [provided({ state: "ended" })]) },
      "forget",
    ],
    ["is told to end also when it is not listed", {}, EMPTY, "terminate"],
    ["later, when that could not be done", { nextAskAt: NOW + 1 }, EMPTY, "nothing"],
    [
      "is forgotten when it was told, and is not in a list from after that",
      { terminatedAt: NOW - SECOND },
      EMPTY,
      "forget",
    ],
    [
      "and not by a list from before it",
      { terminatedAt: NOW },
      { listing: toListing(NOW - 1, []) },
      "nothing",
    ],
    [
      "is forgotten at once when it was never made",
      { ref: null, createdAt: null },
      EMPTY,
      "forget",
    ],
    [
      "is not forgotten while it may be made still",
      { ref: null, createdAt: null, unsureUntil: NOW + 1 },
      EMPTY,
      "nothing",
    ],
    ["is ended without a list to go by", {}, { listing: null }, "terminate"],
    ["is ended when it comes after all", { state: "ended" }, {}, "terminate"],
    ["has ended", { state: "ended" }, EMPTY, "nothing"],
  ])("%s", (_, machine, facts, kind) => {
    expect(decide({ ...ending, ...machine }, {}, facts).kind).toBe(kind);
  });
});
