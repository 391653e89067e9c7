import type { ClientTrouble } from "./http.ts";
import type { HistoryEntry, Queue, QueueItem } from "./protocol/index.ts";

/** Where a prompt is. */
export type PromptLookup =
  | {
      readonly kind: "queued" | "running";
      readonly promptId: string;
      readonly number: number | undefined;
      readonly outputs: readonly string[] | undefined;
    }
  | {
      readonly kind: "finished";
      readonly promptId: string;
      readonly number: number | undefined;
      readonly outputs: readonly string[] | undefined;
      readonly entry: HistoryEntry;
    }
  /** In neither queue nor history: lost if another process answers now, else not yet there. */
  | { readonly kind: "absent" }
  | { readonly kind: "unknown"; readonly cause: ClientTrouble };

/**
 * Looks for a prompt. The queue comes first: ComfyUI moves a prompt from queue to history in one
 * step, so one that is missed in the queue is in the history afterwards, never the other way round.
 */
export async function lookUpPrompt(
  promptId: string,
  read: {
    readonly queue: () => Promise<{ kind: "ok"; queue: Queue } | ClientTrouble>;
    readonly history: () => Promise<
      { kind: "ok"; entry: HistoryEntry | undefined } | ClientTrouble
    >;
  },
): Promise<PromptLookup> {
  const queue = await read.queue();
  if (queue.kind !== "ok") return { kind: "unknown", cause: queue };
  const isOurs = (item: QueueItem): boolean => item.promptId === promptId;
  const running = queue.queue.running.find(isOurs);
  const item = running ?? queue.queue.pending.find(isOurs);
  if (item !== undefined) {
    const { number, outputs } = item;
    return { kind: running === undefined ? "queued" : "running", promptId, number, outputs };
  }
  const history = await read.history();
  if (history.kind !== "ok") return { kind: "unknown", cause: history };
  const { entry } = history;
  if (entry === undefined) return { kind: "absent" };
  const { number, executedOutputs: outputs } = entry;
  return { kind: "finished", promptId, number, outputs, entry };
}
