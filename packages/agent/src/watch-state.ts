/**
 * What is known of one posted prompt, as a pure state machine.
 *
 *   waiting ──start, any sign──▶ running ──executing {node: null}──▶ over ──history entry──▶ end
 *
 * W1  Only an entry of the history, or its repeated absence, ends a watch: events are hints (F7–F9).
 * W2  Whatever is lost, doubled or reordered on the socket, a next look is always due (`lookAt`).
 * W3  On a socket that brings everything, the history is asked once: after the closing event.
 * W4  Each node's output is shown once, with what came first; the history is read in the end anyway.
 *
 * All instants are monotonic milliseconds.
 */
import type { PromptLookup } from "@holdfast/comfyui";
import type { HistoryEntry, SocketMessage } from "@holdfast/comfyui/protocol";
import { MAX_NODE_ID_LENGTH } from "@holdfast/contract";
import { assertNever } from "@holdfast/runtime";
import type { AgentLimits } from "./limits.ts";
import { cutText } from "./wire-text.ts";

/** Why a watch ended. */
export type WatchEnd =
  | { readonly kind: "finished"; readonly entry: HistoryEntry }
  /** In neither queue nor history, again and again, though the same process answers. */
  | { readonly kind: "vanished" };

/** See the header. */
export interface WatchState {
  readonly phase: "waiting" | "running" | "over";
  readonly startedAt: number | undefined;
  readonly lastSignAt: number;
  /** A step was counted: from here on the shorter stall limit applies. */
  readonly hasProgressed: boolean;
  /** No silence may have been longer than was seen: while a socket of ours is made anew, it counts on. */
  readonly isSilenceKnown: boolean;
  /** Longest times between two signs of the run: up to the first step that was counted, and after it. */
  readonly loadSilenceMs: number;
  readonly stepSilenceMs: number;
  /** An event of this prompt came over the socket. */
  readonly isHeard: boolean;
  readonly isSocketUseful: boolean;
  /** The socket was open without a break from the post on: whatever was told, it was to bring. */
  readonly isSocketWhole: boolean;
  /** The socket was made anew because of this silence, so it cannot be deafness (F8). */
  readonly isRefreshed: boolean;
  readonly nodeId: string | null;
  /** The node of the caller's graph that stands for it, where one was expanded from another. */
  readonly displayNodeId: string | null;
  readonly doneNodes: ReadonlySet<string>;
  readonly nodeShare: number;
  readonly shown: ReadonlyMap<string, unknown>;
  readonly progressMark: string;
  readonly lookAt: number;
  readonly lookEveryMs: number;
  readonly absences: number;
  readonly end: WatchEnd | undefined;
}

/** What can happen to a watch. */
export type WatchEvent =
  | { readonly kind: "message"; readonly message: SocketMessage; readonly at: number }
  /** A picture or text frame of this prompt: a sign, nothing more. */
  | { readonly kind: "frame"; readonly at: number }
  /** Another prompt began on the instance, so this one cannot be running any more. */
  | { readonly kind: "other_started"; readonly at: number }
  | { readonly kind: "socket"; readonly isOpen: boolean; readonly at: number }
  /** The socket is being made anew because of this prompt's silence. */
  | { readonly kind: "refresh_asked"; readonly at: number }
  | { readonly kind: "looked"; readonly found: PromptLookup; readonly at: number };

/** The pauses of {@link AgentLimits} that a watch needs. */
export type WatchLimits = Pick<
  AgentLimits,
  | "silentLookMs"
  | "silentLookMaxMs"
  | "blindLookMs"
  | "blindLookMaxMs"
  | "endingGraceMs"
  | "absencesMax"
>;

/** The state of a prompt that has just been posted, or is to be looked up. */
export function beginWatch(
  facts: { readonly isSocketUseful: boolean; readonly at: number },
  limits: WatchLimits,
): WatchState {
  const lookEveryMs = facts.isSocketUseful ? limits.silentLookMs : limits.blindLookMs;
  return {
    phase: "waiting",
    startedAt: undefined,
    lastSignAt: facts.at,
    hasProgressed: false,
    isSilenceKnown: facts.isSocketUseful,
    loadSilenceMs: 0,
    stepSilenceMs: 0,
    isHeard: false,
    isSocketUseful: facts.isSocketUseful,
    isSocketWhole: facts.isSocketUseful,
    isRefreshed: false,
    nodeId: null,
    displayNodeId: null,
    doneNodes: new Set(),
    nodeShare: 0,
    shown: new Map(),
    progressMark: "",
    lookAt: facts.at + lookEveryMs,
    lookEveryMs,
    absences: 0,
    end: undefined,
  };
}

