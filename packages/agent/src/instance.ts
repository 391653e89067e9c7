import {
  createComfyClient,
  createComfySocket,
  type ClientTrouble,
  type ComfyClient,
  type ComfySocket,
  type SocketEvent,
} from "@holdfast/comfyui";
import {
  observeProcess,
  UNOBSERVED_PROCESS,
  versionsOf,
  type ProcessIdentity,
  type ProcessSign,
} from "@holdfast/comfyui/protocol";
import { nextUuid } from "@holdfast/runtime";
import { runDeepCheck } from "./deep-check.ts";
import { troubleText } from "./evidence.ts";
import { findOurs } from "./found-prompts.ts";
import { createHistoryBroom, type HistoryBroom } from "./history-broom.ts";
import type { InstanceDeps, InstanceFacts } from "./instance-deps.ts";
import { InstanceInventory, type KnownInventory } from "./instance-inventory.ts";
import { KeptPromise, type InventoryPromise } from "./inventory-promise.ts";
import { lookPauseMs } from "./look-pause.ts";
import { createWaker, type Waker } from "./pause.ts";
import { StoppedPrompts } from "./stopped-prompts.ts";
import { Waiters } from "./waiters.ts";

/**
 * One attached ComfyUI: its client and socket, which process it is, and whether it works. Refused,
 * slow and answering are three things: refused is the end of a process (F12), slow is borne for as
 * long as garbage collection and model loads may take (F29), and answering proves nothing until a
 * prompt has come through the queue (F26).
 */
