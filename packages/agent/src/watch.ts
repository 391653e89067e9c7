import type { ComfyClient, PromptLookup, SocketEvent } from "@holdfast/comfyui";
import type { Graph } from "@holdfast/comfyui/protocol";
import type { HeldAttempt, Lease } from "@holdfast/contract";
import type { Clock, Failpoints } from "@holdfast/runtime";
import type { Instance } from "./instance.ts";
import type { AgentLimits } from "./limits.ts";
import { createWaker, type Waker } from "./pause.ts";
import { decideStall, limitsOf } from "./stall.ts";
import { PIXELS_OVER_SOCKET } from "./verify.ts";
import { modelsOf, type Warmth } from "./warmth.ts";
import {
  beginWatch,
  isSocketDeaf,
  nextWatchStep,
  progressOf,
  type WatchEnd,
  type WatchEvent,
  type WatchState,
} from "./watch-state.ts";

/** How a watch ended: with the run, or because it must not go on. */
export type WatchResult = WatchEnd | { readonly kind: "limit" | "stalled" | "waited" };

/** What a watch is made of. */
export interface PromptWatchDeps {
  readonly lease: Pick<Lease, "executionLimitMs" | "graph" | "stall">;
  readonly promptId: string;
  /**
   * Posted under this process's client id. Events of a prompt that an earlier life posted go to a
   * socket that is gone: it is followed by looking alone.
   */
  readonly isOwnClient: boolean;
  readonly instance: Pick<
    Instance,
    "isSocketOpen" | "noteTrouble" | "observe" | "refreshSocket"
  > & {
    readonly client: Pick<ComfyClient, "history" | "lookUp">;
  };
  readonly clock: Clock;
  readonly limits: AgentLimits;
  readonly failpoints: Failpoints;
  readonly onShown: (nodeId: string, output: unknown) => void;
  readonly onPixels: (nodeId: string, bytes: Uint8Array) => void;
  /** It began to run, or ComfyUI is done with it. */
  readonly onPhase: () => void;
  /** Which models the process has in memory. */
  readonly warmth: Pick<Warmth, "begin" | "end">;
}

/** Follows one posted prompt to its end: the shell around `watch-state.ts`. */
export class PromptWatch {
  readonly begunAt: number;
  readonly #deps: PromptWatchDeps;
  readonly #waker: Waker;
  #state: WatchState;
  #promptId: string;
  #hold: Promise<void> | undefined;
  #lookedAfterRun = false;
  #models: string | undefined;
  #isWarm = false;

  constructor(deps: PromptWatchDeps) {
    this.#deps = deps;
    this.#promptId = deps.promptId;
    this.#waker = createWaker(deps.clock);
    this.begunAt = deps.clock.elapsed();
    const isSocketUseful = deps.isOwnClient && deps.instance.isSocketOpen();
    this.#state = beginWatch({ isSocketUseful, at: this.begunAt }, deps.limits);
  }

  get state(): WatchState {
    return this.#state;
  }

