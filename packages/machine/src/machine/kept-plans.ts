/** Which instances are to run when not all cards could be asked for. Pure. */
import type { GpuDiscovery } from "../gpu/model.ts";
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
  readonly planned: Pick<InstancesPlan, "instances">;
  readonly gpus: Manifest["instances"]["gpus"];
  readonly found: GpuDiscovery;
}

/**
 * A driver that does not answer says nothing of the cards: no instance ends for it. Only one whose card
 * is told to be ill goes, as it would otherwise.
 */
export function keptPlans({ before, planned, gpus, found }: KeptPlansFacts): KeptPlans {
  const { failure } = found;
  if (gpus === "none" || failure === null || failure.isNoGpu) {
    return { plans: planned.instances, isComplete: true, problem: null };
  }
  const problem =
    `not all cards could be asked for (${failure.reason}): what runs is left as it is, and they are ` +
    `asked for again and again. ${failure.advice}`;
  const names = new Set(planned.instances.map(({ name }) => name));
  const kept = before.filter((plan) => !isIll(plan, found));
  // Wholly, or not at all: ports of one plan may be those of another instance in the next.
  if (kept.some(({ name }) => !names.has(name))) return { plans: kept, isComplete: false, problem };
  // Ports of instances without a GPU come after those of all cards, and it is not known which there are.
  const isPortKnown = gpus !== "all" || found.gpus.length > 0 || found.faults.length > 0;
  const plans = isPortKnown || kept.length > 0 ? planned.instances : [];
  return { plans, isComplete: false, problem };
}

/** Something is told of its very card; that it was not told of is nothing. */
function isIll({ gpu }: InstancePlan, { faults }: GpuDiscovery): boolean {
  if (gpu === null) return false;
  return faults.some(
    ({ kind, isUsable, index, uuid }) =>
      !isUsable && kind !== "missing" && (index === gpu.index || uuid === gpu.uuid),
  );
}
