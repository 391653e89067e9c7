import type { PromptLookup } from "@holdfast/comfyui";
import type { Clock } from "@holdfast/runtime";
import type { Instance } from "./instance.ts";
import type { AgentLimits } from "./limits.ts";

/** What ComfyUI knows of a prompt that the process before this one may have posted. */
export type FoundAgain =
  | {
      readonly kind: "found";
      readonly found: Exclude<PromptLookup, { kind: "absent" | "unknown" }>;
    }
  /** The same process answers, and has never had it. */
  | { readonly kind: "absent" }
  | { readonly kind: "died"; readonly reason: string };

const SLOWEST_LOOK_MS = 2_000;

/** A1: looks a prompt up until the instance answers, or is known to be gone. */
export async function findAgain(
  promptId: string,
  deps: {
    readonly instance: Pick<Instance, "client" | "isGone" | "noteTrouble" | "wasReplaced">;
    readonly clock: Clock;
    readonly limits: Pick<AgentLimits, "blindLookMs">;
    readonly signal: AbortSignal;
  },
): Promise<FoundAgain> {
  const { instance, clock, limits, signal } = deps;
  const gone = { kind: "died", reason: "the instance is not running" } as const;
  if (instance.isGone()) return gone;
  for (let pauseMs = limits.blindLookMs; ; pauseMs = Math.min(SLOWEST_LOOK_MS, pauseMs * 2)) {
    const found = await instance.client.lookUp(promptId, signal);
    switch (found.kind) {
      case "queued":
      case "running":
      case "finished":
        return { kind: "found", found };
      case "absent":
        // Without a mark of the process before it, nobody knows whether it was ever posted.
        if (!instance.wasReplaced()) return { kind: "absent" };
        return { kind: "died", reason: "the instance was started anew while the agent was away" };
      case "unknown":
        instance.noteTrouble(found.cause);
        if (instance.isGone()) return gone;
        await clock.sleep(pauseMs, signal);
    }
  }
}
