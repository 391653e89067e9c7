import type { FleetStatus, LeverView } from "@holdfast/contract";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startFleetApi, type FleetApi } from "../../testing/fleet-api.ts";

let api: FleetApi;
beforeAll(async () => {
  api = await startFleetApi();
});
afterAll(() => api?.close());
beforeEach(() => api.reset());

/** Six of seven failed, over the threshold. */
const SIX_OF_SEVEN = [null, 1, 2, 3, 4, 5, 6];
const status = async (): Promise<FleetStatus> => (await api.call("GET", "")).body as FleetStatus;
const setLever = (kind: string, value: unknown, reason = "a test") =>
  api.call("POST", "/levers", { body: { kind, value, reason } });
const minutesAgo = (minutes: number): string =>
  new Date(Date.now() - minutes * 60_000).toISOString();

describe("the status", () => {
  it("has rate, reason, timeline and the failures side by side", async () => {
    await api.machines(SIX_OF_SEVEN);
    const { breaker, failures, counts, advice, ...rest } = await status();
    expect(breaker).toMatchObject({
      state: "open",
      text: "85.7% (6/7 machines in last 30 minutes)",
      threshold: 0.8,
      spawning: "BLOCKED",
      reason: expect.stringContaining("at or over the threshold of 80%"),
      causes: { no_start: 6, crash: 0 },
    });
    expect(breaker.timeline).toHaveLength(6);
    expect(breaker.resumesAt).toBe(breaker.timeline[2]?.at);
    expect(failures.map(({ reason }) => reason)).toEqual(
      [1, 2, 3, 4, 5, 6].map((n) => `why hf-gpu-test01-${n}`),
    );
    expect(counts).toMatchObject({ living: 1, starting: 1, healthy: 0 });
    expect(advice.kind).toBe("investigate");
    expect(rest).toMatchObject({
      queuedTasks: 3,
      runningTasks: 1,
      oldestQueuedMs: 1_000,
      pools: [{ name: "gpu", min: 0, max: 10, living: 1 }],
      levers: [],
      costPerHour: 1.5,
      isLed: false,
    });
  });

  it("has as much of the timeline as is asked for, and says how much is left out", async () => {
    await api.machines(SIX_OF_SEVEN);
    const whole = (await status()).breaker;
    const cut = (await api.call("GET", "?timelineLimit=3")).body.breaker;
    expect(cut.timeline).toEqual(whole.timeline.slice(0, 3));
    expect([whole.timelineLeftOut, cut.timelineLeftOut]).toEqual([0, 3]);
    for (const limit of ["0", "1001", "-1", "many"]) {
      expect((await api.call("GET", `?timelineLimit=${limit}`)).status, limit).toBe(400);
    }
    expect((await api.call("GET", "?timelineLimit=1000")).status).toBe(200);
  });

  it("of nothing is all zeros and allowed", async () => {
    expect(await status()).toMatchObject({
      breaker: { state: "closed", rate: 0, seen: 0, spawning: "ALLOWED", timeline: [] },
      machines: [],
      failures: [],
    });
  });
});

