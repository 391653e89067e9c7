import { describe, expect, it } from "vitest";
import { answered, fakeApi, refused, type ApiCall } from "../../testing/fake-api.ts";
import { CLOSED, fleet, LEVER, machine, NOW, OPEN } from "../../testing/fleet-facts.ts";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import type { ApiAnswer } from "../api/api-client.ts";
import { EXIT } from "../exit-codes.ts";
import * as levers from "./run-levers.ts";

const ASKED = machine({ name: "hf-gpu-9", state: "asked", jobs: 0 });

function setUp(
  options: {
    readonly breaker?: typeof OPEN;
    readonly answers?: readonly (string | null)[];
    readonly answer?: (call: ApiCall) => ApiAnswer | undefined;
  } = {},
) {
  const terminal = recordingTerminal();
  const questions: string[] = [];
  const answers = [...(options.answers ?? [])];
  const api = fakeApi((call) => {
    const given = options.answer?.(call);
    if (given !== undefined) return given;
    if (call.path.endsWith("/spawn")) return answered({ machines: [ASKED] });
    if (call.path.includes("/levers")) return answered(LEVER);
    if (call.path.endsWith("/end")) return answered(machine());
    return answered(fleet({ breaker: options.breaker ?? OPEN }));
  });
  const deps: levers.LeverDeps = {
    api,
    terminal,
    now: () => NOW,
    ask: async (question) => {
      questions.push(question);
      return answers.shift() ?? null;
    },
  };
  const changes = () => api.calls.filter(({ method }) => method !== "GET");
  return { deps, terminal, questions, changes };
}

describe("setting a lever", () => {
  it("tells what was set, how to undo it, and what comes of it", async () => {
    const { deps, terminal, changes } = setUp();
    const reading = { kind: "ok", value: 0.9 } as const;
    await levers.setLever("threshold", reading, { reason: " the image is mended " }, deps);
    expect(changes()).toEqual([
      {
        method: "POST",
        path: "/api/v1/fleet/levers",
        json: { kind: "threshold", value: 0.9, reason: "the image is mended" },
      },
    ]);
    expect(terminal.lines[0]).toBe("set: threshold 90%. Undo it: holdfast fleet undo lev_1");
    expect(terminal.lines.join("\n")).toMatch(/Spawning +BLOCKED/);
  });

  it("without a reason asks for one where somebody watches", async () => {
    const { deps, questions, changes } = setUp({ answers: ["an outage"] });
    await levers.setLever("pause", { kind: "ok", value: true }, {}, deps);
    expect(questions).toEqual(["Why? (recorded) "]);
    expect(changes()[0]?.json).toMatchObject({ reason: "an outage" });
  });

  it.each([[null], [""]])("is refused without a reason (%j)", async (answer) => {
    const { deps, changes } = setUp({ answers: [answer] });
    const set = levers.setLever("pause", { kind: "ok", value: true }, {}, deps);
    await expect(set).rejects.toMatchObject({
      exitCode: EXIT.refused,
      message: expect.stringMatching(/^--reason: expected why, in words, found nothing/),
    });
    expect(changes()).toEqual([]);
  });

  it("tells a wrong value before it asks why", async () => {
    const { deps, questions } = setUp();
    const set = levers.setLever("window", { kind: "wrong", message: "window: no" }, {}, deps);
    await expect(set).rejects.toMatchObject({ exitCode: EXIT.refused, message: "window: no" });
    expect(questions).toEqual([]);
  });

  it("refuses a reason that is too long", async () => {
    const { deps } = setUp();
    const reason = "x".repeat(501);
    await expect(
      levers.setLever("pause", { kind: "ok", value: true }, { reason }, deps),
    ).rejects.toThrow("--reason: expected at most 500 characters, found 501");
  });

  it("undone, needs no reason", async () => {
    const { deps, terminal, changes } = setUp();
    await levers.undoLever("lev_1", {}, deps);
    expect(changes()).toEqual([
      { method: "DELETE", path: "/api/v1/fleet/levers/lev_1", json: undefined },
    ]);
    expect(terminal.lines[0]).toBe("undone: threshold 90%");
  });
});

