import {
  createComfyClient,
  createComfySocket,
  type ClientTrouble,
  type ComfyClient,
  type ComfySocket,
  type ComfyTimeouts,
  type SocketEvent,
} from "@holdfast/comfyui";
import {
  observeProcess,
  UNOBSERVED_PROCESS,
  versionsOf,
  type ProcessIdentity,
  type ProcessSign,
} from "@holdfast/comfyui/protocol";
import type { InstanceState, InventoryUpload } from "@holdfast/contract";
import { nextUuid, type Clock, type Random } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import { runDeepCheck } from "./deep-check.ts";
import { troubleText } from "./evidence.ts";
import { createHistoryBroom, type HistoryBroom } from "./history-broom.ts";
import { toInventory } from "./inventory.ts";
import type { AgentLimits } from "./limits.ts";
import { createWaker } from "./pause.ts";

/** What an instance is made of. */
export interface InstanceDeps {
  /** Base URL of the ComfyUI; the instance's stable key as well. */
  readonly url: string;
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  readonly limits: AgentLimits;
  readonly timeouts: Partial<ComfyTimeouts>;
  /** The check prompt that an earlier life of the agent left in the history, if any. */
  readonly marker: string | undefined;
  readonly onMarker: (promptId: string) => void;
  /** Attempts of ours are under way: checks stay out of their way. */
  readonly isBusy: () => boolean;
  readonly onSocket: (event: SocketEvent) => void;
  /** Another process answers, or none: every prompt is gone with the old one (F12). */
  readonly onReplaced: (reason: string) => void;
  /** State, readiness or inventory changed. */
  readonly onChange: () => void;
}

/** What an instance says of itself. */
export interface InstanceFacts {
  readonly state: InstanceState;
  readonly reason: string | null;
  /** It could start a prompt now: it answers, and no check is due. */
  readonly isReady: boolean;
  readonly inventoryDigest: string | null;
  readonly vramFreeBytes: number | null;
}

/** One attached ComfyUI: its client and socket, which process it is, and whether it works. */
export interface Instance {
  readonly key: string;
  readonly name: string;
  readonly client: ComfyClient;
  readonly broom: HistoryBroom;
  start(): void;
  stop(): Promise<void>;
  facts(): InstanceFacts;
  inventory(): InventoryUpload | undefined;
  /** Resolves when the instance was asked once and answered, refused or kept silent. */
  readonly contacted: Promise<void>;
  /** Resolves when node classes are known. */
  waitForInventory(signal: AbortSignal): Promise<InventoryUpload>;
  observe(sign: ProcessSign): void;
  /** A call failed: looks at the instance at once. */
  noteTrouble(trouble: ClientTrouble): void;
  /** Nothing listens, or another process than the one of the agent's last life. */
  isGone(): boolean;
  wasReplaced(): boolean;
  isSocketOpen(): boolean;
  /** Makes the socket anew, in case it is deaf (F8). */
  refreshSocket(reason: string): void;
  /** Something of ours came through: as good as a check. */
  prove(): void;
  /** No work until a check has passed. */
  demandCheck(): void;
  /** It answers, but does not work (F26): unhealthy until a check passes. */
  markDead(promptId: string, reason: string): void;
  /** A prompt of ours that could not be taken out: it is, as soon as the instance answers. */
  abandon(promptId: string): void;
  /** One POST after the other, so that the process's counter is seen in its order. */
  inTurn<T>(post: () => Promise<T>): Promise<T>;
  /** Prompts of ours in queue and history; checks of earlier lives are removed. */
  findOurs(signal: AbortSignal): Promise<readonly string[]>;
}