/** The state after one more event. Pure; after the end nothing changes any more. */
export function nextWatchStep(
  state: WatchState,
  event: WatchEvent,
  limits: WatchLimits,
): WatchState {
  if (state.end !== undefined) return state;
  switch (event.kind) {
    case "message":
      return onMessage(state, event.message, event.at, limits);
    case "frame":
      return signOf(state, event.at, limits);
    case "other_started":
      return state.phase === "running" ? { ...state, lookAt: event.at } : state;
    case "socket":
      return onSocket(state, event, limits);
    case "refresh_asked":
      return { ...state, isRefreshed: true };
    case "looked":
      return onLooked(state, event.found, event.at, limits);
    default:
      return assertNever(event);
  }
}

/**
 * Whether the socket is deaf (F8): the prompt runs or has run, and nothing came of what it must have
 * brought. A socket that came later says nothing by its silence: one node may take minutes, and the
 * greeting of a new socket does not name its prompt (F7).
 */
export function isSocketDeaf(state: WatchState): boolean {
  return state.startedAt !== undefined && state.isSocketWhole && !state.isHeard;
}

/** How far the run is, of so many nodes: within the wire's limits, whatever was heard. */
export function progressOf(
  state: WatchState,
  nodesTotal: number,
): { percent: number; nodeId: string | null; nodesDone: number; nodesTotal: number } {
  const nodesDone = Math.min(state.doneNodes.size, nodesTotal);
  const share = nodesTotal === 0 ? 0 : (nodesDone + state.nodeShare) / nodesTotal;
  const percent = state.phase === "over" ? 100 : Math.min(100, Math.round(share * 1000) / 10);
  const nodeId = state.displayNodeId ?? state.nodeId;
  return {
    percent,
    nodeId: nodeId === null ? null : cutText(nodeId, MAX_NODE_ID_LENGTH),
    nodesDone,
    nodesTotal,
  };
}

function onMessage(
  state: WatchState,
  message: SocketMessage,
  at: number,
  limits: WatchLimits,
): WatchState {
  switch (message.kind) {
    case "execution_start":
      return signOf(state, at, limits);
    case "execution_cached":
      return withDone(signOf(state, at, limits), message.nodes);
    case "executing": {
      if (message.nodeId === undefined) {
        // W3: ComfyUI writes the history before it sends this (main.py, 0.3.64).
        return { ...signOf(state, at, limits), phase: "over", lookAt: at };
      }
      const sign = signOf(state, at, limits);
      const done = state.nodeId !== null && state.nodeId !== message.nodeId ? [state.nodeId] : [];
      const displayNodeId = message.displayNodeId ?? null;
      return { ...withDone(sign, done), nodeId: message.nodeId, displayNodeId, nodeShare: 0 };
    }
    case "executed": {
      const sign = withDone(signOf(state, at, limits), asList(message.nodeId));
      if (message.nodeId === undefined || state.shown.has(message.nodeId)) return sign;
      return { ...sign, shown: new Map(state.shown).set(message.nodeId, message.output) };
    }
    case "progress": {
      const mark = `${message.nodeId ?? ""}:${message.value}`;
      if (mark === state.progressMark) return heard(state, at, limits);
      return {
        ...signOf(state, at, limits),
        progressMark: mark,
        hasProgressed: state.hasProgressed || message.value > 0,
        nodeShare: message.max > 0 ? clamp(message.value / message.max) : 0,
      };
    }
    case "progress_state": {
      const mark = message.nodes.map((n) => `${n.nodeId}:${n.value}:${n.state}`).join(",");
      if (mark === state.progressMark) return heard(state, at, limits);
      const running = message.nodes.find((node) => node.state === "running");
      const done = message.nodes.filter((node) => node.state === "finished").map((n) => n.nodeId);
      return {
        ...withDone(signOf(state, at, limits), done),
        progressMark: mark,
        hasProgressed: state.hasProgressed || (running?.value ?? 0) > 0,
        nodeShare:
          running !== undefined && running.max > 0 ? clamp(running.value / running.max) : 0,
      };
    }
    case "progress_text":
      return signOf(state, at, limits);
    case "execution_error":
      // A blocked output is announced as an error and is not the end (F11).
      if (message.isBlocked) return signOf(state, at, limits);
      return ending(state, at, limits);
    case "execution_success":
    case "execution_interrupted":
      return ending(state, at, limits);
    case "status":
    case "feature_flags":
    case "unknown":
      return state;
    default:
      return assertNever(message);
  }
}

