import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEFAULT_FLEET_POLICY, type FleetMachine, type PoolPolicy } from "../reconcile/model.ts";
import { wantedMachine } from "../reconcile/transitions.ts";
import { budgetRoom } from "./budget.ts";

const pool = (name: string, pricePerHour: number | null): PoolPolicy => ({
  name,
  provider: "runpod",
  min: 0,
  max: 9,
  instancesPerMachine: 1,
  pricePerHour,
  startTimeoutMs: 1,
  progressTimeoutMs: 1,
  offerCount: 1,
});
const machine = (more: Partial<FleetMachine> = {}): FleetMachine => ({
  ...wantedMachine(
    { id: "m", name: "m", pool: "gpu", provider: "runpod", offer: null, pricePerHour: 1 },
    0,
  ),
  ...more,
});
const roomOf = (
  budgetPerHour: number | null,
  machines: readonly FleetMachine[],
  own: PoolPolicy = pool("gpu", 1.5),
) => budgetRoom(machines, own, { ...DEFAULT_FLEET_POLICY, budgetPerHour, pools: [own] });

describe("the room that a budget leaves", () => {
  it("is not asked for where there is no budget, nor where the price is not known", () => {
    expect(roomOf(null, [machine()])).toEqual({ kind: "no_budget" });
    expect(roomOf(5, [], pool("gpu", null))).toEqual({ kind: "price_unknown", budget: 5 });
  });

  it("counts what is paid for: by its own price or its pool's, and also what is to end", () => {
    const machines = [
      machine(),
      machine({ pricePerHour: null }),
      machine({ state: "ending" }),
      machine({ state: "ended" }),
      machine({ provider: "static", pool: "static" }),
      machine({ pool: "gone", pricePerHour: null }),
    ];
    expect(roomOf(5, machines)).toMatchObject({ spent: 3.5, price: 1.5, machines: 1 });
    expect(roomOf(3, machines)).toMatchObject({ machines: 0 });
  });

  it("is endless for machines that cost nothing", () => {
    expect(roomOf(1, [machine({ pricePerHour: 9 })], pool("gpu", 0))).toMatchObject({
      machines: Infinity,
    });
  });

  it("filled keeps to the budget, and one more machine does not", () => {
    const cents = fc.integer({ min: 1, max: 5_000 }).map((value) => value / 100);
    fc.assert(
      fc.property(cents, cents, fc.array(cents, { maxLength: 8 }), (budget, price, prices) => {
        const machines = prices.map((pricePerHour) => machine({ pricePerHour }));
        const room = roomOf(budget, machines, pool("gpu", price));
        if (room.kind !== "room") throw new Error("there is a budget and a price");
        if (room.machines > 0) {
          expect(room.spent + room.machines * price).toBeLessThanOrEqual(budget + 1e-6);
        }
        expect(room.spent + (room.machines + 1) * price).toBeGreaterThan(budget - 1e-6);
      }),
    );
  });
});
