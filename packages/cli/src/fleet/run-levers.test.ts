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
    clock: { sleep: async () => undefined },
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

  it.each<[string, levers.LeverOptions, string | null]>([
    ["said", { reason: " all is well " }, null],
    ["asked for", {}, "all is well"],
  ])("undone, keeps a reason that is %s", async (_, options, answer) => {
    const { deps, changes } = setUp({ answers: [answer] });
    await levers.undoLever("lev_1", options, deps);
    expect(changes()[0]?.path).toBe("/api/v1/fleet/levers/lev_1?reason=all+is+well");
  });

  it("undone with a reason that is too long is refused", async () => {
    const { deps, changes } = setUp();
    const undo = levers.undoLever("lev_1", { reason: "x".repeat(501) }, deps);
    await expect(undo).rejects.toThrow("--reason: expected at most 500 characters, found 501");
    expect(changes()).toEqual([]);
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

describe("starting machines over the budget", () => {
  const reason = "a big batch";
  const OVER = "the budget of 5 $/h has room for 0 more of gpu. Say force, and why";
  const overBudget = (answers: readonly (string | null)[] = []) =>
    setUp({
      breaker: CLOSED,
      answers,
      answer: ({ path, json }) =>
        path.endsWith("/spawn") && (json as { readonly force: boolean }).force === false
          ? refused(409, "spawning_blocked", OVER)
          : undefined,
    });

  it("exits 2 with the server's reason", async () => {
    const { deps } = overBudget();
    await expect(levers.spawn({ reason }, deps)).rejects.toMatchObject({
      exitCode: EXIT.refused,
      message: `spawning_blocked: ${OVER}`,
    });
  });

  it("with force says what it risks and asks before it is forced", async () => {
    const { deps, terminal, questions, changes } = overBudget(["y"]);
    await levers.spawn({ reason, force: true }, deps);
    expect(terminal.notes).toEqual([`${OVER}.`]);
    expect(questions).toEqual(["Start it all the same? [y/N] "]);
    expect(changes().map(({ json }) => json)).toEqual([
      { count: 1, force: false, reason },
      { count: 1, force: true, reason },
    ]);
    const [first, second] = keysOf(deps);
    expect(first).not.toBe(second);
  });

  it("with force and a no starts nothing; with --yes nobody is asked", async () => {
    const doubtful = overBudget(["n"]);
    await expect(levers.spawn({ reason, force: true }, doubtful.deps)).rejects.toThrow("confirmed");
    const sure = overBudget();
    await levers.spawn({ reason, force: true, yes: true }, sure.deps);
    expect(sure.questions).toEqual([]);
    expect(sure.changes().map(({ json }) => json)).toEqual([{ count: 1, force: true, reason }]);
  });

  it("and a lost answer is asked for again under the same key", async () => {
    let isCut = true;
    const { deps, terminal, changes } = setUp({
      breaker: CLOSED,
      answer: ({ path }) => {
        if (!path.endsWith("/spawn") || !isCut) return undefined;
        isCut = false;
        return { kind: "unreachable", reason: "it was cut", mayHaveArrived: true };
      },
    });
    await levers.spawn({ reason }, deps);
    expect(changes()).toHaveLength(2);
    const [first, second] = keysOf(deps);
    expect(first).toMatch(/^cli-/);
    expect(second).toBe(first);
    expect(terminal.lines).toEqual(["hf-gpu-9 is asked for in pool gpu"]);
  });

  function keysOf({ api }: levers.LeverDeps): readonly (string | undefined)[] {
    return (api as ReturnType<typeof fakeApi>).headers.flatMap(
      (headers) => headers["idempotency-key"] ?? [],
    );
  }
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
