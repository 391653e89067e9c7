import type { IdleElsewhere, Placement, SizedHead, WantingInstance } from "./model.ts";

/**
 * For how long jobs whose models are loaded may overtake: once the head of the queue has waited
 * longer than this, it goes first wherever it can be served.
 */
export const AFFINITY_MAX_WAIT_MS = 30_000;

/**
 * For how long a new job is left to an idle instance of another machine, whose poll is here too: it
 * takes it within milliseconds, or there is a reason why it does not. Longer, and the job may be staged
 * behind a running one.
 */
export const IDLE_FIRST_MS = 1_000;

/**
 * For how long a job is left to cards with the memory that it was measured to take. After that any card
 * may take it: ComfyUI keeps parts of a model in the machine's memory, slower and without a failure.
 */
export const CARD_MAX_WAIT_MS = 30_000;

/** Whether an instance's card has less memory than a job should find, as long as the job may wait for more. */
export function isTooSmall(
  { vramTotalBytes }: Pick<IdleElsewhere, "vramTotalBytes">,
  { wantedVramBytes, ageMs }: Pick<SizedHead, "ageMs" | "wantedVramBytes">,
): boolean {
  if (wantedVramBytes === null || vramTotalBytes === null) return false;
  return vramTotalBytes < wantedVramBytes && ageMs < CARD_MAX_WAIT_MS;
}

/**
 * Places jobs on the instances that want them. Order: priority, then rank (age, fair between
 * callers), but an instance prefers a job whose models it has loaded among those of equal priority,
 * as long as nobody older has waited over {@link AFFINITY_MAX_WAIT_MS}. An instance never gets a job
 * that avoids it, nor one that waits for another instance. Instances take turns, so that work spreads
 * before anything is staged behind it: first those that are idle, here and elsewhere.
 */
export function choosePlacements(
  heads: readonly SizedHead[],
  instances: readonly WantingInstance[],
  elsewhere: readonly IdleElsewhere[] = [],
): Placement[] {
  const left = [...heads].sort(byOrder);
  const placements: Placement[] = [];
  const open = new Map(instances.map((instance) => [instance, instance.wants]));
  /** Gives each of these a job, in turn; false when none could be given. */
  const takeTurns = (turn: readonly WantingInstance[]): boolean => {
    const before = placements.length;
    for (const instance of turn) {
      const wants = open.get(instance) ?? 0;
      const head = wants > 0 ? take(instance, left) : undefined;
      if (head === undefined) continue;
      const { jobId, requirementId } = head;
      placements.push({ jobId, requirementId, instanceId: instance.instanceId });
      open.set(instance, wants - 1);
    }
    return placements.length > before;
  };
  const idle = instances.filter(({ isIdle }) => isIdle);
  const busy = instances.filter(({ isIdle }) => !isIdle);
  takeTurns(idle);
  leaveToOthers(elsewhere, left);
  // Those that were idle have had their turn of this round.
  takeTurns(busy);
  while (left.length > 0 && takeTurns([...idle, ...busy])) continue;
  return placements;
}

/** Takes out what idle instances elsewhere will take themselves. */
function leaveToOthers(elsewhere: readonly IdleElsewhere[], left: SizedHead[]): void {
  for (const other of elsewhere) {
    if (left.every((head) => head.ageMs >= IDLE_FIRST_MS)) return;
    const at = left.findIndex((head) => head.ageMs < IDLE_FIRST_MS && isFit(other, head));
    if (at !== -1) left.splice(at, 1);
  }
}

function take(instance: WantingInstance, left: SizedHead[]): SizedHead | undefined {
  const at = chooseFor(instance, left);
  return at === -1 ? undefined : left.splice(at, 1)[0];
}

function isFit(instance: IdleElsewhere, head: SizedHead): boolean {
  const { instanceId, servable } = instance;
  return (
    !isTooSmall(instance, head) &&
    servable.has(head.requirementId) &&
    !head.avoidInstances.includes(instanceId) &&
    (head.preferredInstance ?? instanceId) === instanceId
  );
}

function byOrder(a: SizedHead, b: SizedHead): number {
  if (a.priority !== b.priority) return b.priority - a.priority;
  if (a.rank !== b.rank) return a.rank - b.rank;
  return a.jobId < b.jobId ? -1 : 1;
}

/** The index in `heads` (in order) of the job this instance should take, or -1. */
function chooseFor(instance: WantingInstance, heads: readonly SizedHead[]): number {
  let first = -1;
  for (const [index, head] of heads.entries()) {
    if (!isFit(instance, head)) continue;
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
