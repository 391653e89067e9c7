import type { ComfyClient } from "@holdfast/comfyui";
import type { Clock } from "@holdfast/runtime";
import type { AgentLimits } from "./limits.ts";
import { slept, WAIT_OVER } from "./pause.ts";

/** Most ids in one deletion, and most remembered while the instance does not answer. */
const GROUP_MAX = 100;
const REMEMBERED_MAX = 10_000;

/**
 * Deletes collected entries from ComfyUI's history, which keeps whole graphs in memory (F9): in
 * groups, one call for many jobs. An entry that stays behind after a crash is found again when the
 * agent registers.
 */
export interface HistoryBroom {
  /** Deletes this entry soon; `onDeleted` is called when ComfyUI has answered. */
  sweep(promptId: string, onDeleted?: () => void): void;
  /** Another process answers: there is nothing left to delete. */
  clear(): void;
  /** Deletes what is left, once, and ends. */
  stop(): Promise<void>;
}

/** Makes a broom for one instance. */
export function createHistoryBroom(deps: {
  readonly client: Pick<ComfyClient, "deleteHistory">;
  readonly clock: Clock;
  readonly limits: Pick<AgentLimits, "forgetEveryMs" | "stopMs">;
  readonly onRemoved: (promptId: string) => void;
}): HistoryBroom {
  const stopping = new AbortController();
  const waiting = new Map<string, (() => void) | undefined>();
  let running: Promise<void> | undefined;

  const flush = async (signal?: AbortSignal): Promise<void> => {
    const group = [...waiting].slice(0, GROUP_MAX);
    if (group.length === 0) return;
    const reply = await deps.client.deleteHistory(
      group.map(([promptId]) => promptId),
      signal,
    );
    if (reply.kind !== "ok") return;
    for (const [promptId, onDeleted] of group) {
      waiting.delete(promptId);
      deps.onRemoved(promptId);
      onDeleted?.();
    }
  };
  const run = async (): Promise<void> => {
    while (waiting.size > 0) {
      if (!(await slept(deps.clock, deps.limits.forgetEveryMs, stopping.signal))) break;
      await flush(stopping.signal).catch(() => undefined); // Only an abort rejects.
    }
    running = undefined;
  };
  return {
    sweep: (promptId, onDeleted) => {
      if (waiting.size >= REMEMBERED_MAX || stopping.signal.aborted) return;
      waiting.set(promptId, onDeleted);
      running ??= run();
    },
    clear: () => waiting.clear(),
    stop: async () => {
      stopping.abort();
      await running;
      const last = new AbortController();
      const patience = new AbortController();
      void slept(deps.clock, deps.limits.stopMs, patience.signal).then(() => last.abort(WAIT_OVER));
      await flush(last.signal).catch(() => undefined); // What stays is found again at the next start.
      patience.abort(WAIT_OVER);
    },
  };
}
