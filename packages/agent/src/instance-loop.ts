/**
 * The attempts of one instance: one runs, one is staged behind it so that it starts at once (F23),
 * and the outputs of those before are on their way to the store.
 *
 * L1  Only the attempt that ran is blamed for a death; the others are given back free of charge.
 * L2  Nothing is staged on an instance that has just failed, or that is having its memory freed.
 * L3  A slot is free when ComfyUI is done with the prompt, not when we are.
 */
import type { AttemptOutcome, HeldAttempt, Lease } from "@holdfast/contract";
import type { SocketEvent } from "@holdfast/comfyui";
import { Attempt, type AttemptDeps, type StopReason } from "./attempt.ts";
import type { AgentLog } from "./agent-log.ts";
import type { Instance } from "./instance.ts";
import type { AgentLimits } from "./limits.ts";
import type { Reporter } from "./reporter.ts";
import type { Spool } from "./spool.ts";
import { decideWants } from "./wants.ts";

/** What the loop is made of: what its attempts need, and where outcomes go. */
export interface InstanceLoopDeps extends Omit<
  AttemptDeps,
  "instance" | "onChange" | "reserve" | "uploaded"
> {
  readonly reporter: Reporter;
  readonly spool: Spool;
  readonly limits: AgentLimits;
  readonly log: AgentLog;
  /** Capacity or the held attempts have changed. */
  readonly onChange: () => void;
}

/** Runs the leases of one instance. */
export interface InstanceLoop {
  /** Binds the instance that the loop works on; once, before anything else. */
  bind(instance: Instance): void;
  isBusy(): boolean;
  wants(): number;
  held(): readonly HeldAttempt[];
  /** Takes a lease; false when it was known already. */
  assign(lease: Lease): boolean;
  /** False when there was nothing to stop. */
  stop(attemptId: string, reason: StopReason): boolean;
  /** The holder's trust in the lease ended: what ComfyUI still has is stopped, silently. */
  distrust(attemptId: string): void;
  onSocket(event: SocketEvent): void;
  onReplaced(reason: string): void;
  /** To be called when the instance's state may have changed. */
  onInstanceChange(): void;
  /** No more work; what is staged is given back. */
  drain(): void;
  /** Resolves when every attempt has ended and is reported. */
  idle(): Promise<void>;
  /** Ends everything without touching ComfyUI, for the next agent to resume. */
  leave(): Promise<void>;
}

