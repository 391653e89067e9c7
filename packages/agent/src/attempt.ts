/**
 * One attempt, from its lease to its outcome (DESIGN §3): prepare → POST → watch → collect.
 *
 * A1  A prompt is posted only after a look-up when it may have been posted before (F1).
 * A2  What ComfyUI may hold is taken out before the slot is free, unless nobody may touch it.
 * A3  Only history, read after the run, makes a success, and only when every promised output is stored.
 * A4  After `lost` and `left` nothing is reported: somebody else owns the job, or will resume it.
 */
import type { SocketEvent } from "@holdfast/comfyui";
import {
  promisedOutputs,
  type Graph,
  type HistoryEntry,
  type PromisedOutput,
} from "@holdfast/comfyui/protocol";
import type { AttemptOutcome, AttemptReport, HeldAttempt, Lease } from "@holdfast/contract";
import { assertNever } from "@holdfast/runtime";
import type { AttemptDeps } from "./attempt-deps.ts";
import { Checkpoints } from "./checkpoints.ts";
import { Collector } from "./collect.ts";
import { toEvidence, type EvidenceTiming } from "./evidence.ts";
import { freeMemory } from "./free-memory.ts";
import {
  died,
  Ended,
  failed,
  finiteOf,
  outcomeOfDeath,
  outcomeOfRun,
  released,
  stalled,
  STOPPED_UNRENEWED,
  tookTooLong,
  type Death,
  type StopReason,
} from "./outcome.ts";
import { followIf } from "./pause.ts";
import { postPrompt } from "./post.ts";
import { forgetUploads } from "./place-input.ts";
import { prepare } from "./prepare.ts";
import { restartFor } from "./restart-instance.ts";
import { findAgain } from "./resume.ts";
import { takeOut } from "./take-out.ts";
import { missingEvidence } from "./verify.ts";
import { PromptWatch } from "./watch.ts";

/** One attempt; see the header. Events of its prompt are brought to it by the instance's loop. */
export class Attempt {
  #lease: Lease;
  readonly #deps: AttemptDeps;
  readonly #collector: Collector;
  readonly #checkpoints: Checkpoints;
  /** Ends waiting, preparing and watching, on a stop or on the instance's death. */
  readonly #abort = new AbortController();
  /** Ends everything, the collecting too, on a stop. */
  readonly #stopped = new AbortController();
  readonly #timings: Record<string, number> = {};
  readonly #begunAt: number;
  #promptId: string;
  #phase: "preparing" | "posting" | "posted" | "collecting" | "ended" = "preparing";
  #watch: PromptWatch | undefined;
  #postedAt: number | undefined;
  #stopReason: StopReason | undefined;
  #death: Death | undefined;
  #promised: readonly PromisedOutput[] = [];
  #nodesTotal: number;
  #isTakenOut = false;
  #isLetGo = false;

