import { parseExecutionError, type ExecutionError } from "./execution-error.ts";
import { asNumber, asText, asTexts, isRecord, member } from "./json-shape.ts";

/** How a prompt ended, by its `status.messages`. */
export type HistoryStatus =
  | { readonly kind: "success" }
  /** `error` is undefined when ComfyUI says `error` and kept no message about it. */
  | { readonly kind: "error"; readonly error: ExecutionError | undefined }
  | { readonly kind: "interrupted"; readonly nodeId: string | undefined }
  /** No message tells of an end. */
  | { readonly kind: "unfinished" };

/** One entry of ComfyUI's history: the truth about a prompt, until a restart (F9). */
export interface HistoryEntry {
  readonly promptId: string;
  readonly number: number | undefined;
  /** The graph as ComfyUI ran it: it converts values while validating, `6` may come back as `6.0`. */
  readonly graph: unknown;
  readonly extraData: unknown;
  /** The output nodes that passed validation and were run; others were dropped (F2). */
  readonly executedOutputs: readonly string[] | undefined;
  /** What each node showed, by node id; read it with `collectOutputFiles`. */
  readonly outputs: Readonly<Record<string, unknown>>;
  readonly status: HistoryStatus;
  readonly messages: readonly HistoryMessage[];
  /** Epoch milliseconds of ComfyUI's clock. */
  readonly startedAt: number | undefined;
  readonly endedAt: number | undefined;
  readonly cachedNodes: readonly string[];
}

/** One of `status.messages`: an event's name and its data. */
export interface HistoryMessage {
  readonly event: string;
  readonly data: unknown;
}

/** An item of ComfyUI's queue. */
export interface QueueItem {
  readonly number: number | undefined;
  readonly promptId: string;
  readonly graph: unknown;
  readonly extraData: unknown;
  readonly outputs: readonly string[];
}

/** Everybody's prompts on an instance, ours and foreign ones. */
export interface Queue {
  readonly running: readonly QueueItem[];
  /** In the order of their numbers, the next first. */
  readonly pending: readonly QueueItem[];
}

/**
 * Reads the answer to `GET /history/{id}`. Undefined when it holds no entry of that id, which means
 * "not finished or not known". An entry of an unexpected shape still counts as one.
 */
export function parseHistoryEntry(value: unknown, promptId: string): HistoryEntry | undefined {
  if (!isRecord(value) || !Object.hasOwn(value, promptId)) return undefined;
  const entry = value[promptId];
  const prompt = member(entry, "prompt");
  const tuple: readonly unknown[] = Array.isArray(prompt) ? prompt : [];
  const outputs = member(entry, "outputs");
  const status = member(entry, "status");
  const messages = toMessages(member(status, "messages"));
  const outputIds = tuple[4];
  return {
    promptId,
    number: asNumber(tuple[0]),
    graph: tuple[2],
    extraData: tuple[3],
    executedOutputs: Array.isArray(outputIds) ? asTexts(outputIds) : undefined,
    outputs: isRecord(outputs) ? outputs : {},
    status: toStatus(messages, status),
    messages,
    startedAt: timeOf(messages, (event) => event === "execution_start"),
    endedAt: timeOf(messages, (event) => TERMINAL_EVENTS.has(event)),
    cachedNodes: messages
      .filter(({ event }) => event === "execution_cached")
      .flatMap(({ data }) => asTexts(member(data, "nodes"))),
  };
}

/** Reads the answer to `GET /history`: every entry, the oldest first. */
export function parseHistoryList(value: unknown): readonly HistoryEntry[] {
  if (!isRecord(value)) return [];
  return Object.keys(value).flatMap((promptId) => {
    const entry = parseHistoryEntry(value, promptId);
    return entry === undefined ? [] : [entry];
  });
}

/** Reads the answer to `GET /queue`; undefined when it is none. */
export function parseQueue(value: unknown): Queue | undefined {
  const running = member(value, "queue_running");
  const pending = member(value, "queue_pending");
  if (!Array.isArray(running) || !Array.isArray(pending)) return undefined;
  return {
    running: toQueueItems(running),
    // `/queue` lists ComfyUI's heap as it lies in memory: only its first item is sure to be the next.
    pending: toQueueItems(pending).toSorted((a, b) => (a.number ?? 0) - (b.number ?? 0)),
  };
}

const TERMINAL_EVENTS: ReadonlySet<string> = new Set([
  "execution_success",
  "execution_error",
  "execution_interrupted",
]);

/**
 * `status_str` says `error` for a user's interrupt too, and may keep an earlier prompt's value after
 * a dependency cycle, so the messages are asked first.
 */
function toStatus(messages: readonly HistoryMessage[], status: unknown): HistoryStatus {
  const last = messages.findLast(({ event }) => TERMINAL_EVENTS.has(event));
  switch (last?.event) {
    case "execution_success":
      return { kind: "success" };
    case "execution_error":
      return { kind: "error", error: parseExecutionError(last.data) };
    case "execution_interrupted":
      return { kind: "interrupted", nodeId: asText(member(last.data, "node_id")) };
    default:
      if (member(status, "status_str") === "error") return { kind: "error", error: undefined };
      return member(status, "completed") === true ? { kind: "success" } : { kind: "unfinished" };
  }
}

function toMessages(value: unknown): readonly HistoryMessage[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((item: unknown) =>
    Array.isArray(item) && typeof item[0] === "string"
      ? [{ event: item[0], data: item[1] as unknown }]
      : [],
  );
}

function timeOf(
  messages: readonly HistoryMessage[],
  wanted: (event: string) => boolean,
): number | undefined {
  const found = messages.findLast(({ event }) => wanted(event));
  return asNumber(member(found?.data, "timestamp"));
}

function toQueueItems(items: readonly unknown[]): readonly QueueItem[] {
  return items.flatMap((item) => {
    if (!Array.isArray(item)) return [];
    const [number, promptId, graph, extraData, outputs]: readonly unknown[] = item;
    if (typeof promptId !== "string") return [];
    return [{ number: asNumber(number), promptId, graph, extraData, outputs: asTexts(outputs) }];
  });
}