describe("levers", () => {
  it.each([
    ["threshold", 1.5, /threshold: expected a share over 0 and at most 1, found 1\.5/],
    ["threshold", "abc", /threshold: expected a number, found "abc"/],
    ["window", 0, /window: expected more than 0 and at most 10080 minutes, found 0/],
    ["minimum", 1.5, /minimum: expected a whole number of machines from 1/],
    ["clear", "soon", /clear: expected an instant, found "soon"/],
    ["clear", minutesAgo(-1), /clear: expected an instant that is past/],
    ["clear", "-99999999999999999999", /clear: expected an instant, found/],
    ["pause", "yes", /pause: expected true, found "yes"/],
    ["speed", 1, /kind/],
    ["threshold", null, /value/],
  ])("%s %j is refused with what was expected and found", async (kind, value, words) => {
    const { status: code, body } = await setLever(kind, value);
    expect(code).toBe(400);
    expect(body).toMatchObject({
      error: { code: "invalid_request", message: expect.stringMatching(words) },
    });
    expect((await api.call("GET", "/levers")).body).toEqual({ items: [], next: null });
    expect((await api.call("GET", "")).status).toBe(200);
  });

  it.each([["  "], ["x".repeat(501)], [undefined]])("need a reason", async (reason) => {
    const body = { kind: "threshold", value: 0.9, reason };
    expect((await api.call("POST", "/levers", { body })).status).toBe(400);
  });

  it("set is recorded with who and why, in force at once, and undone with who", async () => {
    await api.machines(SIX_OF_SEVEN);
    const { status: code, body } = await setLever("threshold", 0.9, "the image is mended");
    expect(code).toBe(201);
    const lever = body as LeverView;
    expect(lever).toMatchObject({
      kind: "threshold",
      value: 0.9,
      reason: "the image is mended",
      madeBy: "key_ann",
      undoneBy: null,
    });
    const then = await status();
    expect(then.levers).toEqual([lever]);
    expect(then.breaker).toMatchObject({ state: "closed", threshold: 0.9, spawning: "ALLOWED" });
    const undone = await api.call("DELETE", `/levers/${lever.id}`, { who: "key_bob/admin" });
    expect(undone).toMatchObject({
      status: 200,
      body: { id: lever.id, undoneBy: "key_bob", undoneReason: null },
    });
    expect((await status()).breaker).toMatchObject({ threshold: 0.8, spawning: "BLOCKED" });
    expect((await status()).levers).toEqual([]);
    // Once.
    const again = await api.call("DELETE", `/levers/${lever.id}`);
    expect(again).toMatchObject({ status: 404, body: { error: { code: "not_found" } } });
  });

  it("undone keeps why, where that is said", async () => {
    const { body } = await setLever("threshold", 0.9);
    const { id } = body as LeverView;
    for (const reason of ["%20", "x".repeat(501)]) {
      expect((await api.call("DELETE", `/levers/${id}?reason=${reason}`)).status).toBe(400);
    }
    const undone = await api.call("DELETE", `/levers/${id}?reason=all%20is%20well%20again`);
    const told = { undoneBy: "key_ann", undoneReason: "all is well again" };
    expect(undone.body).toMatchObject(told);
    const { items } = (await api.call("GET", "/levers")).body as { items: LeverView[] };
    expect(items).toMatchObject([{ ...told, undoneAt: expect.stringMatching(/Z$/) }]);
  });

  it("undone leaves what was set before it in force", async () => {
    await setLever("minimum", 8);
    const { body } = await setLever("minimum", 9);
    expect((await status()).breaker.minimum).toBe(9);
    await api.call("DELETE", `/levers/${(body as LeverView).id}`);
    expect((await status()).breaker.minimum).toBe(8);
  });

  it("shorten the window, raise the minimum, and clear failures before an instant", async () => {
    await api.machines(SIX_OF_SEVEN);
    await setLever("window", 3.5);
    expect((await status()).breaker).toMatchObject({
      text: "75.0% (3/4 machines in last 210 seconds)",
      spawning: "ALLOWED",
    });
    await api.reset();
    await api.machines(SIX_OF_SEVEN);
    await setLever("minimum", 8);
    expect((await status()).breaker.spawning).toBe("ALLOWED");
    await api.reset();
    await api.machines(SIX_OF_SEVEN);
    const at = minutesAgo(3.5);
    await setLever("clear", at);
    const { breaker, failures } = await status();
    expect(breaker).toMatchObject({ failed: 3, clearedBefore: at, causes: { no_start: 3 } });
    expect(failures).toHaveLength(3);
  });

  it("a pause blocks, says who and why, and is told by health", async () => {
    const { body } = await setLever("pause", true, "an outage");
    const { breaker, advice } = await status();
    expect(breaker).toMatchObject({
      state: "closed",
      spawning: "BLOCKED",
      reason: "the fleet is paused by key_ann: an outage",
    });
    expect(advice.text).toContain(`holdfast fleet undo ${(body as LeverView).id}`);
    const health = (await api.call("GET", "/health")).body as { problems: { what: string }[] };
    expect(health.problems.map(({ what }) => what).join("\n")).toContain("an outage");
  });

  it("a clear that reaches less far back than one in force is refused with what to do", async () => {
    await api.machines(SIX_OF_SEVEN);
    const [near, far] = [minutesAgo(3.5), minutesAgo(5.5)];
    const { body } = await setLever("clear", near);
    const { id } = body as LeverView;
    const refused = await setLever("clear", far);
    expect(refused).toMatchObject({ status: 400, body: { error: { code: "invalid_request" } } });
    expect(refused.body.error.message).toBe(
      `clear: expected an instant after ${near}, found ${far}: all failures before that one are cleared already, by ${id}. To have some of them back, undo it first`,
    );
    expect((await status()).breaker).toMatchObject({ failed: 3, clearedBefore: near });
    // Further on it goes before the first, and undone leaves that in force.
    const { body: further } = await setLever("clear", minutesAgo(1.5));
    expect((await status()).breaker.failed).toBe(1);
    await api.call("DELETE", `/levers/${(further as LeverView).id}`);
    expect((await status()).breaker.failed).toBe(3);
    await api.call("DELETE", `/levers/${id}`);
    expect((await setLever("clear", far)).status).toBe(201);
  });

  it("of two clears at once the one that reaches furthest is in force", async () => {
    const [near, far] = [minutesAgo(3.5), minutesAgo(5.5)];
    for (const [n, at] of [near, far].entries()) {
      await api.db.query(
        `insert into fleet_levers (id, kind, value, reason, made_by)
         values ($1, 'clear', $2, 'r', 'key_a')`,
        [`lev_${n}`, String(Date.parse(at))],
      );
    }
    expect((await status()).breaker.clearedBefore).toBe(near);
  });

  it("a second pause hides the first neither in the status nor in its reason", async () => {
    const { body: first } = await setLever("pause", true, "an outage");
    const { body: second } = await api.call("POST", "/levers", {
      body: { kind: "pause", value: true, reason: "a new image" },
      who: "key_bob/operator",
    });
    const both = await status();
    expect(both.levers).toEqual([second, first]);
    expect(both.breaker.reason).toBe(
      "the fleet is paused by key_bob: a new image; and by key_ann: an outage",
    );
    await api.call("DELETE", `/levers/${(second as LeverView).id}`);
    const one = await status();
    expect(one.levers).toEqual([first]);
    expect(one.breaker.reason).toBe("the fleet is paused by key_ann: an outage");
    await api.call("DELETE", `/levers/${(first as LeverView).id}`);
    expect((await status()).breaker.spawning).toBe("ALLOWED");
  });

  it("no more pauses than can be shown are in force at once", async () => {
    for (let n = 0; n < 20; n += 1) expect((await setLever("pause", true)).status).toBe(201);
    expect((await setLever("pause", true)).body.error.message).toBe(
      "pause: 20 are in force already: undo those that are over (holdfast fleet levers)",
    );
    expect((await status()).levers).toHaveLength(20);
  });

  it("come in pages, newest first", async () => {
    for (const value of [1, 2, 3]) await setLever("minimum", value);
    const first = (await api.call("GET", "/levers?limit=2")).body as {
      items: LeverView[];
      next: string;
    };
    expect(first.items.map(({ value }) => value)).toEqual([3, 2]);
    const second = (await api.call("GET", `/levers?limit=2&cursor=${first.next}`)).body as object;
    expect(second).toMatchObject({ items: [{ value: 1 }], next: null });
    expect((await api.call("GET", "/levers?cursor=2")).body).toMatchObject({
      error: { code: "invalid_cursor" },
    });
    expect((await api.call("GET", "/levers?limit=501")).status).toBe(400);
  });
});