  constructor(lease: Lease, deps: AttemptDeps) {
    this.#lease = lease;
    this.#deps = deps;
    this.#promptId = lease.promptId;
    this.#begunAt = deps.clock.elapsed();
    this.#nodesTotal = Object.keys(lease.graph).length;
    const { client } = deps.instance;
    const { signal } = this.#stopped;
    const isGone = (): boolean => this.#death !== undefined;
    this.#collector = new Collector({ ...deps, lease, client, signal, isGone });
    this.#checkpoints = new Checkpoints({
      ...deps,
      lease: () => this.#lease,
      client,
      progress: () => ({
        percent: this.held()?.progress?.percent ?? 0,
        afterMs: this.#since(this.startedAt ?? deps.clock.elapsed()),
      }),
      stopped: signal,
      isGone,
    });
  }

  get lease(): Lease {
    return this.#lease;
  }
  get promptId(): string {
    return this.#promptId;
  }
  get collector(): Collector {
    return this.#collector;
  }
  get stopReason(): StopReason | undefined {
    return this.#stopReason;
  }
  /** ComfyUI has executed something of it, or is about to have. */
  get hasStarted(): boolean {
    return this.startedAt !== undefined;
  }
  /** Monotonic instant from which on it ran; undefined before it. */
  get startedAt(): number | undefined {
    return this.#watch?.state.startedAt;
  }
  /** It is in ComfyUI's queue, or may be: it takes one of the instance's slots. */
  get isOccupying(): boolean {
    if (this.#phase === "collecting" || this.#phase === "ended") return this.#isBeingTakenOut();
    return this.#watch?.state.phase !== "over" || this.#isBeingTakenOut();
  }
  /** Monotonic instant of its POST; undefined before it. */
  get postedAt(): number | undefined {
    return this.#postedAt;
  }
  /** How long ComfyUI ran it, in ms. */
  get runMs(): number | undefined {
    return this.#timings["executeMs"];
  }
  get isReserving(): boolean {
    return this.#lease.before !== "nothing" && this.#phase === "preparing";
  }
  /** Files of it are on their way. */
  get isCollecting(): boolean {
    return this.#phase !== "ended" && this.#watch?.state.phase === "over";
  }

  /** A newer grant of the same attempt to this agent: writes carry its epoch from now on. */
  adopt(lease: Lease): void {
    this.#lease = { ...this.#lease, leaseEpoch: lease.leaseEpoch, ttlMs: lease.ttlMs };
  }

  /** What the control plane is told of it; undefined once it is not ours to speak of. */
  held(): HeldAttempt | undefined {
    if (this.#stopReason !== undefined || this.#isLetGo) return undefined;
    const { attemptId, jobId, leaseEpoch } = this.#lease;
    const watch = this.#watch?.state;
    const isOver =
      this.#phase === "collecting" || this.#phase === "ended" || watch?.phase === "over";
    const phase = isOver ? "collecting" : this.hasStarted ? "running" : "staged";
    const progress = this.#watch?.progress(this.#nodesTotal) ?? null;
    return { attemptId, jobId, leaseEpoch, phase, progress };
  }

  report(outcome: AttemptOutcome): AttemptReport {
    const { attemptId, jobId, leaseEpoch } = this.#lease;
    this.#noteExecuted();
    // A prompt that is blamed for a death has run, though it may have died unheard.
    const started = this.hasStarted || this.#death?.isBlamed === true;
    const timings = finiteOf(this.#timings);
    return { attemptId, jobId, leaseEpoch, outcome, started, timings };
  }

  /** Its report is answered: there is nothing left to hold. */
  letGo(): void {
    this.#isLetGo = true;
  }

  /** Stops it for a reason from outside; the first reason counts. False when there was nothing to stop. */
  stop(reason: StopReason): boolean {
    if (this.#stopReason !== undefined || this.#phase === "ended") return false;
    this.#stopReason = reason;
    this.#stopped.abort(new Ended(reason));
    this.#abort.abort(new Ended(reason));
    this.#watch?.wake();
    return true;
  }

  /** The process that held its prompt is gone. What is collected already still counts. */
  instanceDied(death: Death): void {
    if (this.#death !== undefined || this.#phase === "ended") return;
    this.#death = death;
    if (this.#phase !== "collecting") this.#abort.abort(new Ended(death.reason));
    this.#watch?.wake();
  }

  /** An event of the instance's socket. */
  onSocket(event: SocketEvent): void {
    this.#watch?.onSocket(event);
  }

  /** Runs it to its end. Undefined: nothing is to be reported (A4). Never rejects. */
  async run(): Promise<AttemptOutcome | undefined> {
    let outcome: AttemptOutcome | undefined;
    try {
      outcome = await this.#execute();
    } catch (error) {
      outcome = await this.#afterThrow(error);
    }
    outcome = await this.#checkpoints.conclude(outcome);
    if (this.#stopReason !== undefined && !this.#isTakenOut) outcome = await this.#afterStop();
    // What ran may have failed while it loaded.
    if (this.hasStarted && outcome?.kind !== "succeeded") this.#deps.warmth.forget();
    this.#phase = "ended";
    this.#timings["totalMs"] = this.#since(this.#begunAt);
    return outcome;
  }

  /** Deletes its entry from ComfyUI's history, once its outcome is recorded. */
  forget(): void {
    if (this.#postedAt === undefined && this.#lease.mode === "fresh") return;
    this.#deps.instance.broom.sweep(this.#promptId, () => {
      void this.#deps.failpoints.hit("agent.history-deleted");
    });
  }

  async #execute(): Promise<AttemptOutcome | undefined> {
    const { failpoints } = this.#deps;
    await failpoints.hit("agent.lease-received");
    if (this.#lease.mode === "resume") {
      const resumed = await this.#resume();
      if (resumed !== undefined) return resumed;
    }
    if (this.#watch === undefined) {
      const ending = this.#deps.ending();
      if (ending !== undefined) return released(ending);
      const refused = await this.#prepareAndPost();
      if (refused !== undefined) return refused;
    }
    return this.#watchAndConclude();
  }

  /** An outcome when it cannot go on; a watch when ComfyUI has it, or neither when it never had. */
  async #resume(): Promise<AttemptOutcome | undefined> {
    const { instance, clock } = this.#deps;
    if (instance.stopped.has(this.#promptId)) return released(STOPPED_UNRENEWED);
    const again = await findAgain(this.#promptId, { ...this.#deps, signal: this.#abort.signal });
    if (again.kind === "died") return died(again.reason);
    if (again.kind === "absent") return undefined;
    const { objectInfo } = instance.inventory() ?? {};
    this.#promised = promisedOutputs(this.#lease.graph as Graph, objectInfo);
    this.#postedAt = clock.elapsed();
    this.#follow(false).noteFound(again.found);
    return undefined;
  }

  async #prepareAndPost(): Promise<AttemptOutcome | undefined> {
    const { instance, clock, failpoints, limits } = this.#deps;
    const { signal } = this.#abort;
    if (this.#lease.before === "restart_instance") {
      const failure = await this.#restart();
      if (failure !== undefined) return failed(toEvidence("restart", failure));
    }
    for (let round = 1; ; round += 1) {
      const known = await instance.waitForInventory(limits.inventoryWaitMs, signal);
      // The attempt has not run, and the instance takes no other until they are known.
      if (known === undefined) return released("the instance does not tell its node classes");
      const prepared = await prepare(this.#lease, known.objectInfo, {
        ...this.#deps,
        client: instance.client,
        signal,
      });
      if (prepared.kind === "failed") return failed(prepared.evidence);
      this.#promised = prepared.promised;
      this.#nodesTotal = Object.keys(prepared.graph).length;
      const { resumedFrom, unusable } = prepared.checkpoints;
      if (resumedFrom.length + unusable.length > 0) this.#checkpoints.note(prepared.checkpoints);
      this.#timings["prepareMs"] = this.#since(this.#begunAt);
      await failpoints.hit("agent.prepared");
      if (this.#lease.before === "free_memory") {
        await this.#deps.reserve();
        const freed = await freeMemory({
          client: instance.client,
          clock,
          withinMs: limits.freeMemoryMs,
          signal,
        });
        this.#timings["freedBytes"] = freed;
        this.#deps.warmth.forget();
      }
      signal.throwIfAborted();
      await failpoints.hit("agent.before-post");
      this.#phase = "posting";
      this.#postedAt = clock.elapsed();
      // Listening before the POST: events of a short prompt come before its answer (F11).
      const watch = this.#follow(true);
      const posted = await postPrompt(this.#lease, prepared, {
        instance,
        client: instance.client,
        clock,
        // Not cut off by a stop: a POST that is on its way can only be taken out afterwards.
        signal: this.#postSignal(),
      });
      await failpoints.hit("agent.after-post");
      if (posted.kind === "posted") {
        this.#promptId = posted.promptId;
        watch.rename(posted.promptId);
        this.#phase = "posted";
        this.#deps.onChange();
        return undefined;
      }
      if (posted.kind === "refused") {
        if (posted.isQueued) await this.#takeOut();
        return failed(posted.evidence);
      }
      forgetUploads(this.#lease, this.#deps.uploaded);
      if (round > 1) return failed(posted.evidence);
    }
  }

  /** Before anything is brought to the instance; why it could not be restarted, if it could not. */
  async #restart(): Promise<string | undefined> {
    const { signal } = this.#abort;
    signal.throwIfAborted();
    const failure = await this.#deps.restart(
      () => restartFor(this.#lease, { ...this.#deps, signal }),
      signal,
    );
    signal.throwIfAborted();
    return failure;
  }

  /** Aborted by a death and by `left`, where the prompt must not or cannot be followed. */
  #postSignal(): AbortSignal {
    const isCut = (): boolean => this.#death !== undefined || this.#stopReason === "left";
    return followIf(this.#abort.signal, isCut);
  }

  #follow(isOwnClient: boolean): PromptWatch {
    this.#watch ??= new PromptWatch({
      ...this.#deps,
      lease: this.#lease,
      promptId: this.#promptId,
      isOwnClient,
      onShown: (nodeId, output) => this.#show(nodeId, output),
      onPixels: (nodeId, bytes) => this.#collector.showPixels(nodeId, bytes),
      onPhase: () => this.#deps.onChange(),
    });
    return this.#watch;
  }

  #show(nodeId: string, output: unknown): void {
    if (!this.#checkpoints.show(nodeId, output)) this.#collector.show(nodeId, output);
  }

  async #watchAndConclude(): Promise<AttemptOutcome | undefined> {
    const end = await this.#follow(true).untilEnd(this.#abort.signal);
    switch (end.kind) {
      case "finished":
        return this.#conclude(end.entry);
      case "vanished":
        if (!this.hasStarted) return released("removed from the instance's queue by somebody");
        this.#noteExecuted();
        return failed(
          toEvidence("history", "The prompt vanished from ComfyUI's queue and history.", {
            timing: this.#timing(),
          }),
          (await this.#collector.settle()).outputs,
        );
      case "waited":
        await this.#takeOut();
        return released("waited too long behind other prompts");
      case "stalled":
      case "limit":
        return this.#giveUp(end.kind);
      default:
        return assertNever(end);
    }
  }

  /** A run with an end in the history. */
  async #conclude(entry: HistoryEntry): Promise<AttemptOutcome> {
    this.#noteExecuted();
    if (entry.startedAt !== undefined && entry.endedAt !== undefined) {
      this.#timings["executeMs"] = entry.endedAt - entry.startedAt;
    }
    this.#phase = "collecting";
    this.#deps.onChange();
    const begun = this.#deps.clock.elapsed();
    await this.#deps.failpoints.hit("agent.finished");
    for (const [nodeId, output] of Object.entries(entry.outputs)) {
      this.#show(nodeId, output);
    }
    const collection = await this.#collector.settle();
    this.#timings["collectMs"] = this.#since(begun);
    return outcomeOfRun({
      entry,
      promised: this.#promised,
      collection,
      timing: this.#timing(),
      death: this.#death,
    });
  }

  /** A run that is too long or shows no sign: interrupted, and the instance judged by the answer. */
  async #giveUp(why: "limit" | "stalled"): Promise<AttemptOutcome> {
    const { instance, limits, log } = this.#deps;
    const timing = this.#timing();
    const percent = this.held()?.progress?.percent ?? null;
    const { attemptId } = this.#lease;
    log.warn({ attemptId, why, ...timing }, "attempt does not come to an end, interrupting it");
    const cancelled = await instance.client.cancelPrompt(this.#promptId, {
      confirmWithinMs: limits.stopConfirmMs,
      signal: this.#abort.signal,
    });
    this.#noteExecuted();
    if (cancelled.kind === "finished") return this.#conclude(cancelled.entry);
    this.#isTakenOut = true;
    const isInterruptConfirmed = cancelled.kind === "cancelled";
    if (!isInterruptConfirmed) {
      instance.markDead(this.#promptId, "a prompt neither moves nor can be interrupted");
    }
    const nodeId = this.#watch?.state.nodeId ?? null;
    const facts = { nodeId, timing, percent, isInterruptConfirmed };
    // What cannot be interrupted gives no files either.
    const outputs = isInterruptConfirmed ? (await this.#collector.settle()).outputs : [];
    if (why === "stalled") return stalled({ ...facts, outputs });
    return tookTooLong({ ...facts, limitMs: this.#lease.executionLimitMs, outputs });
  }

  async #afterThrow(error: unknown): Promise<AttemptOutcome | undefined> {
    if (this.#stopReason !== undefined) return undefined;
    this.#noteExecuted();
    const death = this.#death;
    if (death !== undefined) {
      if (this.#isWhole()) {
        // F30: everything was fetched before the process died.
        const collection = await this.#collector.settle();
        if (missingEvidence(this.#promised, undefined, collection) === undefined) {
          return { kind: "succeeded", outputs: [...collection.outputs] };
        }
      }
      return outcomeOfDeath(death, this.hasStarted);
    }
    const { attemptId } = this.#lease;
    this.#deps.log.error({ attemptId, err: error }, "attempt broke");
    await this.#takeOut();
    const message = error instanceof Error ? error.message : String(error);
    return failed(toEvidence("log", `The agent could not go on: ${message}`));
  }

  /** Every promised output node has shown what it made. */
  #isWhole(): boolean {
    const shown = this.#watch?.state.shown;
    if (shown === undefined || this.#promised.length === 0) return false;
    return this.#promised.every(({ nodeId }) => shown.has(nodeId));
  }

  async #afterStop(): Promise<AttemptOutcome | undefined> {
    const reason = this.#stopReason;
    if (reason === undefined || reason === "left") return undefined;
    const hadStarted = this.hasStarted;
    await this.#takeOut();
    this.#noteExecuted();
    switch (reason) {
      case "lost":
        return undefined;
      case "cancelled":
        return { kind: "interrupted", reason: "cancel" };
      case "displaced":
      case "drain":
      case "held":
      case "surplus":
        return hadStarted ? { kind: "interrupted", reason: "drain" } : released(reason);
      default:
        return assertNever(reason);
    }
  }

  /** A2: out of ComfyUI's queue, confirmed, or known to be stuck there. */
  async #takeOut(): Promise<void> {
    this.#isTakenOut = true;
    if (this.#postedAt === undefined && this.#lease.mode === "fresh") return;
    if (this.#death !== undefined || this.#deps.instance.isGone()) return;
    await takeOut(this.#promptId, this.#deps);
  }

  #isBeingTakenOut(): boolean {
    return this.#stopReason !== undefined && this.#phase !== "ended";
  }

  /** How long it waited and ran, at the first end of the run that is seen, however it ends. */
  #noteExecuted(): void {
    const startedAt = this.#watch?.state.startedAt;
    if (startedAt === undefined || this.#timings["executeMs"] !== undefined) return;
    this.#timings["executeMs"] = this.#since(startedAt);
    Object.assign(this.#timings, this.#watch?.silences());
    this.#timings["queueMs"] = Math.max(0, startedAt - (this.#postedAt ?? this.#begunAt));
  }

  #timing(): EvidenceTiming {
    const elapsedMs = this.#since(this.#begunAt);
    const lastSignAt = this.#watch?.state.lastSignAt;
    return lastSignAt === undefined
      ? { elapsedMs }
      : { elapsedMs, sinceLastSignMs: this.#since(lastSignAt) };
  }

  #since(instant: number): number {
    return Math.round((this.#deps.clock.elapsed() - instant) * 10) / 10;
  }
}