/** Makes the loop of one instance. */
export function createInstanceLoop(deps: InstanceLoopDeps): InstanceLoop {
  const attempts = new Map<string, Attempt>();
  const runs = new Set<Promise<void>>();
  const uploaded = new Set<string>();
  const changeWaiters = new Set<() => void>();
  let bound: Instance | undefined;
  let hasJustFailed = false;
  let isDraining = false;

  const changed = (): void => {
    for (const resolve of changeWaiters) resolve();
    changeWaiters.clear();
    deps.onChange();
  };
  const nextChange = (): Promise<void> => new Promise((resolve) => changeWaiters.add(resolve));
  const others = (attempt: Attempt): Attempt[] =>
    [...attempts.values()].filter((other) => other !== attempt && other.isOccupying);
  const reserve = async (attempt: Attempt): Promise<void> => {
    for (const other of others(attempt)) if (!other.hasStarted) other.stop("displaced");
    while (others(attempt).length > 0 && attempt.stopReason === undefined) await nextChange();
  };

  const judge = (attempt: Attempt, outcome: AttemptOutcome, instance: Instance): void => {
    switch (outcome.kind) {
      case "succeeded":
        hasJustFailed = false;
        instance.prove();
        return;
      case "failed":
        // A graph that was refused says nothing about the instance.
        if (!RUN_CHANNELS.has(outcome.evidence.channel)) return;
        break;
      case "stalled":
      case "instance_died":
        break;
      case "interrupted":
      case "released":
        return;
    }
    hasJustFailed = true;
    // A prompt that is staged already proves as much as a check would.
    if (others(attempt).length === 0) instance.demandCheck();
  };

  const runToReport = async (attempt: Attempt, instance: Instance): Promise<void> => {
    const { lease } = attempt;
    const { outcome } = await attempt.run();
    changed();
    if (outcome !== undefined) {
      judge(attempt, outcome, instance);
      const log = { attemptId: lease.attemptId, jobId: lease.jobId, outcome: outcome.kind };
      if (outcome.kind === "succeeded") deps.log.debug(log, "attempt ended");
      else deps.log.warn(log, "attempt ended");
      await deps.failpoints.hit("agent.before-report");
      const answer = await deps.reporter.send(attempt.report(outcome), (hashes) =>
        attempt.collector.putAgain(hashes),
      );
      if (answer !== "kept") {
        await deps.failpoints.hit("agent.after-report");
        attempt.forget();
      }
    }
    attempt.letGo();
    attempts.delete(lease.attemptId);
    await attempt.collector.release();
    changed();
  };

  const loop: InstanceLoop = {
    bind: (instance) => {
      bound = instance;
    },
    isBusy: () => [...attempts.values()].some((attempt) => attempt.isOccupying),
    wants: () => {
      const facts = bound?.facts();
      const all = [...attempts.values()];
      const occupied = all.filter((attempt) => attempt.isOccupying).length;
      return decideWants(
        {
          isHealthy: facts?.state === "healthy",
          isReady: facts?.isReady === true,
          isDraining,
          hasJustFailed,
          isReserved: all.some((attempt) => attempt.isMemoryFreeing),
          occupied,
          collecting: all.length - occupied,
          spoolHasRoom: deps.spool.hasRoom(),
        },
        deps.limits,
      );
    },
    held: () => [...attempts.values()].flatMap((attempt) => attempt.held() ?? []),
    assign: (lease) => {
      const known = attempts.get(lease.attemptId);
      if (known !== undefined) {
        known.adopt(lease);
        // Granted again while we take it out: given back at once, or we would be told for ever.
        if (known.stopReason !== undefined && known.stopReason !== "left") giveBack(known, deps);
        return false;
      }
      const instance = bound;
      if (instance === undefined) return false;
      const attempt = new Attempt(lease, {
        ...deps,
        instance,
        uploaded,
        reserve,
        onChange: changed,
      });
      attempts.set(lease.attemptId, attempt);
      const run = runToReport(attempt, instance).catch((err: unknown) => {
        attempts.delete(lease.attemptId);
        deps.log.error({ attemptId: lease.attemptId, err }, "attempt could not be ended");
      });
      runs.add(run);
      void run.finally(() => runs.delete(run));
      return true;
    },
    stop: (attemptId, reason) => attempts.get(attemptId)?.stop(reason) === true,
    distrust: (attemptId) => {
      const attempt = attempts.get(attemptId);
      // What ComfyUI has finished can be brought home: the report is fenced by its epoch.
      if (attempt?.isOccupying === true) attempt.stop("lost");
    },
    onSocket: (event) => {
      for (const attempt of attempts.values()) attempt.onSocket(event);
    },
    onReplaced: (reason) => {
      uploaded.clear();
      const posted = [...attempts.values()]
        .filter((attempt) => attempt.isOccupying && attempt.postedAt !== undefined)
        .sort((a, b) => (a.postedAt ?? 0) - (b.postedAt ?? 0));
      // L1: a prompt that kills its process at once may die unheard, so the first in line ran.
      const blamed = posted.find((attempt) => attempt.hasStarted) ?? posted[0];
      for (const attempt of attempts.values()) attempt.instanceDied(reason, attempt === blamed);
      changed();
    },
    onInstanceChange: () => {
      if (bound?.facts().state === "unhealthy") stopStaged("displaced");
      changed();
    },
    drain: () => {
      isDraining = true;
      stopStaged("drain");
      changed();
    },
    idle: async () => {
      while (runs.size > 0) await Promise.all(runs);
    },
    leave: async () => {
      isDraining = true;
      for (const attempt of attempts.values()) attempt.stop("left");
      await loop.idle();
    },
  };

  const stopStaged = (reason: StopReason): void => {
    for (const attempt of attempts.values()) {
      if (attempt.isOccupying && !attempt.hasStarted) attempt.stop(reason);
    }
  };
  return loop;
}

/** Channels of evidence that come from a run, and so concern the instance too. */
const RUN_CHANNELS: ReadonlySet<string> = new Set(["collection", "execution", "history", "stall"]);

function giveBack(attempt: Attempt, deps: Pick<InstanceLoopDeps, "reporter" | "log">): void {
  const reason = "stopped when the lease could not be renewed";
  deps.reporter
    .send(attempt.report({ kind: "released", reason }), () => Promise.resolve(false))
    .catch((err: unknown) => deps.log.error({ err }, "attempt could not be given back"));
}
