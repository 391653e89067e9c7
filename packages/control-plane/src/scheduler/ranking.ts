import type { Placement, QueueHead, WantingInstance } from "./model.ts";

/**
 * For how long jobs whose models are loaded may overtake: once the head of the queue has waited
 * longer than this, it goes first wherever it can be served.
 */
export const AFFINITY_MAX_WAIT_MS = 30_000;

/**
 * Places jobs on the instances that want them. Order: priority, then rank (age, fair between
 * callers), but an instance prefers a job whose models it has loaded among those of equal priority,
 * as long as nobody older has waited over {@link AFFINITY_MAX_WAIT_MS}. An instance never gets a job
 * that avoids it, nor one that waits for another instance. Instances take turns, so that work spreads before anything is staged behind it.
 */
export function choosePlacements(
  heads: readonly QueueHead[],
  instances: readonly WantingInstance[],
): Placement[] {
  const left = [...heads].sort(byOrder);
  const wanting = instances.map((instance) => ({ instance, open: instance.wants }));
  const placements: Placement[] = [];
  for (let progress = true; progress && left.length > 0;) {
    progress = false;
    for (const slot of wanting) {
      if (slot.open <= 0) continue;
      const at = chooseFor(slot.instance, left);
      if (at === -1) continue;
      const [head] = left.splice(at, 1);
      if (head === undefined) continue;
      placements.push({
        jobId: head.jobId,
        requirementId: head.requirementId,
        instanceId: slot.instance.instanceId,
      });
      slot.open -= 1;
      progress = true;
    }
  }
  return placements;
}

function byOrder(a: QueueHead, b: QueueHead): number {
  if (a.priority !== b.priority) return b.priority - a.priority;
  if (a.rank !== b.rank) return a.rank - b.rank;
  return a.jobId < b.jobId ? -1 : 1;
}

/** The index in `heads` (in order) of the job this instance should take, or -1. */
function chooseFor(instance: WantingInstance, heads: readonly QueueHead[]): number {
  let first = -1;
  for (const [index, head] of heads.entries()) {
    const isFit =
      instance.servable.has(head.requirementId) &&
      !head.avoidInstances.includes(instance.instanceId) &&
      (head.preferredInstance ?? instance.instanceId) === instance.instanceId;
    if (!isFit) continue;
    if (first === -1) {
      first = index;
      if (head.ageMs > AFFINITY_MAX_WAIT_MS || instance.lastRequirementId === null) return first;
    }
    const firstHead = heads[first];
    if (firstHead === undefined || head.priority !== firstHead.priority) break;
    if (head.requirementId === instance.lastRequirementId) return index;
  }
  return first;
}