/** The run is over but for its closing event, which may get lost: look soon in any case. */
function ending(state: WatchState, at: number, limits: WatchLimits): WatchState {
  const sign = signOf(state, at, limits);
  return { ...sign, phase: "over", lookAt: Math.min(state.lookAt, at + limits.endingGraceMs) };
}

function signOf(state: WatchState, at: number, limits: WatchLimits): WatchState {
  const silentMs = state.startedAt === undefined ? 0 : at - state.lastSignAt;
  const { loadSilenceMs, stepSilenceMs } = state;
  return {
    ...heard(state, at, limits),
    ...(state.hasProgressed
      ? { stepSilenceMs: Math.max(stepSilenceMs, silentMs) }
      : { loadSilenceMs: Math.max(loadSilenceMs, silentMs) }),
    phase: state.phase === "over" ? "over" : "running",
    startedAt: state.startedAt ?? at,
    lastSignAt: at,
    isRefreshed: false,
    absences: 0,
  };
}

function heard(state: WatchState, at: number, limits: WatchLimits): WatchState {
  return {
    ...state,
    isHeard: true,
    lookEveryMs: limits.silentLookMs,
    // Once over, a look is due already, and no late event may put it off.
    lookAt: state.phase === "over" ? state.lookAt : at + limits.silentLookMs,
  };
}

function onSocket(
  state: WatchState,
  event: { readonly isOpen: boolean; readonly at: number },
  limits: WatchLimits,
): WatchState {
  if (!event.isOpen) {
    return {
      ...state,
      isSocketUseful: false,
      isSocketWhole: false,
      isSilenceKnown: state.isSilenceKnown && state.isRefreshed,
      lookEveryMs: limits.blindLookMs,
      lookAt: Math.min(state.lookAt, event.at + limits.blindLookMs),
    };
  }
  return {
    ...state,
    isSocketUseful: true,
    // Signs could not be seen while it was down; a refresh of ours buys no time.
    lastSignAt: state.isRefreshed ? state.lastSignAt : event.at,
    lookEveryMs: limits.silentLookMs,
    lookAt: event.at,
  };
}

function onLooked(
  state: WatchState,
  found: PromptLookup,
  at: number,
  limits: WatchLimits,
): WatchState {
  const maxMs = state.isSocketUseful ? limits.silentLookMaxMs : limits.blindLookMaxMs;
  const later = (lookEveryMs: number): Pick<WatchState, "lookAt" | "lookEveryMs"> => ({
    lookAt: at + lookEveryMs,
    lookEveryMs: Math.min(maxMs, lookEveryMs * 2),
  });
  switch (found.kind) {
    case "finished":
      return {
        ...state,
        phase: "over",
        startedAt: state.startedAt ?? at,
        end: { kind: "finished", entry: found.entry },
      };
    case "absent": {
      const absences = state.absences + 1;
      if (absences >= limits.absencesMax) return { ...state, end: { kind: "vanished" } };
      return { ...state, absences, ...later(limits.blindLookMs) };
    }
    case "running":
    case "queued": {
      // "Over" by its events and still in the queue: the history is about to be written.
      const next = state.phase === "over" ? limits.blindLookMs : state.lookEveryMs;
      const isRunning = found.kind === "running" || state.phase === "over";
      return {
        ...state,
        ...later(next),
        absences: 0,
        phase: state.phase === "waiting" && isRunning ? "running" : state.phase,
        startedAt: isRunning ? (state.startedAt ?? at) : state.startedAt,
        lastSignAt: state.phase === "waiting" ? at : state.lastSignAt,
      };
    }
    case "unknown":
      return { ...state, ...later(Math.max(limits.blindLookMs, state.lookEveryMs)) };
    default:
      return assertNever(found);
  }
}

function withDone(state: WatchState, nodes: readonly string[]): WatchState {
  const fresh = nodes.filter((node) => !state.doneNodes.has(node));
  if (fresh.length === 0) return state;
  return { ...state, doneNodes: new Set([...state.doneNodes, ...fresh]) };
}

function asList(nodeId: string | undefined): readonly string[] {
  return nodeId === undefined ? [] : [nodeId];
}

function clamp(share: number): number {
  return Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : 0;
}
