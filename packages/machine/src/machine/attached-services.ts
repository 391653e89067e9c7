import type { Agent, ServedInstance } from "@holdfast/agent";
import { NOTHING_INSTALLED } from "../services/fixed-facts.ts";
import type { CheckStatus, ServiceSource } from "../services/model.ts";

/**
 * ComfyUIs of somebody else's as services: they run elsewhere, and how they are is what the runner
 * finds. `now` is the wall clock, epoch ms.
 */
export function attachedSources(
  attached: readonly ServedInstance[],
  agent: Pick<Agent, "instanceHealth">,
  now: () => number,
): readonly ServiceSource[] {
  return attached.map(({ url }) => ({
    name: attachedName(url),
    kind: "instance" as const,
    dependsOn: [],
    facts: () => ({
      isConfigured: true,
      installation: NOTHING_INSTALLED,
      runtime: {
        state: "elsewhere" as const,
        pid: null,
        startedAt: null,
        restarts: 0,
        detail: null,
      },
      check: checkOf(agent.instanceHealth(url), now),
    }),
    details: () => ({ url }),
    logFiles: () => [],
  }));
}

/** `comfyui-127.0.0.1-8188`: an address as a name that is no path. */
export function attachedName(url: string): string {
  const place = url.replace(/^https?:\/\//, "").replace(/\/+$/, "");
  return `comfyui-${place.replaceAll(/[^A-Za-z0-9._-]+/g, "-").slice(0, 100)}`;
}

function checkOf(health: ReturnType<Agent["instanceHealth"]>, now: () => number): CheckStatus {
  if (health === undefined) return { state: "pending", detail: null, checkedAt: null };
  const checkedAt = Math.round(now());
  switch (health.state) {
    case "healthy":
      return { state: "passing", detail: health.reason, checkedAt };
    case "starting":
      return { state: "pending", detail: health.reason, checkedAt: null };
    case "stopped":
    case "unhealthy":
      return { state: "failing", detail: health.reason ?? "it is not well", checkedAt };
  }
}
