import type { Instance } from "./instance.ts";
import type { AgentLimits } from "./limits.ts";

/**
 * Takes a prompt out of ComfyUI's queue and sees to it that it is out. Where it cannot be, the instance
 * is not well, or does it as soon as it answers.
 */
export async function takeOut(
  promptId: string,
  {
    instance,
    limits,
  }: { readonly instance: Instance; readonly limits: Pick<AgentLimits, "stopConfirmMs"> },
): Promise<void> {
  instance.stopped.add(promptId);
  const { kind } = await instance.client.cancelPrompt(promptId, {
    confirmWithinMs: limits.stopConfirmMs,
  });
  instance.observe({ kind: "removed", promptId });
  switch (kind) {
    case "cancelled":
    case "finished":
      instance.broom.sweep(promptId);
      return;
    case "still_running":
      instance.markDead(promptId, "a stopped prompt still runs");
      return;
    case "unreachable":
      instance.abandon(promptId);
  }
}