/** Makes an instance; nothing runs before `start`. */
export function createInstance(deps: InstanceDeps): Instance {
  const { clock, limits, log } = deps;
  const key = deps.url;
  const stopping = new AbortController();
  const { signal } = stopping;
  const waker = createWaker(clock);
  let noteContact: () => void = () => undefined;
  const contacted = new Promise<void>((resolve) => {
    noteContact = resolve;
  });
  const client = createComfyClient({
    baseUrl: deps.url,
    clientId: nextUuid(deps.random),
    clock,
    random: deps.random,
    timeouts: deps.timeouts,
  });
  let identity: ProcessIdentity = UNOBSERVED_PROCESS;
  let marker = deps.marker;
  let wasReplaced = false;
  let isMarkerChecked = false;
  let isMarkerInDoubt = false;
  let isProven = false;
  let isCheckDue = true;
  let isAnswering = false;
  let deadReason: string | undefined;
  let lastReason: string | undefined;
  let lastAnswerAt = clock.elapsed();
  let lastCheckAt = -Infinity;
  let idleQueueSince: number | undefined;
  let troubles = 0;
  let vramFreeBytes: number | null = null;
  let upload: InventoryUpload | undefined;
  let inventoryAt = -Infinity;
  let refreshedAt = -Infinity;
  let told = "";
  let running: Promise<void> | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  const deadPrompts = new Set<string>();
  const orphans = new Set<string>();
  const inventoryWaiters = new Set<() => void>();

  const broom = createHistoryBroom({
    client,
    clock,
    limits,
    onRemoved: (promptId) => observe({ kind: "removed", promptId }),
  });
  const socket: ComfySocket = createComfySocket({
    baseUrl: deps.url,
    clientId: client.clientId,
    clock,
    random: deps.random,
    onEvent: (event) => {
      if (event.kind === "state" && event.state === "closed") {
        observe({ kind: "socket_closed", code: event.code ?? 1006 });
        isMarkerInDoubt = true;
        // Only this tells a death within a moment of it (F12).
        waker.wake();
      }
      deps.onSocket(event);
    },
  });

  const facts = (): InstanceFacts => {
    const base = { inventoryDigest: upload?.inventory.digest ?? null, vramFreeBytes };
    if (identity.isGone) {
      return { ...base, state: "stopped", reason: lastReason ?? null, isReady: false };
    }
    if (deadReason !== undefined) {
      return { ...base, state: "unhealthy", reason: deadReason, isReady: false };
    }
    if (!isProven || upload === undefined) {
      return { ...base, state: "starting", reason: lastReason ?? null, isReady: false };
    }
    const reason = isAnswering ? null : (lastReason ?? null);
    return { ...base, state: "healthy", reason, isReady: isAnswering && !isCheckDue };
  };
  const tell = (): void => {
    const now = facts();
    const text = `${now.state} ${now.isReady} ${now.inventoryDigest} ${now.reason}`;
    if (text === told) return;
    told = text;
    log.info({ instance: key, state: now.state, reason: now.reason }, "instance state");
    deps.onChange();
  };
  const onReplaced = (reason: string): void => {
    isProven = false;
    isCheckDue = true;
    deadReason = undefined;
    idleQueueSince = undefined;
    inventoryAt = -Infinity;
    marker = undefined;
    deadPrompts.clear();
    orphans.clear();
    broom.clear();
    log.warn({ instance: key, reason }, "instance's process is another one");
    deps.onReplaced(reason);
    waker.wake();
    tell();
  };
  const observe = (sign: ProcessSign): void => {
    const before = identity.generation;
    identity = observeProcess(identity, sign);
    if (identity.generation !== before) onReplaced(identity.reason ?? "another process answers");
  };
  const onTrouble = (trouble: ClientTrouble): void => {
    isAnswering = false;
    lastReason = troubleText(trouble);
    if (trouble.kind === "unreachable" && trouble.code === "ECONNREFUSED") {
      observe({ kind: "connection_refused" });
    } else if (deadReason === undefined && clock.elapsed() - lastAnswerAt > limits.silentDeathMs) {
      // Refused, slow and answering are three things; this is slow beyond every excuse (F29).
      deadReason = `no answer for ${limits.silentDeathMs} ms: ${lastReason}`;
      deps.onReplaced(deadReason);
    }
    tell();
  };

  const readInventory = async (): Promise<boolean> => {
    const stats = await client.systemStats(signal);
    const info = stats.kind === "ok" ? await client.objectInfo(signal) : stats;
    if (stats.kind !== "ok" || info.kind !== "ok") {
      onTrouble(info.kind === "ok" ? { kind: "malformed", message: "no stats" } : info);
      return false;
    }
    upload = {
      inventory: toInventory(info.objectInfo, stats.stats),
      objectInfo: info.objectInfo,
    };
    inventoryAt = clock.elapsed();
    for (const resolve of inventoryWaiters) resolve();
    return true;
  };

  /** Whether the process is still the one that ran the last check: its entry is there (F9). */
  const checkMarker = async (): Promise<void> => {
    const doubted = isMarkerInDoubt || !isMarkerChecked;
    if (marker === undefined || !doubted) return;
    const promptId = marker;
    const found = await client.history(promptId, signal);
    if (found.kind !== "ok") return;
    isMarkerInDoubt = false;
    const isThere = found.entry !== undefined;
    if (!isMarkerChecked) {
      isMarkerChecked = true;
      wasReplaced = !isThere;
      if (!isThere) marker = undefined;
    }
    observe({ kind: "looked_up", promptId, where: isThere ? "history" : "nowhere" });
  };

  const checkDeeply = async (): Promise<void> => {
    if (upload === undefined) return;
    const { promptId, objectInfo } = {
      promptId: nextUuid(deps.random),
      objectInfo: upload.objectInfo as Parameters<typeof runDeepCheck>[0]["objectInfo"],
    };
    const generation = identity.generation;
    const result = await inTurn(() =>
      runDeepCheck({
        client,
        clock,
        objectInfo,
        promptId,
        deepCheckMs: limits.deepCheckMs,
        isDead: (id) => deadPrompts.has(id),
        onNumber: (number) => observe({ kind: "accepted", promptId, number }),
        signal,
      }),
    );
    lastCheckAt = clock.elapsed();
    if (generation !== identity.generation) return;
    if (result.kind === "failed") {
      deadReason = `deep check failed: ${result.reason}`;
      observe({ kind: "removed", promptId });
      tell();
      return;
    }
    if (result.kind === "passed") {
      observe({ kind: "looked_up", promptId, where: "history" });
      if (marker !== undefined) broom.sweep(marker);
      marker = promptId;
      isMarkerChecked = true;
      deps.onMarker(promptId);
    } else {
      lastReason = `not deep-checked: ${result.reason}`;
    }
    prove();
  };

  const prove = (): void => {
    isProven = true;
    isCheckDue = false;
    deadReason = undefined;
    // Whatever was dead or would not stop has left the queue, or nothing could have come through.
    for (const promptId of deadPrompts) broom.sweep(promptId);
    deadPrompts.clear();
    tell();
  };

  /** Prompts that could not be taken out when they had to: the instance did not answer. */
  const takeOutOrphans = async (): Promise<void> => {
    for (const promptId of orphans) {
      const confirmWithinMs = limits.stopConfirmMs;
      const cancelled = await client.cancelPrompt(promptId, { confirmWithinMs, signal });
      if (cancelled.kind === "unreachable") return;
      orphans.delete(promptId);
      if (cancelled.kind === "still_running") deadPrompts.add(promptId);
      else broom.sweep(promptId);
    }
  };

  /** Pending prompts and nothing that runs them: the thread is gone (F26). */
  const checkQueue = async (): Promise<void> => {
    const queue = await client.queue(signal);
    if (queue.kind !== "ok") return;
    const isStuck = queue.queue.pending.length > 0 && queue.queue.running.length === 0;
    idleQueueSince = isStuck ? (idleQueueSince ?? clock.elapsed()) : undefined;
    if (idleQueueSince === undefined) return;
    if (clock.elapsed() - idleQueueSince < limits.idleQueueMs) return;
    deadReason = "prompts wait in the queue and nothing runs";
    tell();
  };

  const round = async (): Promise<void> => {
    const isBusy = deps.isBusy();
    const now = clock.elapsed();
    const isFresh = now - inventoryAt < limits.inventoryEveryMs;
    // Its own events are the best sign of life; asking as well would only take its time.
    const isTelling = isBusy && isProven && isFresh && !isMarkerInDoubt && deadReason === undefined;
    if (isTelling && isAnswering && socket.silentForMs() < limits.healthEveryMs) return;
    const stats = await client.systemStats(signal);
    noteContact();
    if (stats.kind !== "ok") {
      troubles += 1;
      onTrouble(stats);
      return;
    }
    lastAnswerAt = clock.elapsed();
    observe({ kind: "versions", text: versionsOf(stats.stats) });
    vramFreeBytes = stats.stats.devices[0]?.vramFreeBytes ?? null;
    await checkMarker();
    if ((!isFresh || upload === undefined) && !(await readInventory())) return;
    isAnswering = true;
    troubles = 0;
    await takeOutOrphans();
    if (isBusy) await checkQueue();
    const isOld = clock.elapsed() - lastCheckAt > limits.deepCheckEveryMs;
    if (!deps.isBusy() && (isCheckDue || isOld || deadReason !== undefined)) await checkDeeply();
    tell();
  };

  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      try {
        await round();
      } catch (error) {
        if (signal.aborted) return;
        log.error({ instance: key, err: error }, "instance check failed");
      }
      noteContact();
      const isWell = facts().isReady;
      const quick = limits.troubleEveryMs * 2 ** Math.min(troubles, 10);
      await waker.wait(
        isWell ? limits.healthEveryMs : Math.min(limits.healthEveryMs, quick),
        signal,
      );
    }
  };

  const inTurn = async <T>(post: () => Promise<T>): Promise<T> => {
    const mine = turn.then(post, post);
    turn = mine.catch(() => undefined);
    return mine;
  };

  return {
    key,
    name: deps.name,
    client,
    broom,
    contacted,
    start: () => {
      socket.start();
      running ??= run();
    },
    stop: async () => {
      stopping.abort();
      await broom.stop();
      await socket.stop();
      await running;
      await client.close();
    },
    facts,
    inventory: () => upload,
    waitForInventory: async (waitSignal) => {
      while (upload === undefined) {
        waitSignal.throwIfAborted();
        await new Promise<void>((resolve) => {
          const done = (): void => {
            inventoryWaiters.delete(done);
            waitSignal.removeEventListener("abort", done);
            resolve();
          };
          inventoryWaiters.add(done);
          waitSignal.addEventListener("abort", done, { once: true });
        });
      }
      return upload;
    },
    observe,
    noteTrouble: (trouble) => {
      onTrouble(trouble);
      waker.wake();
    },
    isGone: () => identity.isGone,
    wasReplaced: () => wasReplaced,
    isSocketOpen: () => socket.state() === "open",
    refreshSocket: (reason) => {
      if (clock.elapsed() - refreshedAt < limits.healthEveryMs) return;
      refreshedAt = clock.elapsed();
      log.info({ instance: key, reason }, "socket made anew");
      socket.reconnect(reason);
    },
    abandon: (promptId) => {
      orphans.add(promptId);
    },
    prove,
    demandCheck: () => {
      isCheckDue = true;
      waker.wake();
      tell();
    },
    markDead: (promptId, reason) => {
      deadPrompts.add(promptId);
      deadReason = reason;
      isCheckDue = true;
      tell();
    },
    inTurn,
    findOurs: (findSignal) => findOurs(client, broom, () => marker, limits.historyScan, findSignal),
  };
}

async function findOurs(
  client: ComfyClient,
  broom: HistoryBroom,
  marker: () => string | undefined,
  historyScan: number,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const found = new Set<string>();
  const queue = await client.queue(signal);
  if (queue.kind !== "ok") return [];
  for (const item of [...queue.queue.running, ...queue.queue.pending]) {
    if (isAttempt(item.extraData)) found.add(item.promptId);
  }
  const history = await client.historyList(historyScan, signal);
  if (history.kind !== "ok") return [...found];
  for (const entry of history.entries) {
    if (isAttempt(entry.extraData)) found.add(entry.promptId);
    else if (isCheck(entry.extraData) && entry.promptId !== marker()) broom.sweep(entry.promptId);
  }
  return [...found];
}

function holdfastData(extraData: unknown): Readonly<Record<string, unknown>> {
  const own: unknown =
    typeof extraData === "object" && extraData !== null && "holdfast" in extraData
      ? extraData.holdfast
      : undefined;
  return typeof own === "object" && own !== null ? { ...own } : {};
}

function isAttempt(extraData: unknown): boolean {
  return typeof holdfastData(extraData)["attemptId"] === "string";
}

function isCheck(extraData: unknown): boolean {
  return holdfastData(extraData)["check"] === true;
}
