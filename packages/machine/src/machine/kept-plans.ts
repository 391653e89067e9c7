/** Which instances are to run when not all cards could be asked for. Pure. */
import type { GpuDiscovery } from "@holdfast/gpu";
import type { InstancePlan } from "../instances/model.ts";
import type { InstancesPlan } from "../instances/plan-instances.ts";
import type { Manifest } from "../manifest/model.ts";

/** Instances to run, and whether these are all. */
export interface KeptPlans {
  readonly plans: readonly InstancePlan[];
  /** False: there may be more, of cards that are not known now; what else runs is left alone. */
  readonly isComplete: boolean;
  /** What is to be said of it; null when all cards are known. */
  readonly problem: string | null;
}

/** What it is decided from. */
export interface KeptPlansFacts {
  /** What was planned last. */
  readonly before: readonly InstancePlan[];
  /** What the cards that were found come to. */
  readonly planned: Pick<InstancesPlan, "ill" | "instances">;
  readonly gpus: Manifest["instances"]["gpus"];
  readonly found: GpuDiscovery;
}

/**
 * A driver that does not answer says nothing of the cards: no instance ends for it. One whose card is
 * told to be ill stays planned: the supervisor ends its process, and it is told why it does not serve.
 * So is one whose card was ill from the start.
 */
export function keptPlans({ before, planned, gpus, found }: KeptPlansFacts): KeptPlans {
  const { failure } = found;
  if (gpus === "none") return { plans: planned.instances, isComplete: true, problem: null };
  const ill = illPlans(planned.ill, before, { gpus, found });
  const all = withIll(planned.instances, ill);
  if (failure === null || failure.isNoGpu) return { plans: all, isComplete: true, problem: null };
  const problem =
    `not all cards could be asked for (${failure.reason}): what runs is left as it is, and they are ` +
    `asked for again and again. ${failure.advice}`;
  const names = new Set(all.map(({ name }) => name));
  const kept = before.filter((plan) => !isIll(plan, found) || isAskedFor(plan, gpus));
  // Wholly, or not at all: ports of one plan may be those of another instance in the next.
  if (kept.some(({ name }) => !names.has(name))) return { plans: kept, isComplete: false, problem };
  // Ports of instances without a GPU come after those of all cards, and it is not known which there are.
  const isPortKnown = gpus !== "all" || found.gpus.length > 0 || found.faults.length > 0;
  const plans = isPortKnown || kept.length > 0 ? all : [];
  return { plans, isComplete: false, problem };
}

/**
 * Of ill cards: what served on one before tells more of it (its UUID, its slices), and goes before what
 * was made of the fault. One that is told of no more may serve on: that ends nothing.
 */
function illPlans(
  planned: readonly InstancePlan[],
  before: readonly InstancePlan[],
  { gpus, found }: Pick<KeptPlansFacts, "found" | "gpus">,
): readonly InstancePlan[] {
  const indices = planned.map(({ gpu }) => gpu?.index);
  const served = before.filter(
    (plan) =>
      plan.cardFault === undefined &&
      isAskedFor(plan, gpus) &&
      (isIll(plan, found) || (plan.gpu !== null && indices.includes(plan.gpu.index))),
  );
  const others = planned.filter(({ gpu }) => served.every((one) => one.gpu?.index !== gpu?.index));
  return [...served, ...others];
}

/** Plans with those of ill cards, where name and port are nobody else's by now. */
function withIll(
  planned: readonly InstancePlan[],
  ill: readonly InstancePlan[],
): readonly InstancePlan[] {
  const free = ill.filter((plan) =>
    planned.every(({ name, port }) => name !== plan.name && port !== plan.port),
  );
  return free.length === 0
    ? planned
    : [...free, ...planned].toSorted((one, other) => one.port - other.port);
}

function isAskedFor({ gpu }: InstancePlan, gpus: Manifest["instances"]["gpus"]): boolean {
  if (!Array.isArray(gpus)) return gpus === "all";
  return gpus.some((one) =>
    typeof one === "number" ? one === gpu?.index : one.toLowerCase() === gpu?.uuid?.toLowerCase(),
  );
}

/** Something is told of its very card; that it was not told of is nothing. */
function isIll({ gpu }: InstancePlan, { faults }: GpuDiscovery): boolean {
  if (gpu === null) return false;
  return faults.some(
    ({ kind, isUsable, index, uuid }) =>
      !isUsable &&
      kind !== "missing" &&
      (index === gpu.index || (uuid !== null && uuid === gpu.uuid)),
  );
}
