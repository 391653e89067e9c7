/** How many machines a budget leaves room for. Pure. */
import type { FleetMachine, FleetPolicy, PoolPolicy } from "../reconcile/model.ts";

/** Prices are not whole: a budget of 3 $ has room for three machines at 1 $. */
const ROUNDING = 1e-9;

/** What a budget has to say about more machines of a pool. US dollars an hour. */
export type BudgetRoom =
  | { readonly kind: "no_budget" }
  /** There is a budget, and what a machine of the pool costs is not known. */
  | { readonly kind: "price_unknown"; readonly budget: number }
  | {
      readonly kind: "room";
      readonly budget: number;
      /** Of all machines that are there, those that are to end included. */
      readonly spent: number;
      readonly price: number;
      /** Machines that may be added; `Infinity` where they cost nothing. */
      readonly machines: number;
    };

/** What the budget leaves for a pool, by the machines of all pools. */
export function budgetRoom(
  machines: readonly FleetMachine[],
  pool: PoolPolicy,
  { budgetPerHour: budget, pools }: Pick<FleetPolicy, "budgetPerHour" | "pools">,
): BudgetRoom {
  if (budget === null) return { kind: "no_budget" };
  const { pricePerHour: price } = pool;
  if (price === null) return { kind: "price_unknown", budget };
  const spent = spentPerHour(machines, pools);
  return { kind: "room", budget, spent, price, machines: affordable(budget, spent, price) };
}

/** What the machines that are there cost together, those that are to end included. US dollars an hour. */
export function spentPerHour(
  machines: readonly FleetMachine[],
  pools: FleetPolicy["pools"],
): number {
  const priceOf = (one: FleetMachine): number =>
    one.pricePerHour ?? pools.find(({ name }) => name === one.pool)?.pricePerHour ?? 0;
  return machines.filter(isPaid).reduce((sum, one) => sum + priceOf(one), 0);
}

/** Machines at this price that a budget has room for; `Infinity` where there is none, or they cost nothing. */
export function affordable(budget: number | null, spent: number, price: number): number {
  if (budget === null || price === 0) return Infinity;
  return Math.max(0, Math.floor((budget - spent) / price + ROUNDING));
}

/** Whether a machine is the fleet's to pay for. */
export function isPaid({ state, provider }: FleetMachine): boolean {
  return state !== "ended" && provider !== "static";
}
