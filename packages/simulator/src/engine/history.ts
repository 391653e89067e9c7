import type { QueueItem } from "./prompt-queue.ts";

/** `[event, data]`, as `status.messages` holds them. */
export type HistoryMessage = readonly [event: string, data: Readonly<Record<string, unknown>>];

/** One entry of `/history`. */
export interface HistoryEntry {
  readonly prompt: QueueItem;
  readonly outputs: Readonly<Record<string, unknown>>;
  readonly status: {
    readonly status_str: "success" | "error";
    readonly completed: boolean;
    readonly messages: readonly HistoryMessage[];
  };
  readonly meta: Readonly<Record<string, unknown>>;
}

/** ComfyUI's MAXIMUM_HISTORY_SIZE. */
export const MAX_HISTORY = 10_000;

/** Keys that are taken out of `extra_data` before it is kept. */
const SECRET_KEYS = ["auth_token_comfy_org", "api_key_comfy_org"];

/** What ended, by prompt id, oldest first. */
export class History {
  readonly #entries = new Map<string, HistoryEntry>();

  get size(): number {
    return this.#entries.size;
  }

  add(entry: HistoryEntry): void {
    if (this.#entries.size > MAX_HISTORY) {
      const oldest = this.#entries.keys().next();
      if (oldest.done !== true) this.#entries.delete(oldest.value);
    }
    const [number, promptId, graph, extraData, outputs] = entry.prompt;
    const prompt = [number, promptId, graph, withoutSecrets(extraData), outputs] as const;
    this.#entries.set(promptId, { ...entry, prompt });
  }

  get(promptId: string): HistoryEntry | undefined {
    return this.#entries.get(promptId);
  }

  /** A page, by the rules of execution.py (0.3.64): without an offset the last `maxItems`. */
  page(maxItems: number | null, offset: number): Record<string, HistoryEntry> {
    const out: Record<string, HistoryEntry> = {};
    const start = offset < 0 && maxItems !== null ? this.#entries.size - maxItems : offset;
    let index = 0;
    let count = 0;
    for (const [promptId, entry] of this.#entries) {
      if (index >= start) {
        out[promptId] = entry;
        count += 1;
        if (maxItems !== null && count >= maxItems) break;
      }
      index += 1;
    }
    return out;
  }

  remove(promptId: string): void {
    this.#entries.delete(promptId);
  }

  clear(): void {
    this.#entries.clear();
  }
}

function withoutSecrets(extraData: unknown): unknown {
  if (typeof extraData !== "object" || extraData === null || Array.isArray(extraData)) {
    return extraData;
  }
  return Object.fromEntries(
    Object.entries(extraData).filter(([key]) => !SECRET_KEYS.includes(key)),
  );
}