export class Instance {
  readonly key: string;
  readonly client: ComfyClient;
  readonly broom: HistoryBroom;
  readonly stopped = new StoppedPrompts();
  /** Resolves when the instance was asked once and answered, refused or kept silent. */
  readonly contacted: Promise<void>;
  readonly #deps: InstanceDeps;
  readonly #socket: ComfySocket;
  readonly #stopping = new AbortController();
  readonly #waker: Waker;
  readonly #deadPrompts = new Set<string>();
  readonly #orphans = new Set<string>();
  readonly #inventory: InstanceInventory;
  #noteContact: (() => void) | undefined;
  #identity: ProcessIdentity = UNOBSERVED_PROCESS;
  #marker: string | undefined;
  #isMarkerChecked = false;
  #isMarkerInDoubt = false;
  #wasReplaced = false;
  #isProven = false;
  #isCheckDue = true;
  #isAnswering = false;
  #deadReason: string | undefined;
  #lastReason: string | undefined;
  #lastAnswerAt: number;
  #lastCheckAt = -Infinity;
  #idleQueueSince: number | undefined;
  #isStuck = false;
  #troubles = 0;
  #vramFreeBytes: number | null = null;
  #refreshedAt = -Infinity;
  #told = "";
  #name: string;
  #promise: KeptPromise;
  readonly #changes = new Waiters();
  #running: Promise<void> | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  /** Nothing runs before `start`. */
  constructor(deps: InstanceDeps) {
    const { clock, random, limits } = deps;
    this.#deps = deps;
    this.key = deps.url;
    this.#name = deps.name;
    this.#promise = new KeptPromise(deps.promise);
    this.#marker = deps.marker;
    this.#lastAnswerAt = clock.elapsed();
    this.#waker = createWaker(clock);
    this.contacted = new Promise((resolve) => {
      this.#noteContact = resolve;
    });
    const { transport } = deps;
    const common = { baseUrl: deps.url, clientId: nextUuid(random), clock, random, ...transport };
    this.client = createComfyClient({ ...common, timeouts: deps.timeouts });
    this.#inventory = new InstanceInventory({
      ...deps,
      key: deps.url,
      client: this.client,
      onFacts: () => this.#tell(),
      signal: this.#stopping.signal,
    });
    this.#socket = createComfySocket({ ...common, onEvent: (event) => this.#onSocket(event) });
    this.broom = createHistoryBroom({
      client: this.client,
      clock,
      limits,
      onRemoved: (promptId) => this.observe({ kind: "removed", promptId }),
    });
  }

  start(): void {
    this.#socket.start();
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.broom.stop();
    await this.#socket.stop();
    await this.#running;
    await this.client.close();
  }

  get name(): string {
    return this.#name;
  }

  /** Another name or promise, for the same address. */
  describe(given: { readonly name: string; readonly promise: InventoryPromise | undefined }): void {
    this.#name = given.name;
    this.#promise = new KeptPromise(given.promise);
    this.#tell();
  }

  facts(): InstanceFacts {
    const base = {
      inventoryDigest: this.#inventory.known()?.inventory.digest ?? null,
      vramFreeBytes: this.#vramFreeBytes,
      isReady: false,
    };
    const reason = this.#lastReason ?? null;
    if (this.#identity.isGone) return { ...base, state: "stopped", reason };
    if (this.#deadReason !== undefined) {
      return { ...base, state: "unhealthy", reason: this.#deadReason, isStuck: this.#isStuck };
    }
    if (!this.#isProven || this.#inventory.known() === undefined) {
      return { ...base, state: "starting", reason };
    }
    const isReady = this.#isAnswering && !this.#isCheckDue;
    const broken = this.#promise.brokenBy(this.#inventory.known()?.inventory);
    // It works, so it is looked at no more often than one that is well.
    if (broken !== null) {
      // What is not on the disk no other process has either.
      return { ...base, state: "unhealthy", reason: broken, isReady, isMendedByRestart: false };
    }
    return { ...base, state: "healthy", reason: this.#isAnswering ? null : reason, isReady };
  }

  inventory(): KnownInventory | undefined {
    return this.#inventory.known();
  }

  /** Resolves when node classes are known, undefined when they are not in time; rejects when aborted. */
  waitForInventory(withinMs: number, signal: AbortSignal): Promise<KnownInventory | undefined> {
    return this.#inventory.waitFor(withinMs, signal);
  }

  /** What it has is read again, soon: it has changed. */
  refreshInventory(): void {
    this.#inventory.expire();
    this.#waker.wake();
  }

  /** A failure may come of a file that has gone: looked at anew, but not for every failure. */
  doubtInventory(): void {
    if (this.#inventory.ageMs() > this.#deps.limits.inventoryDoubtMs) this.refreshInventory();
  }

  /** Takes in a sign of which process answers; another one ends every prompt of the old. */
  observe(sign: ProcessSign): void {
    const before = this.#identity.generation;
    this.#identity = observeProcess(this.#identity, sign);
    if (this.#identity.generation === before) return;
    this.#onReplaced(this.#identity.reason ?? "another process answers");
  }

  /** A call failed: looks at the instance at once. */
  noteTrouble(trouble: ClientTrouble): void {
    this.#onTrouble(trouble);
    this.#waker.wake();
  }

  /** Nothing listens where it should be. */
  isGone(): boolean {
    return this.#identity.isGone;
  }

  /** Not the process that the agent's last life knew. */
  wasReplaced(): boolean {
    return this.#wasReplaced;
  }

  isSocketOpen(): boolean {
    return this.#socket.state() === "open";
  }

  /** Makes the socket anew, in case it is deaf (F8); not more often than is worth it. */
  refreshSocket(reason: string): void {
    const { clock, limits, log } = this.#deps;
    if (clock.elapsed() - this.#refreshedAt < limits.healthEveryMs) return;
    this.#refreshedAt = clock.elapsed();
    log.info({ instance: this.key, reason }, "socket made anew");
    this.#socket.reconnect(reason);
  }

  /** Something came through the queue: it works. */
  prove(): void {
    this.#isProven = true;
    this.#isCheckDue = false;
    this.#deadReason = undefined;
    this.#isStuck = false;
    // Whatever was dead or would not stop has left the queue, or nothing could have come through.
    for (const promptId of this.#deadPrompts) this.broom.sweep(promptId);
    this.#deadPrompts.clear();
    this.#tell();
  }

  /** No work until a check has passed. */
  demandCheck(): void {
    this.#isCheckDue = true;
    this.#waker.wake();
    this.#tell();
  }

  /** Another process is to answer: it is not well until a check of that one has passed. */
  demandProof(): void {
    this.#isProven = false;
    this.#isMarkerInDoubt = true;
    this.#inventory.expire();
    this.demandCheck();
  }

  /** Whether it is well and could start a prompt within this time; rejects when aborted. */
  untilReady(withinMs: number, signal: AbortSignal): Promise<boolean> {
    const isReady = (): boolean => this.facts().state === "healthy" && this.facts().isReady;
    return this.#changes.until(isReady, { clock: this.#deps.clock, withinMs, signal });
  }

  /** It answers, but does not work (F26): unhealthy until a check passes. */
  markDead(promptId: string, reason: string): void {
    this.#deadPrompts.add(promptId);
    this.#deadReason = reason;
    this.#isCheckDue = true;
    this.#tell();
  }

  /** A prompt of ours that could not be taken out: it is, as soon as the instance answers. */
  abandon(promptId: string): void {
    this.#orphans.add(promptId);
    this.#waker.wake();
  }

  /** One POST after the other, so that the process's counter is seen in its order. */
  inTurn<T>(post: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(post, post);
    this.#turn = mine.catch(() => undefined); // The poster itself is told.
    return mine;
  }

  /** Prompts of ours in queue and history. */
  findOurs(signal: AbortSignal): Promise<readonly string[]> {
    return findOurs({
      client: this.client,
      historyScan: this.#deps.limits.historyScan,
      isMarker: (promptId) => promptId === this.#marker,
      onOldCheck: (promptId) => this.broom.sweep(promptId),
      signal,
    });
  }

  async #run(): Promise<void> {
    const { limits, log } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await this.#round();
      } catch (err) {
        if (signal.aborted) return;
        log.error({ instance: this.key, err }, "instance check failed");
      }
      this.#noteContact?.();
      const look = { ...this.facts(), isGone: this.isGone(), troubles: this.#troubles };
      await this.#waker.wait(lookPauseMs(look, limits), signal);
    }
  }

  async #round(): Promise<void> {
    const { clock, limits } = this.#deps;
    const isBusy = this.#deps.isBusy();
    const isFresh = this.#inventory.isFresh();
    if (isBusy && isFresh && this.#isTelling()) return;
    const stats = await this.client.systemStats(this.#stopping.signal);
    if (stats.kind !== "ok") {
      this.#troubles += 1;
      this.#onTrouble(stats);
      return;
    }
    this.#lastAnswerAt = clock.elapsed();
    this.observe({ kind: "versions", text: versionsOf(stats.stats) });
    this.#vramFreeBytes = stats.stats.devices[0]?.vramFreeBytes ?? null;
    await this.#checkMarker();
    // Only now: whoever looks for lost prompts must know whether the process is the old one.
    this.#noteContact?.();
    const trouble = isFresh ? undefined : await this.#inventory.read();
    if (trouble !== undefined) {
      this.#onTrouble(trouble);
      return;
    }
    this.#isAnswering = true;
    this.#troubles = 0;
    await this.#takeOutOrphans();
    if (isBusy) await this.#checkQueue();
    const isOld = clock.elapsed() - this.#lastCheckAt > limits.deepCheckEveryMs;
    const isDue = this.#isCheckDue || isOld || this.#deadReason !== undefined;
    if (isDue && !this.#deps.isBusy()) await this.#checkDeeply();
    this.#tell();
    // Not in the way of the check, without which nothing can run here.
    if (this.#isProven) this.#inventory.readModelFacts();
  }

  /** Its own events are the best sign of life; asking as well would only take its time. */
  #isTelling(): boolean {
    return (
      this.#isProven &&
      this.#isAnswering &&
      !this.#isMarkerInDoubt &&
      this.#deadReason === undefined &&
      this.#orphans.size === 0 &&
      this.#socket.silentForMs() < this.#deps.limits.healthEveryMs
    );
  }

  /** Whether the process is still the one that ran the last check: its entry is there (F9). */
  async #checkMarker(): Promise<void> {
    const promptId = this.#marker;
    if (promptId === undefined || (this.#isMarkerChecked && !this.#isMarkerInDoubt)) return;
    const found = await this.client.history(promptId, this.#stopping.signal);
    if (found.kind !== "ok") return;
    const isThere = found.entry !== undefined;
    this.#isMarkerInDoubt = false;
    if (!this.#isMarkerChecked) {
      this.#isMarkerChecked = true;
      this.#wasReplaced = !isThere;
      if (!isThere) this.#marker = undefined;
      // A check came through this very process. The next one is due all the same, and what runs there
      // now may keep it waiting for long: no reason to call a working instance ill.
      if (isThere) this.#isProven = true;
    }
    this.observe({ kind: "looked_up", promptId, where: isThere ? "history" : "nowhere" });
  }

  async #checkDeeply(): Promise<void> {
    const { clock, random, limits } = this.#deps;
    const objectInfo = this.#inventory.known()?.objectInfo;
    if (objectInfo === undefined) return;
    const promptId = nextUuid(random);
    const { generation } = this.#identity;
    const result = await runDeepCheck({
      client: this.client,
      clock,
      objectInfo,
      promptId,
      deepCheckMs: limits.deepCheckMs,
      inTurn: (post) => this.inTurn(post),
      clearWay: () => this.#takeOutOrphans(),
      isDead: (id) => this.#deadPrompts.has(id),
      onNumber: (number) => this.observe({ kind: "accepted", promptId, number }),
      signal: this.#stopping.signal,
    });
    this.#lastCheckAt = clock.elapsed();
    if (generation !== this.#identity.generation) return;
    switch (result.kind) {
      case "passed":
        this.observe({ kind: "looked_up", promptId, where: "history" });
        if (this.#marker !== undefined) this.broom.sweep(this.#marker);
        this.#marker = promptId;
        this.#isMarkerChecked = true;
        this.#deps.onMarker(promptId);
        this.prove();
        return;
      case "impossible":
        // Nothing is known against it; its jobs will show.
        this.#deps.log.warn(
          { instance: this.key, reason: result.reason },
          "no deep check possible",
        );
        this.prove();
        return;
      case "blocked":
        // Somebody's job lives and runs: that says nothing against the instance.
        this.#lastReason = result.reason;
        this.observe({ kind: "removed", promptId });
        this.#tell();
        return;
      case "failed":
        this.#deadReason = `deep check failed: ${result.reason}`;
        this.observe({ kind: "removed", promptId });
        this.#tell();
    }
  }

  /** Pending prompts and nothing that runs them: the thread is gone (F26). */
  async #checkQueue(): Promise<void> {
    const { clock, limits } = this.#deps;
    const queue = await this.client.queue(this.#stopping.signal);
    if (queue.kind !== "ok") return;
    const isStuck = queue.queue.pending.length > 0 && queue.queue.running.length === 0;
    this.#idleQueueSince = isStuck ? (this.#idleQueueSince ?? clock.elapsed()) : undefined;
    if (this.#idleQueueSince === undefined) {
      this.#isStuck = false;
      return;
    }
    if (clock.elapsed() - this.#idleQueueSince < limits.idleQueueMs) return;
    this.#isStuck = true;
    this.#deadReason = "prompts wait in the queue and nothing runs";
    this.#tell();
  }

  /** Prompts that could not be taken out when they had to: the instance did not answer. */
  async #takeOutOrphans(): Promise<void> {
    const { signal } = this.#stopping;
    for (const promptId of this.#orphans) {
      const confirmWithinMs = this.#deps.limits.stopConfirmMs;
      const cancelled = await this.client.cancelPrompt(promptId, { confirmWithinMs, signal });
      if (cancelled.kind === "unreachable") return;
      this.#orphans.delete(promptId);
      if (cancelled.kind === "still_running") this.#deadPrompts.add(promptId);
      else this.broom.sweep(promptId);
    }
  }

  #onSocket(event: SocketEvent): void {
    if (event.kind === "state" && event.state === "closed") {
      this.observe({ kind: "socket_closed", code: event.code ?? 1006 });
      this.#isMarkerInDoubt = true;
      // Only this tells a death within a moment of it (F12).
      this.#waker.wake();
    }
    this.#deps.onSocket(event);
  }

  #onTrouble(trouble: ClientTrouble): void {
    const { clock, limits } = this.#deps;
    this.#isAnswering = false;
    this.#lastReason = troubleText(trouble);
    const isSilent = clock.elapsed() - this.#lastAnswerAt > limits.silentDeathMs;
    if (trouble.kind === "unreachable" && trouble.code === "ECONNREFUSED") {
      this.observe({ kind: "connection_refused" });
    } else if (this.#deadReason === undefined && isSilent) {
      // Slow beyond every excuse (F29).
      this.#deadReason = `no answer for ${limits.silentDeathMs} ms: ${this.#lastReason}`;
      this.#deps.onReplaced(this.#deadReason);
    }
    this.#tell();
  }

  #onReplaced(reason: string): void {
    // One that has not come so far yet, as at every start, is no news.
    const isNews = this.#isProven;
    this.#isProven = false;
    this.#isCheckDue = true;
    this.#deadReason = undefined;
    this.#idleQueueSince = undefined;
    this.#isStuck = false;
    this.#inventory.outdate();
    this.#promise.forget();
    this.#marker = undefined;
    this.#deadPrompts.clear();
    this.broom.clear();
    // What was found out there, a refusal say, tells more.
    if (isNews && !this.#identity.isGone) this.#lastReason = reason;
    const level = isNews ? "warn" : "debug";
    this.#deps.log[level]({ instance: this.key, reason }, "instance's process is another one");
    this.#deps.onReplaced(reason);
    this.#waker.wake();
    this.#tell();
  }

  /** Tells a change, once. */
  #tell(): void {
    const { state, isReady, inventoryDigest, reason } = this.facts();
    const text = `${state} ${isReady} ${inventoryDigest} ${reason}`;
    this.#changes.notify();
    if (text === this.#told) return;
    this.#told = text;
    this.#deps.log.info({ instance: this.key, state, reason }, "instance state");
    this.#deps.onChange();
  }
}
