/**
 * One run of a graph, node by node, out of what ComfyUI's socket tells (F11). `executing` names one node at a
 * time: a node's time ends when the next one is named. Instants are ms of any one clock.
 *
 * I1: where the socket was away, node times are not told at all: a gap would go to whichever node it hit.
 */

/** What of the socket's messages is needed, in the order in which they came. */
export type TraceEvent =
  | { readonly kind: "execution_start" }
  | { readonly kind: "execution_cached"; readonly nodes: readonly string[] }
  /** Undefined: the run is over. */
  | { readonly kind: "executing"; readonly nodeId: string | undefined }
  | { readonly kind: "progress"; readonly nodeId: string | undefined; readonly value: number }
  /** Any other message of the run: a sign of life. */
  | { readonly kind: "sign" }
  | { readonly kind: "ended" }
  | { readonly kind: "socket_away" };

/** What one run came to. */
export interface RunTrace {
  /** From its start to its end, without the time in ComfyUI's queue. */
  readonly executeMs: number;
  /** Of nodes that ran, in their order. */
  readonly nodes: readonly { readonly nodeId: string; readonly ms: number }[];
  readonly cachedNodes: readonly string[];
  /** From its start until a node told of its first step; null where none has steps. */
  readonly firstStepMs: number | null;
  /** Longest time between two messages. */
  readonly longestSilenceMs: number;
}

/** Follows one run. */
export interface TraceWatch {
  add(event: TraceEvent, atMs: number): void;
  /** Null where it did not start or did not end, or the socket was away (I1). */
  trace(): RunTrace | null;
}

/** Nodes that are told apart: more than any graph that is taken has. */
const NODES_MAX = 10_000;

/** Nothing told yet. */
export function createTraceWatch(): TraceWatch {
  const times = new Map<string, number>();
  const cached = new Set<string>();
  let startedAt: number | null = null;
  let endedAt: number | null = null;
  let lastSignAt = 0;
  let longestSilenceMs = 0;
  let firstStepMs: number | null = null;
  let current: { readonly nodeId: string; readonly since: number } | null = null;
  let isWhole = true;

  const leave = (atMs: number): void => {
    if (current === null) return;
    const known = times.get(current.nodeId);
    // A node that is expanded into others is named again after them.
    if (known !== undefined || times.size < NODES_MAX) {
      times.set(current.nodeId, (known ?? 0) + atMs - current.since);
    }
    current = null;
  };
  const end = (atMs: number): void => {
    leave(atMs);
    endedAt ??= atMs;
  };

  return {
    add(event, atMs) {
      if (event.kind === "socket_away") {
        isWhole = isWhole && (startedAt === null || endedAt !== null);
        return;
      }
      if (event.kind === "execution_start") {
        startedAt ??= atMs;
        lastSignAt = atMs;
        return;
      }
      if (startedAt === null || endedAt !== null) return;
      longestSilenceMs = Math.max(longestSilenceMs, atMs - lastSignAt);
      lastSignAt = atMs;
      switch (event.kind) {
        case "execution_cached":
          for (const nodeId of event.nodes) cached.add(nodeId);
          return;
        case "executing":
          leave(atMs);
          if (event.nodeId === undefined) end(atMs);
          else current = { nodeId: event.nodeId, since: atMs };
          return;
        case "progress":
          if (event.value > 0) firstStepMs ??= atMs - startedAt;
          return;
        case "ended":
          end(atMs);
          return;
        case "sign":
          return;
      }
    },
    trace() {
      if (startedAt === null || endedAt === null || !isWhole) return null;
      return {
        executeMs: endedAt - startedAt,
        nodes: [...times].map(([nodeId, ms]) => ({ nodeId, ms })),
        cachedNodes: [...cached],
        firstStepMs,
        longestSilenceMs,
      };
    },
  };
}
