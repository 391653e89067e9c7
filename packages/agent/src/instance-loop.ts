/**
 * The attempts of one instance: one runs, one is staged behind it so that it starts at once (F23),
 * more while prompts are very short, and the outputs of those before are on their way to the store.
 *
 * L1  Only the attempt that ran is blamed for a death; the others are given back free of charge.
 * L2  Nothing is staged on an instance that has just failed, that is having its memory freed, or that
 *     is being restarted.
 * L3  What is staged beyond one is given back when what runs turns out to take long: it could run
 *     elsewhere.
 * L4  A slot is free when ComfyUI is done with the prompt, not when we are.
 * L5  The end of a process that was to be restarted anyway (`pause`) is nobody's fault.
 * L6  Attempts that ask for a restart wait for one together, and one restart serves them all.
 */
import type { SocketEvent } from "@holdfast/comfyui";
import { SURPLUS, type AttemptOutcome, type HeldAttempt, type Lease } from "@holdfast/contract";
import { assertNever } from "@holdfast/runtime";
import { Attempt } from "./attempt.ts";
import type { AttemptDeps } from "./attempt-deps.ts";
import { released, STOPPED_UNRENEWED, type StopReason } from "./outcome.ts";
import type { Instance } from "./instance.ts";
import { slept, WAIT_OVER } from "./pause.ts";
import type { Reporter } from "./reporter.ts";
import { decideWants, RUNS_REMEMBERED } from "./wants.ts";
import { createWarmth } from "./warmth.ts";

/** What the loop is made of: what its attempts need, and where outcomes go. */
export interface InstanceLoopDeps extends Omit<
  AttemptDeps,
  "ending" | "instance" | "onChange" | "reserve" | "restart" | "uploaded" | "warmth"
> {
  readonly reporter: Reporter;
  /** Capacity or the held attempts have changed. */
  readonly onChange: () => void;
}

/** Channels of evidence that come from a run, and so concern the instance too. */
const RUN_CHANNELS: ReadonlySet<string> = new Set([
  "collection",
  "execution",
  "history",
  "restart",
  "stall",
]);

/** Runs the leases of one instance; see the header. */
export class InstanceLoop {
  readonly #deps: InstanceLoopDeps;
  readonly #attempts = new Map<string, Attempt>();
  readonly #runs = new Set<Promise<void>>();
  readonly #uploaded = new Set<string>();
  readonly #warmth = createWarmth();
  readonly #changeWaiters = new Set<() => void>();
  #instance: Instance | undefined;
  readonly #recentRunsMs: number[] = [];
  #hasJustFailed = false;
  #lastRunEndedAt = -Infinity;
  #isWatchingSurplus = false;
  #isDraining = false;
  /** `overdue`: what ran was waited for long enough, and may be ended with its process. */
  #pause: "no" | "overdue" | "paused" = "no";
  /** Those that wait for a restart: nothing of theirs is on the instance. */
  readonly #awaitingRestart = new Set<Attempt>();
  /** The one of them for which the instance is being restarted. */
  #restartedFor: Attempt | undefined;
  /** Resumed before another process is well: a restart that was planned, if it is well by then. */
  #awaitedBackUntil = -Infinity;
  /** Restarts that went well. */
  #restarts = 0;

  constructor(deps: InstanceLoopDeps) {
    this.#deps = deps;
  }

  /** Binds the instance that the loop works on; once, before anything else. */
  bind(instance: Instance): void {
    this.#instance = instance;
  }

  /** A prompt of ours is in ComfyUI, or about to be. What waits for the end of a restart is in no way of it. */
  isBusy(): boolean {
    return this.#occupying().some((attempt) => !this.#isBeingRestartedFor(attempt));
  }

