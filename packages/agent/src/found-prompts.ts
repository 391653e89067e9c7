import type { ComfyClient } from "@holdfast/comfyui";
import type { Abortable } from "@holdfast/runtime";

/**
 * Prompts of Holdfast's attempts that an instance's queue or history holds, by what their
 * `extra_data` says. Checks of earlier lives, which nobody needs any more, are told apart. What does
 * not answer gives nothing: its leases are looked up one by one.
 */
export async function findOurs(deps: {
  readonly client: Pick<ComfyClient, "historyList" | "queue">;
  readonly historyScan: number;
  readonly isMarker: (promptId: string) => boolean;
  readonly onOldCheck: (promptId: string) => void;
  readonly signal: Abortable;
}): Promise<readonly string[]> {
  const found = new Set<string>();
  const queue = await deps.client.queue(deps.signal);
  if (queue.kind !== "ok") return [];
  for (const item of [...queue.queue.running, ...queue.queue.pending]) {
    if (isAttempt(item.extraData)) found.add(item.promptId);
  }
  const history = await deps.client.historyList(deps.historyScan, deps.signal);
  if (history.kind !== "ok") return [...found];
  for (const { promptId, extraData } of history.entries) {
    if (isAttempt(extraData)) found.add(promptId);
    else if (isCheck(extraData) && !deps.isMarker(promptId)) deps.onOldCheck(promptId);
  }
  return [...found];
}

function isAttempt(extraData: unknown): boolean {
  return typeof ownData(extraData)["attemptId"] === "string";
}

function isCheck(extraData: unknown): boolean {
  return ownData(extraData)["check"] === true;
}

function ownData(extraData: unknown): Readonly<Record<string, unknown>> {
  const own: unknown =
    typeof extraData === "object" && extraData !== null && "holdfast" in extraData
      ? extraData.holdfast
      : undefined;
  return typeof own === "object" && own !== null ? { ...own } : {};
}
