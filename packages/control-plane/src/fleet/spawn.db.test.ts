import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startFleetApi, type FleetAnswer, type FleetApi } from "../../testing/fleet-api.ts";

let api: FleetApi;
beforeAll(async () => {
  // At 1.5 $/h a machine: three.
  api = await startFleetApi(["gpu"], { budgetPerHour: 5 });
});
afterAll(() => api?.close());
beforeEach(() => api.reset());

/** Six of seven failed, over the threshold. */
const SIX_OF_SEVEN = [null, 1, 2, 3, 4, 5, 6];
const spawn = (body: object, more: { readonly key?: string; readonly who?: string } = {}) =>
  api.call("POST", "/spawn", { body: { reason: "a big batch", ...body }, ...more });
const namesOf = ({ body }: FleetAnswer): readonly string[] =>
  body.machines.map(({ name }: { readonly name: string }) => name);
const written = async (): Promise<number> => {
  const { body } = await api.call("GET", "/machines");
  return body.items.length;
};

describe("starting machines under a key", () => {
  it("again gives the machines of the first time, and starts none", async () => {
    const first = await spawn({ count: 2 }, { key: "k1" });
    const again = await spawn({ count: 2 }, { key: "k1" });
    expect([first.status, again.status]).toEqual([202, 200]);
    expect(namesOf(again)).toEqual(namesOf(first));
    expect(await written()).toBe(2);
    expect((await api.call("GET", "/levers")).body.items).toHaveLength(1);
  });

  it("at the same time starts them once", async () => {
    const all = await Promise.all(Array.from({ length: 6 }, () => spawn({}, { key: "k1" })));
    expect(all.map(({ status }) => status).toSorted((one, other) => one - other)).toEqual([
      200, 200, 200, 200, 200, 202,
    ]);
    expect(new Set(all.flatMap(namesOf)).size).toBe(1);
    expect(await written()).toBe(1);
  });

  it("again is no new wish: what forbids one now says nothing about it", async () => {
    const first = await spawn({ count: 3 }, { key: "k1" });
    await api.machines(SIX_OF_SEVEN);
    const again = await spawn({ count: 3 }, { key: "k1" });
    expect(namesOf(again)).toEqual(namesOf(first));
    expect((await spawn({ count: 3 }, { key: "k2" })).status).toBe(409);
  });

  it.each([[{ count: 2 }], [{ reason: "another" }], [{ force: true }]])(
    "with another body (%j) is refused",
    async (body) => {
      await spawn({}, { key: "k1" });
      expect(await spawn(body, { key: "k1" })).toMatchObject({
        status: 409,
        body: { error: { code: "idempotency_conflict" } },
      });
      expect(await written()).toBe(1);
    },
  );

  it("of another caller, or another key, or none, starts others", async () => {
    await spawn({}, { key: "k1" });
    await spawn({}, { key: "k1", who: "key_bob/operator" });
    await spawn({}, { key: "k2" });
    expect(await written()).toBe(3);
    await api.reset();
    await spawn({});
    await spawn({});
    expect(await written()).toBe(2);
  });

  it("that was refused is free still", async () => {
    await api.machines(SIX_OF_SEVEN);
    expect((await spawn({}, { key: "k1" })).status).toBe(409);
    expect((await spawn({ force: true }, { key: "k1" })).status).toBe(202);
  });

  it("whose machines are forgotten says so", async () => {
    await spawn({}, { key: "k1" });
    await api.db.query("delete from fleet_machines");
    expect(await spawn({}, { key: "k1" })).toMatchObject({
      status: 409,
      body: { error: { message: expect.stringContaining("were forgotten since") } },
    });
  });

  it.each([" ", "x".repeat(256)])("that is no key (%j) is refused", async (key) => {
    expect(await spawn({}, { key })).toMatchObject({
      status: 400,
      body: { error: { code: "invalid_request" } },
    });
  });
});

describe("starting machines over the budget", () => {
  it("is refused with the reason and what force would risk, and forced is recorded", async () => {
    await spawn({ count: 2 });
    const refused = await spawn({ count: 2 });
    expect(refused).toMatchObject({ status: 409, body: { error: { code: "spawning_blocked" } } });
    expect(refused.body.error.message).toBe(
      "the budget of 5 $/h has room for 1 more of gpu at 1.5 $/h (3 $/h are spent), found 2. All the same it would be 6 $/h, and the fleet starts none of its own until that is under the budget again. Say force, and why, to start it anyway",
    );
    expect((await spawn({ count: 1 })).status).toBe(202);
    expect((await spawn({ count: 2, force: true })).status).toBe(202);
    const { items } = (await api.call("GET", "/levers?limit=1")).body;
    expect(items).toMatchObject([{ kind: "force", value: { count: 2, isForced: true } }]);
  });

  it("and over the threshold names both", async () => {
    await api.machines(SIX_OF_SEVEN);
    const { message } = (await spawn({ count: 4 })).body.error;
    expect(message).toMatch(/85\.7%.*probably fail.*the budget of 5 \$\/h/);
  });

  it("two at a time spends it once", async () => {
    const all = await Promise.all([spawn({ count: 2 }), spawn({ count: 2 })]);
    expect(all.map(({ status }) => status).toSorted((one, other) => one - other)).toEqual([
      202, 409,
    ]);
  });

  it("is one thing, the pool's own limit another: no force helps", async () => {
    expect(await spawn({ count: 11, force: true })).toMatchObject({
      status: 400,
      body: {
        error: {
          code: "invalid_request",
          message: "count: expected at most 10 more machines in gpu (max 10, 0 there), found 11",
        },
      },
    });
  });
});
