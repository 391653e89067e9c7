import type { HeldAttempt, InstanceReport } from "@holdfast/contract";
import type { PlacedLease } from "./idle-polls.ts";
import type { Heartbeat, KnownInstance } from "./heartbeat-store.ts";
import type { AgentSession } from "./model.ts";

/** For how long a heartbeat's findings are believed, so that not every poll costs one. */
export const VIEW_MAX_AGE_MS = 1_000;

/** What the last heartbeat of a machine found, with what this replica has changed since. */
interface MachineView {
  readonly session: number;
  /** Of the newest poll seen here. */
  sequence: number;
  readonly beatAt: number;
  readonly instances: Map<string, KnownInstance>;
  /** Attempts that the machine should hold, since when, and where. */
  readonly attempts: Map<string, { readonly grantedAt: number; readonly instanceId: string }>;
}

/**
 * What this replica knows of machines that poll it often. A poll that brings nothing new within a
 * second of a heartbeat needs none: it is answered without one, and told that it has renewed nothing.
 *
 * V1  A view never hides what concerns the machine for longer than {@link VIEW_MAX_AGE_MS}: a newer
 *     session, a cordon, a lease taken away elsewhere. What must not happen even within that time is
 *     checked by the statement that writes (the claim asks session and cordon, a report its epoch).
 * V2  A view is used only when agent and view agree: same session, no poll between that another
 *     replica has answered, same reports, and the agent holds exactly the attempts that it should. So
 *     a lost answer and a lost lease are found. What was granted a moment ago may be on its way to an
 *     agent that has sent its next poll meanwhile: that poll is told to look again soon.
 */
export interface MachineViews {
  /** What is known of a machine whose poll needs no heartbeat now; undefined when it needs one. */
  find(poll: SeenPoll, now: number): FoundView | undefined;
  /** To be taken before a heartbeat, for {@link noteBeat}. */
  version(): number;
  /**
   * A heartbeat was begun at `now` and at `version`, and `reports` were written after it. Nothing is
   * kept of it when something has changed for a machine since: it may be older than the change. What
   * was granted here since is added: the heartbeat may not have seen it yet.
   */
  noteBeat(
    poll: SeenPoll,
    found: Heartbeat,
    reports: readonly InstanceReport[],
    at: { readonly now: number; readonly version: number },
  ): void;
  /** Whether an attempt was granted here so lately that the answer may be on its way to the machine. */
  isOnItsWay(machineId: string, attemptId: string, now: number): boolean;
  /** Leases were granted to the machine by this replica. */
  noteGranted(machineId: string, leases: readonly PlacedLease[], now: number): void;
  /** Something has changed for the machine: the next poll makes a heartbeat. */
  forget(machineId: string): void;
}

/** See {@link MachineViews.find}. */
export interface FoundView {
  readonly instances: readonly KnownInstance[];
  /** What the machine should hold. */
  readonly placed: readonly PlacedLease[];
  /** A lease granted just now is not among what the agent holds: look again after the view's age. */
  readonly isInDoubt: boolean;
}

/** What of a poll is held against a view. */
export interface SeenPoll extends AgentSession {
  readonly sequence: number;
  readonly instances: readonly InstanceReport[];
  readonly held: readonly Pick<HeldAttempt, "attemptId">[];
}

/** Machines remembered; over it the oldest are forgotten, which costs their next poll a heartbeat. */
const VIEWS_MAX = 20_000;

/** Makes {@link MachineViews}. `hasEnded` tells of attempts whose end this replica has recorded. */
export function createMachineViews(hasEnded: (attemptId: string) => boolean): MachineViews {
  const views = new Map<string, MachineView>();
  /** Grows with every change that was told, of any machine: they are few. */
  let version = 0;

  /** Granted and not held: `lost` when the answer must have come by now. */
  const missingOf = (view: MachineView, held: ReadonlySet<string>, now: number) => {
    let missing: "none" | "late" | "lost" = "none";
    for (const [attemptId, { grantedAt }] of view.attempts) {
      if (hasEnded(attemptId)) view.attempts.delete(attemptId);
      else if (held.has(attemptId)) continue;
      else if (now - grantedAt >= VIEW_MAX_AGE_MS) return "lost";
      else missing = "late";
    }
    return missing;
  };

  const agrees = (view: MachineView, poll: SeenPoll, held: ReadonlySet<string>): boolean => {
    for (const attemptId of held) {
      if (!view.attempts.has(attemptId) && !hasEnded(attemptId)) return false;
    }
    return poll.instances.every((report) => {
      const known = view.instances.get(report.instanceId);
      return known !== undefined && saysTheSame(known, report);
    });
  };

  return {
    find(poll, now) {
      const view = views.get(poll.machineId);
      if (view === undefined || view.session !== poll.session) return undefined;
      const isNext = poll.sequence - view.sequence <= 1;
      view.sequence = Math.max(view.sequence, poll.sequence);
      if (!isNext) views.delete(poll.machineId);
      if (!isNext || now - view.beatAt >= VIEW_MAX_AGE_MS) return undefined;
      const held = new Set<string>(poll.held.map((attempt) => attempt.attemptId));
      const missing = missingOf(view, held, now);
      if (missing === "lost" || !agrees(view, poll, held)) return undefined;
      const placed = [...view.attempts].map(([attemptId, { instanceId }]) => ({
        attemptId,
        instanceId,
      }));
      return { instances: [...view.instances.values()], placed, isInDoubt: missing === "late" };
    },
    version: () => version,
    noteBeat(poll, found, reports, at) {
      if (at.version !== version) return;
      const instances = new Map(found.instances.map((known) => [known.instanceId, known]));
      for (const { instanceId, state, reason, inventoryDigest } of reports) {
        const known = instances.get(instanceId);
        if (known === undefined) continue;
        instances.set(instanceId, { ...known, state, reason, inventoryDigest });
      }
      const attempts: MachineView["attempts"] = new Map(
        found.leases.map(({ attemptId, instanceId }) => [
          attemptId,
          { grantedAt: -Infinity, instanceId },
        ]),
      );
      const before = views.get(poll.machineId);
      for (const [attemptId, granted] of before?.attempts ?? []) {
        const isSince = granted.grantedAt >= at.now && before?.session === poll.session;
        if (isSince || attempts.has(attemptId)) attempts.set(attemptId, granted);
      }
      views.delete(poll.machineId);
      views.set(poll.machineId, {
        session: poll.session,
        sequence: poll.sequence,
        beatAt: at.now,
        instances,
        attempts,
      });
      for (const oldest of views.keys()) {
        if (views.size <= VIEWS_MAX) break;
        views.delete(oldest);
      }
    },
    isOnItsWay(machineId, attemptId, now) {
      const grantedAt = views.get(machineId)?.attempts.get(attemptId)?.grantedAt ?? -Infinity;
      return now - grantedAt < VIEW_MAX_AGE_MS;
    },
    noteGranted(machineId, leases, now) {
      const view = views.get(machineId);
      for (const { attemptId, instanceId } of leases) {
        view?.attempts.set(attemptId, { grantedAt: now, instanceId });
      }
    },
    forget(machineId) {
      version += 1;
      views.delete(machineId);
    },
  };
}

/** Whether the database already has what an instance reports. */
export function saysTheSame(known: KnownInstance, report: InstanceReport): boolean {
  return (
    known.state === report.state &&
    known.reason === report.reason &&
    known.inventoryDigest === report.inventoryDigest
  );
}
