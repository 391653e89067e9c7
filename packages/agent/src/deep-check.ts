import type { ComfyClient } from "@holdfast/comfyui";
import type { Graph, ObjectInfo, Queue } from "@holdfast/comfyui/protocol";
import type { Abortable, Clock } from "@holdfast/runtime";
import { toEvidence, troubleText } from "./evidence.ts";
import { cutText } from "./wire-text.ts";

/** What a deep check found. */
export type DeepCheckResult =
  | { readonly kind: "passed"; readonly promptId: string }
  /** The instance has none of the classes that a model-free prompt is made of. */
  | { readonly kind: "impossible"; readonly reason: string }
  /** What runs there, and is not dead, took longer than the check waits. */
  | { readonly kind: "blocked"; readonly reason: string }
  | { readonly kind: "failed"; readonly reason: string };

/** Pauses between two looks at the check's prompt. */
const FIRST_LOOK_MS = 10;
const SLOWEST_LOOK_MS = 1_000;
/** Longest wait behind prompts that run. */
const MAX_WAIT_MS = 600_000;

/**
 * A tiny prompt without models through the queue: the only proof that an instance which answers
 * really works (F26). It waits for whatever runs, and counts its own time only while nothing stands
 * in its way. A check that fails leaves nothing in the queue.
 */
export async function runDeepCheck(deps: {
  readonly client: ComfyClient;
  readonly clock: Clock;
  readonly objectInfo: ObjectInfo;
  readonly promptId: string;
  readonly deepCheckMs: number;
  /** Takes out what runs for nobody any more, so that the check does not wait behind it. */
  readonly clearWay: () => Promise<void>;
  /** A prompt known to be dead: waiting behind it is no wait. */
  readonly isDead: (promptId: string) => boolean;
  readonly onNumber: (number: number) => void;
  /** One POST after the other; the waiting is in nobody's way. */
  readonly inTurn: <T>(post: () => Promise<T>) => Promise<T>;
  readonly signal: Abortable;
}): Promise<DeepCheckResult> {
  const { client, clock, promptId, signal } = deps;
  const graph = checkGraph(deps.objectInfo);
  if (graph === undefined) {
    return { kind: "impossible", reason: "the classes EmptyImage and PreviewImage are missing" };
  }
  const extraData = { holdfast: { check: true } };
  const posted = await deps.inTurn(async () => {
    const outcome = await client.submitOnce({ promptId, graph, extraData }, { signal });
    const number = outcome.kind === "accepted" ? outcome.number : undefined;
    if (number !== undefined) deps.onNumber(number);
    return outcome;
  });
  if (posted.kind === "rejected") {
    return { kind: "failed", reason: `the check was refused: ${posted.rejection.kind}` };
  }
  if (posted.kind !== "accepted") return { kind: "failed", reason: troubleText(posted.cause) };

  const begun = clock.elapsed();
  let blockedMs = 0;
  let last = begun;
  for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(SLOWEST_LOOK_MS, pauseMs * 2)) {
    await clock.sleep(pauseMs, signal);
    await deps.clearWay();
    const history = await client.history(promptId, signal);
    if (history.kind === "ok" && history.entry !== undefined) {
      const { status } = history.entry;
      if (status.kind === "success") return { kind: "passed", promptId };
      const message = status.kind === "error" ? status.error?.exceptionMessage : undefined;
      // Through `toEvidence` for its path stripping (F6): this text reaches people.
      const text = cutText(toEvidence("log", message ?? status.kind).message, 300);
      return { kind: "failed", reason: `the check ended with an error: ${text}` };
    }
    const queue = await client.queue(signal);
    const now = clock.elapsed();
    const isBehind = queue.kind === "ok" && isBlocked(queue.queue, deps);
    if (isBehind) blockedMs += now - last;
    last = now;
    if (now - begun - blockedMs < deps.deepCheckMs && now - begun < MAX_WAIT_MS) continue;
    await client.deletePending([promptId], signal);
    if (isBehind) return { kind: "blocked", reason: "a check waits behind a job that runs long" };
    return {
      kind: "failed",
      reason:
        queue.kind === "ok" ? "a tiny prompt did not come through the queue" : troubleText(queue),
    };
  }
}

/** Whether something that lives runs before the check. */
function isBlocked(
  queue: Queue,
  deps: { readonly promptId: string; readonly isDead: (promptId: string) => boolean },
): boolean {
  return queue.running.some(
    (item) => item.promptId !== deps.promptId && !deps.isDead(item.promptId),
  );
}

/** The smallest picture there is, shown and not kept. */
function checkGraph(objectInfo: ObjectInfo): Graph | undefined {
  if (!Object.hasOwn(objectInfo, "EmptyImage") || !Object.hasOwn(objectInfo, "PreviewImage")) {
    return undefined;
  }
  return {
    "1": { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color: 0 } },
    "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
  };
}