describe("starting machines", () => {
  const reason = "a big batch";

  it("is one request while spawning is allowed, and nobody is asked", async () => {
    const { deps, terminal, questions, changes } = setUp({ breaker: CLOSED });
    await levers.spawn({ reason, pool: "gpu", count: 2 }, deps);
    expect(changes()).toEqual([
      {
        method: "POST",
        path: "/api/v1/fleet/spawn",
        json: { pool: "gpu", count: 2, force: false, reason },
      },
    ]);
    expect(questions).toEqual([]);
    expect(terminal.lines).toEqual(["hf-gpu-9 is asked for in pool gpu"]);
  });

  it("names its option where there are several pools and none was chosen", async () => {
    const pools = fleet().pools.flatMap((pool) => [pool, { ...pool, name: "here" }]);
    const answer = ({ path }: ApiCall) =>
      path === "/api/v1/fleet" ? answered(fleet({ breaker: CLOSED, pools })) : undefined;
    const { deps, changes } = setUp({ answer });
    await expect(levers.spawn({ reason: "more" }, deps)).rejects.toMatchObject({
      exitCode: EXIT.refused,
      message: "--pool: expected one of gpu, here, found none",
    });
    expect(changes()).toEqual([]);
    await levers.spawn({ reason: "more", pool: "here" }, deps);
    expect(changes()).toHaveLength(1);
  });

  it("while blocked and without force exits 2 and says what it risks", async () => {
    const { deps, changes } = setUp();
    const failure = await levers.spawn({ reason }, deps).catch((error: unknown) => error);
    expect(failure).toMatchObject({ exitCode: 2 });
    const { message } = failure as Error;
    expect(message).toContain("spawning is BLOCKED: failure rate 85.7%");
    expect(message).toContain("will probably fail as those before it did");
    expect(message).toContain("Spawning resumes at 2026-01-31T12:32:30.000Z");
    expect(message).toContain("--force");
    expect(changes()).toEqual([]);
  });

  it("with force asks whether that is meant, after it said what it risks", async () => {
    const { deps, terminal, questions, changes } = setUp({ answers: ["y"] });
    await levers.spawn({ reason, force: true }, deps);
    expect(terminal.notes.join("\n")).toContain("will probably fail as those before it did");
    expect(questions).toEqual(["Start it all the same? [y/N] "]);
    expect(changes()[0]?.json).toEqual({ count: 1, force: true, reason });
  });

  it.each(["", "n", "what"])("with force and the answer %j starts nothing", async (answer) => {
    const { deps, changes } = setUp({ answers: [answer] });
    await expect(levers.spawn({ reason, force: true }, deps)).rejects.toMatchObject({
      exitCode: EXIT.refused,
      message: "not confirmed: nothing was started",
    });
    expect(changes()).toEqual([]);
  });

  it("with force goes on where nobody watches, and unasked with --yes", async () => {
    const alone = setUp();
    await levers.spawn({ reason, force: true }, alone.deps);
    expect(alone.changes()).toHaveLength(1);
    const sure = setUp();
    await levers.spawn({ reason, force: true, yes: true }, sure.deps);
    expect(sure.questions).toEqual([]);
    expect(sure.changes()).toHaveLength(1);
  });

  it("with force asks half-open as well, and never while the rate is fine", async () => {
    const halfOpen = { ...CLOSED, state: "half-open" as const };
    const risky = setUp({ breaker: halfOpen, answers: ["n"] });
    await expect(levers.spawn({ reason, force: true }, risky.deps)).rejects.toThrow("confirmed");
    const fine = setUp({ breaker: CLOSED });
    await levers.spawn({ reason, force: true }, fine.deps);
    expect(fine.questions).toEqual([]);
  });

  it("of a paused fleet does not speak of failures", async () => {
    const paused = { ...CLOSED, spawning: "BLOCKED" as const, reason: "the fleet is paused" };
    const failure = levers.spawn({ reason }, setUp({ breaker: paused }).deps);
    await expect(failure).rejects.toThrow(/^spawning is BLOCKED: the fleet is paused\.\nTo start/);
  });

  it("exits 2 where the server has seen the breaker open meanwhile", async () => {
    const { deps } = setUp({
      breaker: CLOSED,
      answer: ({ method }) =>
        method === "POST" ? refused(409, "spawning_blocked", "too many fail") : undefined,
    });
    await expect(levers.spawn({ reason }, deps)).rejects.toMatchObject({
      exitCode: EXIT.refused,
      message: "spawning_blocked: too many fail",
    });
  });
});

describe("ending a machine", () => {
  it.each([
    [false, "hf-gpu-1 is to end (after its job)"],
    [true, "hf-gpu-1 is to end (its job goes back to the queue)"],
  ])("now: %s", async (now, words) => {
    const { deps, terminal, changes } = setUp();
    await levers.end("hf-gpu-1", { reason: "too dear", now }, deps);
    expect(changes()).toEqual([
      {
        method: "POST",
        path: "/api/v1/fleet/machines/hf-gpu-1/end",
        json: { reason: "too dear", now },
      },
    ]);
    expect(terminal.lines).toEqual([words]);
  });

  it("as JSON is the machine", async () => {
    const { deps, terminal } = setUp();
    await levers.end("hf-gpu-1", { reason: "too dear", json: true }, deps);
    expect(JSON.parse(terminal.lines[0] ?? "")).toMatchObject({ name: "hf-gpu-1" });
  });
});