describe("who may", () => {
  const changes: readonly (readonly ["POST" | "DELETE", string, object])[] = [
    ["POST", "/levers", { kind: "threshold", value: 0.9, reason: "no" }],
    ["DELETE", "/levers/lev_1", {}],
    ["POST", "/spawn", { reason: "no" }],
    ["POST", "/machines/flm_1/end", { reason: "no" }],
  ];

  it("look: a user too", async () => {
    for (const path of ["", "/health", "/machines", "/levers"]) {
      expect((await api.call("GET", path, { who: "key_u/user" })).status, path).toBe(200);
      expect((await api.call("GET", path, { who: "key_g/agent" })).status, path).toBe(403);
    }
  });

  it.each(changes)("%s %s: neither a user nor an agent", async (method, path, body) => {
    for (const role of ["user", "agent"]) {
      const answer = await api.call(method, path, { body, who: `key_u/${role}` });
      expect(answer).toMatchObject({ status: 403, body: { error: { code: "forbidden" } } });
    }
    expect((await status()).levers).toEqual([]);
    expect((await api.call("GET", "/machines")).body).toMatchObject({ items: [] });
  });
});

describe("starting machines", () => {
  const spawn = (body: object) => api.call("POST", "/spawn", { body });

  it("writes them down for the leader, with who and why", async () => {
    const { status: code, body } = await spawn({ count: 2, reason: "a big batch" });
    expect(code).toBe(202);
    expect(body.machines).toHaveLength(2);
    expect(body.machines[0]).toMatchObject({
      pool: "gpu",
      state: "asked",
      forcedBy: "key_ann",
      pricePerHour: 1.5,
    });
    expect((await api.call("GET", "/levers")).body).toMatchObject({
      items: [
        {
          kind: "force",
          reason: "a big batch",
          madeBy: "key_ann",
          value: { pool: "gpu", count: 2, isForced: false },
        },
      ],
    });
    expect((await status()).levers).toEqual([]);
  });

  it("while blocked is refused with what it risks, and forced is recorded", async () => {
    await api.machines(SIX_OF_SEVEN);
    const refused = await spawn({ reason: "I must" });
    expect(refused).toMatchObject({
      status: 409,
      body: {
        error: {
          code: "spawning_blocked",
          message: expect.stringMatching(/85\.7%.*probably fail.*paid for.*Say force/),
        },
      },
    });
    expect((await spawn({ reason: "I must", force: true })).status).toBe(202);
    expect((await api.call("GET", "/levers")).body).toMatchObject({
      items: [{ kind: "force", reason: "I must", value: { isForced: true } }],
    });
    const { items } = (await api.call("GET", "/machines?limit=1")).body;
    expect(items).toMatchObject([{ state: "asked", forcedBy: "key_ann" }]);
  });

  it("while paused is refused with who paused it, and no word of failures", async () => {
    await setLever("pause", true, "an outage");
    const { status: code, body } = await spawn({ reason: "I must" });
    expect(code).toBe(409);
    expect(body.error.message).toContain("paused by key_ann: an outage");
    expect(body.error.message).not.toContain("fail as");
  });

  it("half-open lets one through, as the fleet itself would", async () => {
    const memory = {
      state: "half_open",
      since: Date.now(),
      trial: {
        halfOpenedAt: Date.now() - 1_000,
        isProved: false,
        failedProbes: 0,
        probeFailedAt: null,
      },
    };
    await api.db.query("insert into fleet_breaker (memory, looked_at) values ($1, now())", [
      JSON.stringify(memory),
    ]);
    expect((await spawn({ count: 2, reason: "two" })).status).toBe(409);
    expect((await spawn({ count: 1, reason: "one" })).status).toBe(202);
    expect((await spawn({ count: 1, reason: "and one" })).status).toBe(409);
    expect((await spawn({ count: 1, reason: "and one", force: true })).status).toBe(202);
  });

  it.each([
    [{ pool: "tpu", reason: "x" }, /pool: expected one of gpu, found tpu/],
    [{ count: 11, reason: "x" }, /count: expected at most 10 more machines in gpu/],
    [{ count: 0, reason: "x" }, /count/],
    [{ count: 21, reason: "x" }, /count/],
    [{ reason: " " }, /reason/],
    [{ reason: "x", pools: "gpu" }, /pools/],
  ])("%j is refused in words", async (body, words) => {
    const answer = await spawn(body);
    expect(answer).toMatchObject({
      status: 400,
      body: { error: { code: "invalid_request", message: expect.stringMatching(words) } },
    });
  });

  it("is not undone as a lever: machines are ended", async () => {
    await spawn({ reason: "a big batch" });
    const { items } = (await api.call("GET", "/levers")).body;
    expect((await api.call("DELETE", `/levers/${items[0].id}`)).status).toBe(404);
  });

  it("needs the pool's name where there are two, and a pool at all", async () => {
    const two = await startFleetApi(["gpu", "big"]);
    const none = await startFleetApi([]);
    try {
      expect((await two.call("POST", "/spawn", { body: { reason: "x" } })).body).toMatchObject({
        error: { message: "pool: expected one of gpu, big, found none" },
      });
      expect(
        (await two.call("POST", "/spawn", { body: { reason: "x", pool: "big" } })).status,
      ).toBe(202);
      expect((await none.call("POST", "/spawn", { body: { reason: "x" } })).body).toMatchObject({
        error: { message: expect.stringContaining("no pool is configured") },
      });
    } finally {
      await Promise.all([two.close(), none.close()]);
    }
  });
});