  wants(): number {
    const facts = this.#instance?.facts();
    const occupied = this.#occupying().length;
    return decideWants(
      {
        isHealthy: facts?.state === "healthy",
        isReady: facts?.isReady === true,
        isDraining: this.#isDraining || this.#pause !== "no",
        hasJustFailed: this.#hasJustFailed,
        isReserved: [...this.#attempts.values()].some((attempt) => attempt.isReserving),
        occupied,
        collecting: this.#attempts.size - occupied,
        spoolHasRoom: this.#deps.spool.hasRoom(),
        recentRunsMs: this.#recentRunsMs,
        stillMs: this.#stillMs(),
      },
      this.#deps.limits,
    );
  }

  held(): readonly HeldAttempt[] {
    return [...this.#attempts.values()].flatMap((attempt) => attempt.held() ?? []);
  }

  /** Takes a lease; false when it was known already. */
  assign(lease: Lease): boolean {
    const known = this.#attempts.get(lease.attemptId);
    if (known !== undefined) {
      known.adopt(lease);
      // Granted again while we take it out: given back at once, or we would be told for ever.
      if (known.stopReason !== undefined && known.stopReason !== "left") this.#giveBack(known);
      return false;
    }
    const instance = this.#instance;
    if (instance === undefined) return false;
    const restarts = this.#restarts;
    const attempt: Attempt = new Attempt(lease, {
      ...this.#deps,
      instance,
      uploaded: this.#uploaded,
      warmth: this.#warmth,
      ending: () => this.#ending(),
      reserve: () => this.#reserve(attempt),
      restart: (restart, signal) => this.#restart(attempt, restarts, restart, signal),
      onChange: () => this.#changed(),
    });
    this.#attempts.set(lease.attemptId, attempt);
    const run = this.#runToReport(attempt, instance).catch((err: unknown) => {
      this.#attempts.delete(lease.attemptId);
      this.#deps.log.error({ attemptId: lease.attemptId, err }, "attempt could not be ended");
    });
    this.#runs.add(run);
    this.#watchSurplus();
    void run.finally(() => this.#runs.delete(run));
    return true;
  }

  /** False when there was nothing to stop. */
  stop(attemptId: string, reason: StopReason): boolean {
    const attempt = this.#attempts.get(attemptId);
    return attempt !== undefined && this.#stop(attempt, reason);
  }

  /** The trust in a lease ended: what ComfyUI still has of it is stopped, silently. */
  distrust(attemptId: string): void {
    const attempt = this.#attempts.get(attemptId);
    // What ComfyUI has finished can be brought home: the report is fenced by its epoch.
    if (attempt?.isOccupying === true) this.#stop(attempt, "lost");
  }

  onSocket(event: SocketEvent): void {
    for (const attempt of this.#attempts.values()) attempt.onSocket(event);
  }

  /** Another process answers, or none. */
  onReplaced(reason: string): void {
    this.#uploaded.clear();
    this.#warmth.forget();
    const posted = this.#occupying()
      .filter((attempt) => attempt.postedAt !== undefined)
      .sort((a, b) => (a.postedAt ?? 0) - (b.postedAt ?? 0));
    // L1: a prompt that kills its process at once may die unheard, so the first in line ran.
    const blamed = posted.find((attempt) => attempt.hasStarted) ?? posted[0];
    // Should the same process answer again after all, nobody waits for these prompts any more.
    for (const attempt of posted) this.#instance?.abandon(attempt.promptId);
    const isPlanned = this.#pause === "overdue";
    for (const attempt of this.#attempts.values()) {
      // The restart that it waits for is the end of a process on which it had nothing.
      if (this.#isBeingRestartedFor(attempt)) continue;
      attempt.instanceDied({ reason, isBlamed: attempt === blamed && !isPlanned, isPlanned });
    }
    this.#changed();
  }

  /** To be called when the instance's state may have changed. */
  onInstanceChange(): void {
    const state = this.#instance?.facts().state;
    if (state === "unhealthy") this.#displaceStaged();
    if (state === "healthy") this.#awaitedBackUntil = -Infinity;
    this.#changed();
  }

  /**
   * Whether its process may go, and is away until another is well, without anything being lost. What was
   * restarted and is not well in the time of a restart is lost all the same.
   */
  isEndingOnPurpose(): boolean {
    const isAwaitedBack = this.#deps.clock.elapsed() < this.#awaitedBackUntil;
    return this.#isDraining || this.#pause !== "no" || isAwaitedBack;
  }

  /** No more work; what is staged is given back. */
  drain(): void {
    this.#isDraining = true;
    for (const attempt of this.#occupying()) if (!attempt.hasStarted) this.#stop(attempt, "drain");
    this.#changed();
  }

  /**
   * Takes no more work, gives back what is staged, and waits until nothing of ours is on the instance.
   * False when that took longer than `withinMs`, or the signal was aborted; it stays paused all the same.
   */
  async pause(withinMs: number, signal: AbortSignal): Promise<boolean> {
    this.#pause = "paused";
    this.#displaceStaged();
    this.#changed();
    const patience = new AbortController();
    const onAbort = (): void => patience.abort(WAIT_OVER);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    const late = slept(this.#deps.clock, withinMs, patience.signal).then(() => "late" as const);
    try {
      while (this.#isOccupied()) {
        if ((await Promise.race([this.#nextChange(), late])) !== "late") continue;
        if (!signal.aborted && this.#isPaused()) this.#pause = "overdue";
        return false;
      }
      return true;
    } finally {
      patience.abort(WAIT_OVER);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Takes work again, as soon as it can. */
  resume(): void {
    if (this.#pause !== "no" && this.#instance?.facts().state !== "healthy") {
      this.#awaitedBackUntil = this.#deps.clock.elapsed() + this.#deps.limits.restartMs;
    }
    this.#pause = "no";
    this.#changed();
  }

  /** Resolves when every attempt has ended and is reported. */
  async idle(): Promise<void> {
    while (this.#runs.size > 0) await Promise.all(this.#runs);
  }

  /** Ends everything without touching ComfyUI, for the next agent to resume. */
  async leave(): Promise<void> {
    this.#isDraining = true;
    for (const attempt of this.#attempts.values()) this.#stop(attempt, "left");
    await this.idle();
  }

  #occupying(): Attempt[] {
    return [...this.#attempts.values()].filter((attempt) => attempt.isOccupying);
  }

  #changed(): void {
    this.#wakeWaiters();
    this.#deps.onChange();
  }

  #nextChange(): Promise<void> {
    return new Promise((resolve) => this.#changeWaiters.add(resolve));
  }

  #wakeWaiters(): void {
    for (const resolve of this.#changeWaiters) resolve();
    this.#changeWaiters.clear();
  }

  /** Ends its waiting for the instance too. */
  #stop(attempt: Attempt, reason: StopReason): boolean {
    const isStopped = attempt.stop(reason);
    if (isStopped) this.#wakeWaiters();
    return isStopped;
  }

  /** Gives back what is staged, but for what has the instance restarted: that is why it is not well. */
  #displaceStaged(): void {
    for (const attempt of this.#occupying()) {
      if (!attempt.hasStarted && !this.#isBeingRestartedFor(attempt))
        this.#stop(attempt, "displaced");
    }
  }

  /** A lease may have been on its way when it began: it goes back at once. */
  #ending(): "displaced" | "drain" | undefined {
    if (this.#isDraining) return "drain";
    return this.#pause === "no" ? undefined : "displaced";
  }

  /** Somebody may have resumed meanwhile. */
  #isPaused(): boolean {
    return this.#pause !== "no";
  }

  /** Prompts or files of ours are on the instance, whose process must not end now. */
  #isOccupied(but?: Attempt): boolean {
    return [...this.#attempts.values()].some(
      (attempt) =>
        attempt !== but &&
        !this.#awaitingRestart.has(attempt) &&
        (attempt.isOccupying || attempt.isCollecting),
    );
  }

  /** L3: looks after what is staged deep, until nothing is. */
  #watchSurplus(): void {
    const { clock, limits } = this.#deps;
    if (this.#isWatchingSurplus || this.#occupying().length <= limits.slotsPerInstance) return;
    this.#isWatchingSurplus = true;
    const look = (): void => {
      this.#isWatchingSurplus = false;
      if (this.#stillMs() >= limits.surplusMs) this.#stopSurplus();
      else this.#watchSurplus();
    };
    clock.sleep(Math.max(1, limits.surplusMs - this.#stillMs())).then(look, () => undefined);
  }

  /** For how long what ComfyUI has of ours has run, or has waited since something of ours last ran. */
  #stillMs(): number {
    const now = this.#deps.clock.elapsed();
    const occupying = this.#occupying();
    const running = occupying.flatMap((attempt) => attempt.startedAt ?? []);
    if (running.length > 0) return now - Math.min(...running);
    const posted = occupying.flatMap((attempt) => attempt.postedAt ?? []);
    if (posted.length === 0) return 0;
    return now - Math.max(this.#lastRunEndedAt, Math.min(...posted));
  }

  #stopSurplus(): void {
    const staged = this.#occupying()
      .filter((attempt) => !attempt.hasStarted && attempt.stopReason === undefined)
      .sort((a, b) => (a.postedAt ?? Infinity) - (b.postedAt ?? Infinity));
    const kept = this.#deps.limits.slotsPerInstance - 1;
    for (const attempt of staged.slice(kept)) this.#stop(attempt, SURPLUS);
  }

  /** L2: waits until the attempt is alone in ComfyUI's queue, as far as that is ours. */
  async #reserve(own: Attempt): Promise<void> {
    // Its memory is about to be as free as can be, and each would wait for the other.
    if (this.#awaitingRestart.size > 0) this.#stop(own, "displaced");
    // Whoever has been stopped must stop nobody else.
    if (own.stopReason !== undefined) return;
    const others = (): Attempt[] => this.#occupying().filter((attempt) => attempt !== own);
    for (const other of others()) if (!other.hasStarted) this.#stop(other, "displaced");
    while (others().length > 0 && own.stopReason === undefined) await this.#nextChange();
  }

  /** L2, L6: see {@link AttemptDeps.restart}; `restartsBefore` were over when the attempt came. */
  async #restart(
    own: Attempt,
    restartsBefore: number,
    restart: () => Promise<string | undefined>,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const wake = (): void => this.#wakeWaiters();
    signal.addEventListener("abort", wake, { once: true });
    this.#awaitingRestart.add(own);
    this.#changed();
    for (const other of this.#occupying()) {
      if (other !== own && !other.hasStarted && !asksForRestart(other))
        this.#stop(other, "displaced");
    }
    try {
      // Aborted when its process died too: whatever the others still bring home, it has nothing to wait for.
      while (!signal.aborted && own.stopReason === undefined && this.#restarts === restartsBefore) {
        const [first] = this.#awaitingRestart;
        if (first === own && !this.#isOccupied(own)) {
          return await this.#restartNow(own, restart);
        }
        await this.#nextChange();
      }
      return undefined;
    } finally {
      signal.removeEventListener("abort", wake);
      this.#awaitingRestart.delete(own);
      this.#changed();
    }
  }

  async #restartNow(
    own: Attempt,
    restart: () => Promise<string | undefined>,
  ): Promise<string | undefined> {
    this.#restartedFor = own;
    try {
      const failure = await restart();
      if (failure === undefined) this.#restarts += 1;
      return failure;
    } finally {
      this.#restartedFor = undefined;
    }
  }

  /** The instance is being restarted, for this attempt or for others with it. */
  #isBeingRestartedFor(attempt: Attempt): boolean {
    return this.#restartedFor !== undefined && this.#awaitingRestart.has(attempt);
  }

  async #runToReport(attempt: Attempt, instance: Instance): Promise<void> {
    const { failpoints, reporter, log } = this.#deps;
    const { attemptId, jobId } = attempt.lease;
    const outcome = await attempt.run();
    if (attempt.runMs !== undefined) {
      this.#lastRunEndedAt = this.#deps.clock.elapsed();
      this.#recentRunsMs.push(attempt.runMs);
      if (this.#recentRunsMs.length > RUNS_REMEMBERED) this.#recentRunsMs.shift();
    }
    this.#changed();
    if (outcome !== undefined) {
      this.#judge(attempt, outcome, instance);
      const level = outcome.kind === "succeeded" ? "debug" : "warn";
      log[level]({ attemptId, jobId, outcome: outcome.kind }, "attempt ended");
      await failpoints.hit("agent.before-report");
      const answer = await reporter.send(attempt.report(outcome), (hashes) =>
        attempt.collector.putAgain(hashes),
      );
      if (answer !== "kept") {
        await failpoints.hit("agent.after-report");
        attempt.forget();
      }
    }
    attempt.letGo();
    this.#attempts.delete(attemptId);
    await attempt.collector.release();
    this.#changed();
  }

  /** What an outcome says of the instance. */
  #judge(attempt: Attempt, outcome: AttemptOutcome, instance: Instance): void {
    switch (outcome.kind) {
      case "succeeded":
        this.#hasJustFailed = false;
        instance.prove();
        return;
      case "failed":
        // What it said to have may be gone.
        instance.doubtInventory();
        // A graph that was refused says nothing about the instance.
        if (!RUN_CHANNELS.has(outcome.evidence.channel)) return;
        break;
      case "stalled":
      case "instance_died":
        break;
      case "interrupted":
      case "released":
        return;
      default:
        assertNever(outcome);
    }
    this.#hasJustFailed = true;
    // A prompt that is staged already proves as much as a check would.
    if (this.#occupying().every((other) => other === attempt)) instance.demandCheck();
  }

  #giveBack(attempt: Attempt): void {
    const report = attempt.report(released(STOPPED_UNRENEWED));
    this.#deps.reporter
      .send(report, () => Promise.resolve(false))
      .catch((err: unknown) => this.#deps.log.error({ err }, "attempt could not be given back"));
  }
}

/** It will wait for a restart too, and has brought nothing to the instance. */
function asksForRestart({ lease }: Attempt): boolean {
  return lease.before === "restart_instance" && lease.mode === "fresh";
}
