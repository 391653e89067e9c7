/** What an agent says it holds, against what it has leases on. Pure. */
import type { PollRequest } from "@holdfast/contract";
import type { LiveLease } from "./model.ts";

/** What the agent holds and has no lease on: taken away, or ended by a report just now. */
export function unleased(held: PollRequest["held"], leases: readonly LiveLease[]): string[] {
  const live = new Set(leases.map((lease) => `${lease.attemptId}:${lease.leaseEpoch}`));
  return held
    .filter((attempt) => !live.has(`${attempt.attemptId}:${attempt.leaseEpoch}`))
    .map((attempt) => attempt.attemptId);
}

/** Jobs leased to the agent that it does not hold: the answer that granted them was lost. */
export function unknownTo(request: PollRequest, leases: readonly LiveLease[]): LiveLease[] {
  const known = new Set(request.held.map((attempt) => attempt.attemptId));
  // Leases on instances that the agent no longer names run out by themselves.
  const named = new Set(request.instances.map((report) => report.instanceId));
  return leases.filter((lease) => !known.has(lease.attemptId) && named.has(lease.instanceId));
}