describe("ending a machine", () => {
  const end = (ref: string, body: object = { reason: "too dear" }) =>
    api.call("POST", `/machines/${ref}/end`, { body });

  it("is written down for the leader, by name or id", async () => {
    await api.machines([null]);
    const [machine] = (await status()).machines;
    expect(await end(machine?.id ?? "")).toMatchObject({
      status: 202,
      body: { name: "hf-gpu-test01-0", reason: "too dear" },
    });
    expect((await end("hf-gpu-test01-0", { reason: "at once", now: true })).status).toBe(202);
    const { rows } = await api.db.query("select end_request from fleet_machines");
    expect(rows).toEqual([{ end_request: { by: "key_ann", reason: "at once", now: true } }]);
  });

  it("that is not there, has ended, or was started by somebody else is refused", async () => {
    await api.machines([1]);
    await api.machines([null], "static");
    const [own] = (await status()).machines;
    expect(await end("nobody")).toMatchObject({
      status: 404,
      body: { error: { message: "the fleet has no machine nobody" } },
    });
    const { items } = (await api.call("GET", "/machines")).body;
    const gone = items.find(({ state }: { state: string }) => state === "ended");
    expect((await end(gone.id)).body.error.message).toContain("it is ended");
    expect((await end(own?.id ?? "")).body.error.message).toContain("started by somebody else");
    expect((await end(gone.id, {})).status).toBe(400);
  });
});

