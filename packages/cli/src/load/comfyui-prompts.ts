/** Prompts of a bare ComfyUI that are waited for, as its socket tells of them. */
import type { SocketEvent } from "@holdfast/comfyui";
import { nodeOf, modelFolderOf, type ExecutionError, type Graph } from "@holdfast/comfyui/protocol";

/** What ended the wait for a prompt. */
export type PromptEnd =
  /** `executing` without a node: what came of it is in the history. */
  | { readonly kind: "ended"; readonly error: ExecutionError | null }
  | { readonly kind: "interrupted" }
  | { readonly kind: "socket_dropped"; readonly reason: string };

/** One prompt. Instants are of the clock's `elapsed()`. */
export interface WatchedPrompt {
  readonly ended: Promise<PromptEnd>;
  startedAt: number | null;
  /** Its models were in memory: the first node that is no loader after those; null without any. */
  loadedAt: number | null;
  executedAt: number | null;
}

interface Watched extends WatchedPrompt {
  readonly loaders: ReadonlySet<string>;
  isLoading: boolean;
  error: ExecutionError | null;
  end(how: PromptEnd): void;
}

/** All that are waited for. */
export interface PromptWatch {
  /** Before the prompt is posted: events of a short one come before the answer (F11). */
  watch(promptId: string, loaders: ReadonlySet<string>): WatchedPrompt;
  forget(promptId: string): void;
  onEvent(event: SocketEvent): void;
}

/** Ids of the nodes that load models. */
export function loaderNodes(graph: Graph): ReadonlySet<string> {
  const ids = Object.keys(graph).filter((id) => {
    const node = nodeOf(graph, id);
    return (
      node !== undefined &&
      Object.entries(node.inputs).some(
        ([input, value]) =>
          typeof value === "string" && modelFolderOf(node.class_type, input) !== undefined,
      )
    );
  });
  return new Set(ids);
}

/** None waited for yet. */
export function createPromptWatch(elapsed: () => number): PromptWatch {
  const prompts = new Map<string, Watched>();

  const onMessage = (event: Extract<SocketEvent, { kind: "message" }>): void => {
    const { message } = event;
    const promptId = "promptId" in message ? message.promptId : undefined;
    const prompt = promptId === undefined ? undefined : prompts.get(promptId);
    if (prompt === undefined) return;
    switch (message.kind) {
      case "execution_start":
        prompt.startedAt = elapsed();
        return;
      case "executing":
        if (message.nodeId === undefined) {
          prompt.executedAt ??= elapsed();
          if (prompt.loaders.size > 0) prompt.loadedAt ??= prompt.startedAt;
          prompt.end({ kind: "ended", error: prompt.error });
        } else if (prompt.loaders.has(message.nodeId)) {
          prompt.isLoading = true;
        } else if (prompt.isLoading) {
          prompt.isLoading = false;
          prompt.loadedAt = elapsed();
        }
        return;
      case "execution_success":
        prompt.executedAt = elapsed();
        return;
      case "execution_error":
        if (message.isBlocked) return; // Not the end of the run (F11).
        prompt.executedAt = elapsed();
        prompt.error = message.error;
        return;
      case "execution_interrupted":
        prompt.executedAt = elapsed();
        prompt.end({ kind: "interrupted" });
        return;
      default:
    }
  };

  return {
    watch(promptId, loaders) {
      let end: (how: PromptEnd) => void = () => undefined;
      const ended = new Promise<PromptEnd>((resolve) => {
        end = resolve;
      });
      const times = { startedAt: null, loadedAt: null, executedAt: null };
      const prompt: Watched = { ended, ...times, loaders, isLoading: false, error: null, end };
      prompts.set(promptId, prompt);
      return prompt;
    },
    forget: (promptId) => {
      prompts.delete(promptId);
    },
    onEvent(event) {
      if (event.kind === "message") onMessage(event);
      else if (event.kind === "state" && event.state === "closed") {
        const { reason } = event;
        for (const prompt of prompts.values()) prompt.end({ kind: "socket_dropped", reason });
      }
    },
  };
}
