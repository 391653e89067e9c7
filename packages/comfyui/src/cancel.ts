import type { Abortable, Clock } from "@holdfast/runtime";
import type { ClientTrouble } from "./http.ts";
import type { PromptLookup } from "./lookup.ts";
import type { HistoryEntry } from "./protocol/index.ts";

/** What became of a cancellation. */
export type CancelOutcome =
  /** It does not run and will not: removed from the queue, interrupted, or not known at all. */
  | { readonly kind: "cancelled"; readonly entry: HistoryEntry | undefined }
  /** It had ended by itself first. */
  | { readonly kind: "finished"; readonly entry: HistoryEntry }
  /** Its node does not listen to interrupts (F13); the interrupt stays set and may yet act. */
  | { readonly kind: "still_running" }
  | { readonly kind: "unreachable"; readonly cause: ClientTrouble };

/** Pause between two looks at a prompt that is being cancelled. */
const LOOK_EVERY_MS = 250;

/**
 * Takes a prompt out of the queue, or interrupts it, and waits until queue and history confirm it.
 * ComfyUI answers 200 to both whether they did anything or not, so only looking tells (F13); both
 * are repeated while needed, for a pending prompt may start between two looks.
 */
export async function cancelUntilConfirmed(port: {
  readonly lookUp: () => Promise<PromptLookup>;
  readonly deletePending: () => Promise<{ readonly kind: "ok" } | ClientTrouble>;
  readonly interrupt: () => Promise<{ readonly kind: "ok" } | ClientTrouble>;
  readonly confirmWithinMs: number;
  readonly clock: Clock;
  readonly signal: Abortable | undefined;
}): Promise<CancelOutcome> {
  const { clock } = port;
  const deadline = clock.elapsed() + port.confirmWithinMs;
  for (;;) {
    const found = await port.lookUp();
    let trouble: ClientTrouble | undefined;
    switch (found.kind) {
      case "absent":
        return { kind: "cancelled", entry: undefined };
      case "finished":
        return found.entry.status.kind === "interrupted"
          ? { kind: "cancelled", entry: found.entry }
          : { kind: "finished", entry: found.entry };
      case "queued": {
        const removed = await port.deletePending();
        if (removed.kind !== "ok") trouble = removed;
        break;
      }
      case "running": {
        const interrupted = await port.interrupt();
        if (interrupted.kind !== "ok") trouble = interrupted;
        break;
      }
      case "unknown":
        trouble = found.cause;
        break;
    }
    if (clock.elapsed() >= deadline) {
      return trouble === undefined
        ? { kind: "still_running" }
        : { kind: "unreachable", cause: trouble };
    }
    await clock.sleep(Math.min(LOOK_EVERY_MS, deadline - clock.elapsed()), port.signal);
  }
}
