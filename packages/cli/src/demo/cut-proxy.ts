import type { Clock, Service } from "@holdfast/runtime";
import { createFaultProxy } from "../fault/proxy/fault-proxy.ts";
import type { ProxyRuleHandle } from "../fault/proxy/proxy-rule.ts";

/**
 * The proxy of the demo: it waits for a certain `POST /prompt`, and when ComfyUI answers it, closes every
 * connection instead of passing the answer on. ComfyUI renders; the caller knows neither whether its
 * prompt was taken nor how it goes on.
 */
export interface CutProxy extends Service {
  /** The address to use instead of ComfyUI's; valid once started. */
  url(): string;
  /** Cuts once, at the next prompt whose graph holds this text: health checks post prompts, too. */
  cutAtPromptWith(text: string): void;
  /** The prompt whose answer was lost by the cut; undefined before it. */
  cutPromptId(): string | undefined;
}

/** Makes a proxy to a ComfyUI's base URL; nothing listens before `start`. */
export function createCutProxy(target: string, clock: Clock): CutProxy {
  const proxy = createFaultProxy(target, clock);
  let cut: ProxyRuleHandle | undefined;
  return {
    name: "cut-proxy",
    start: () => proxy.start(),
    stop: () => proxy.stop(),
    url: () => proxy.url(),
    cutAtPromptWith(text) {
      const action = { kind: "cut", when: "after", connections: "all" } as const;
      cut = proxy.add({ action, method: "POST", path: "/prompt", bodyHolds: text, count: 1 });
    },
    cutPromptId: () => (cut?.struck() === 1 ? (cut.promptId() ?? "unknown") : undefined),
  };
}
