/** What forbids that a person starts machines, and what doing it all the same would risk. Pure. */
import {
  budgetRoom,
  spawnAllowance,
  type BreakerView,
  type FleetMachine,
  type FleetPolicy,
  type PoolPolicy,
} from "@holdfast/fleet";

/** Everything that decides about a person's wish for machines. */
export interface SpawnFacts {
  readonly count: number;
  readonly pool: PoolPolicy;
  readonly policy: FleetPolicy;
  /** All that have not ended. */
  readonly machines: readonly FleetMachine[];
  readonly breaker: BreakerView;
  /** Of the breaker, or of the pause. */
  readonly breakerWords: string;
  readonly isPaused: boolean;
}

/** What is wrong with a wish that no force helps, in words; null when nothing is. */
export function spawnProblem({ count, pool, machines }: SpawnFacts): string | null {
  const own = machines.filter((one) => one.pool === pool.name).length;
  if (own + count <= pool.max) return null;
  return `count: expected at most ${Math.max(0, pool.max - own)} more machines in ${pool.name} (max ${pool.max}, ${own} there), found ${count}`;
}

/** What forbids it unless it is forced, in words, with what force would risk; null when nothing does. */
export function spawnBlock(facts: SpawnFacts): string | null {
  const blocks = [breakerBlock(facts), budgetBlock(facts)].filter((words) => words !== null);
  if (blocks.length === 0) return null;
  return `${blocks.join(". ")}. Say force, and why, to start it anyway`;
}

function breakerBlock(facts: SpawnFacts): string | null {
  const { breaker, breakerWords, isPaused, machines, count } = facts;
  if (isPaused) return breakerWords;
  // Half-open lets one through while none is on its way; a person's word takes from the same.
  const onTheWay = machines.filter(({ state }) => state === "asked" || state === "starting").length;
  if (count <= spawnAllowance(breaker, onTheWay)) return null;
  return `${breakerWords}. A machine that is started now will probably fail as those before it did, and is paid for meanwhile`;
}

function budgetBlock({ count, machines, pool, policy }: SpawnFacts): string | null {
  const room = budgetRoom(machines, pool, policy);
  if (room.kind === "no_budget") return null;
  if (room.kind === "price_unknown") {
    return `there is a budget of ${room.budget} $/h, and the price of ${pool.name} is not known (pricePerHour). A machine that is started all the same is counted as nothing, whatever it costs`;
  }
  if (count <= room.machines) return null;
  const { budget, spent, price } = room;
  return `the budget of ${budget} $/h has room for ${room.machines} more of ${pool.name} at ${price} $/h (${money(spent)} $/h are spent), found ${count}. All the same it would be ${money(spent + count * price)} $/h, and the fleet starts none of its own until that is under the budget again`;
}

function money(dollars: number): number {
  return Math.round(dollars * 1e4) / 1e4;
}