  /** How far the run is, of so many nodes, and for how long it has run; null before it runs. */
  progress(nodesTotal: number): HeldAttempt["progress"] {
    const { startedAt } = this.#state;
    if (startedAt === undefined) return null;
    const runMs = Math.max(0, this.#deps.clock.elapsed() - startedAt);
    return { ...progressOf(this.#state, nodesTotal), runMs };
  }

  /** The longest silences of the run, for its timings; nothing where a sign may not have been seen. */
  silences(): Readonly<Record<string, number>> {
    const { isSilenceKnown, hasProgressed, loadSilenceMs, stepSilenceMs } = this.#state;
    if (!isSilenceKnown) return {};
    return {
      cold: this.#isWarm ? 0 : 1,
      loadSilenceMs,
      ...(hasProgressed && { stepSilenceMs }),
    };
  }

  /** ComfyUI gave the prompt another id than ours. */
  rename(promptId: string): void {
    this.#promptId = promptId;
  }

  wake(): void {
    this.#waker.wake();
  }

  /** An event of the instance's socket; those of other prompts tell something too. */
  onSocket(event: SocketEvent): void {
    const at = this.#deps.clock.elapsed();
    switch (event.kind) {
      case "state":
        if (event.state === "connecting" || !this.#deps.isOwnClient) return;
        this.#apply({ kind: "socket", isOpen: event.state === "open", at });
        return;
      case "binary":
        this.#onFrame(event, at);
        return;
      case "message": {
        const { message } = event;
        if (message.kind === "unparsable" || !("promptId" in message)) return;
        if (message.promptId === this.#promptId) this.#apply({ kind: "message", message, at });
        else if (message.kind === "execution_start") this.#apply({ kind: "other_started", at });
      }
    }
  }

  /** What a look-up has found, here or elsewhere. */
  noteFound(found: PromptLookup): void {
    const { instance, clock } = this.#deps;
    if (found.kind === "unknown") {
      instance.noteTrouble(found.cause);
    } else {
      const inQueue = found.kind === "queued" || found.kind === "running";
      const where = inQueue ? "queue" : found.kind === "finished" ? "history" : "nowhere";
      // When another process answers, this ends the attempt through the instance's loop.
      instance.observe({ kind: "looked_up", promptId: this.#promptId, where });
    }
    this.#apply({ kind: "looked", found, at: clock.elapsed() });
  }

  /** Waits for the end of the run, looking whenever a look is due (W2). Rejects when aborted. */
  async untilEnd(signal: AbortSignal): Promise<WatchResult> {
    const { clock, limits, lease } = this.#deps;
    for (;;) {
      signal.throwIfAborted();
      await this.#takeHold();
      const state = this.#state;
      if (state.end !== undefined) return state.end;
      const now = clock.elapsed();
      const stall = decideStall(state, limitsOf(lease.stall, this.#isWarm), limits.stallFloorMs);
      const { startedAt } = state;
      const isRunning = state.phase === "running" && startedAt !== undefined;
      const limitAt = isRunning ? startedAt + lease.executionLimitMs : Infinity;
      const waitAt = state.phase === "waiting" ? this.begunAt + limits.stagedWaitMs : Infinity;
      if (now >= limitAt) return { kind: "limit" };
      if (now >= stall.stallAt) return { kind: "stalled" };
      if (now >= waitAt) return { kind: "waited" };
      if (now >= stall.refreshAt) {
        this.#refreshSocket("no sign of a running prompt");
      } else if (now >= state.lookAt) {
        await this.#look(state, signal);
      } else {
        const next = Math.min(state.lookAt, limitAt, waitAt, stall.refreshAt, stall.stallAt);
        await this.#waker.wait(next - now, signal);
      }
    }
  }

  async #look(state: WatchState, signal: AbortSignal): Promise<void> {
    const { instance } = this.#deps;
    const promptId = this.#promptId;
    if (state.phase === "over" && !this.#lookedAfterRun) {
      // W3: one call, for the entry is there when the closing event is.
      this.#lookedAfterRun = true;
      const history = await instance.client.history(promptId, signal);
      if (history.kind === "ok" && history.entry !== undefined) {
        const { entry } = history;
        const { number, executedOutputs: outputs } = entry;
        this.noteFound({ kind: "finished", promptId, number, outputs, entry });
        return;
      }
    }
    this.noteFound(await instance.client.lookUp(promptId, signal));
    if (isSocketDeaf(this.#state)) this.#refreshSocket("deaf: a prompt ran unheard");
  }

  /** It buys a silent run no time. */
  #refreshSocket(reason: string): void {
    this.#apply({ kind: "refresh_asked", at: this.#deps.clock.elapsed() });
    this.#deps.instance.refreshSocket(reason);
  }

  #apply(event: WatchEvent): void {
    const before = this.#state;
    if (before.end !== undefined) return;
    const after = nextWatchStep(before, event, this.#deps.limits);
    this.#state = after;
    if (after.shown !== before.shown) {
      for (const [nodeId, output] of after.shown) this.#deps.onShown(nodeId, output);
    }
    if (before.phase === "waiting" && after.phase !== "waiting") {
      this.#models = modelsOf(this.#deps.lease.graph);
      this.#isWarm = this.#deps.warmth.begin(this.#models);
      this.#hold = this.#deps.failpoints.hit("agent.executing");
    }
    if (before.phase !== after.phase) {
      // Before the next prompt is heard to begin. Whoever finds that it failed forgets it again; one that
      // says so itself may have had ComfyUI throw out its models, and the next one has begun by then.
      if (after.phase === "over" && !isFailure(event)) this.#deps.warmth.end(this.#models ?? "");
      this.#deps.onPhase();
    }
    if (after.lookAt < before.lookAt || after.end !== undefined) this.#waker.wake();
  }

  /** Pictures of `SaveImageWebsocket` are outputs; every other frame is a preview. */
  #onFrame(event: Extract<SocketEvent, { kind: "binary" }>, at: number): void {
    const { frame } = event;
    if (frame.kind !== "preview" || this.#state.phase !== "running") return;
    if (frame.promptId !== undefined && frame.promptId !== this.#promptId) return;
    this.#apply({ kind: "frame", at });
    const nodeId = frame.nodeId ?? this.#state.nodeId;
    if (nodeId === null || frame.imageType !== "png") return;
    const node = (this.#deps.lease.graph as Graph)[nodeId];
    if (node?.class_type !== PIXELS_OVER_SOCKET) return;
    // The frame's buffer belongs to the socket.
    this.#deps.onPixels(nodeId, Uint8Array.from(frame.image));
  }

  /** A failpoint that holds the run back, in tests only. */
  async #takeHold(): Promise<void> {
    const hold = this.#hold;
    this.#hold = undefined;
    await hold;
  }
}

function isFailure(event: WatchEvent): boolean {
  if (event.kind !== "message") return false;
  const { kind } = event.message;
  return kind === "execution_error" || kind === "execution_interrupted";
}