describe("machines", () => {
  it("come in pages, newest first, with or without those that ended", async () => {
    await api.machines(SIX_OF_SEVEN);
    const seen: string[] = [];
    let path = "/machines?limit=3";
    for (let page = 0; page < 3; page += 1) {
      const { items, next } = (await api.call("GET", path)).body;
      seen.push(...items.map(({ name }: { name: string }) => name));
      path = `/machines?limit=3&cursor=${next}`;
      if (next === null) break;
    }
    expect(seen).toEqual([6, 5, 4, 3, 2, 1, 0].map((n) => `hf-gpu-test01-${n}`));
    const living = (await api.call("GET", "/machines?living=true")).body;
    expect(living).toMatchObject({ items: [{ name: "hf-gpu-test01-0", endedAt: null }] });
    expect((await api.call("GET", "/machines?living=perhaps")).status).toBe(400);
  });
});

describe("health", () => {
  it("has what readiness says among its problems", async () => {
    api.checks.push({ name: "store", ok: false, reason: "the disk is full" });
    const { status: code, body } = await api.call("GET", "/health");
    expect(code).toBe(200);
    expect(body).toMatchObject({
      state: "down",
      problems: expect.arrayContaining([
        expect.objectContaining({ severity: "down", what: "store: the disk is full" }),
      ]),
      fleet: { isLed: false },
    });
  });
});
