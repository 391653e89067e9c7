import {
  ENDED_ON_PURPOSE,
  MAX_FOUND_PROMPTS,
  type InstanceReport,
  type RegisterRequest,
} from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import type { Instance } from "./instance.ts";
import type { AgentLimits } from "./limits.ts";
import { slept, WAIT_OVER } from "./pause.ts";
import { cutText } from "./wire-text.ts";

/** Longest name that a machine or an instance may have. */
export const NAME_MAX = 128;
/** Longest id of a prompt of ours; whoever marks longer ones as ours is somebody else. */
const PROMPT_ID_MAX = 64;
/** Longest reason that an instance may give for its state. */
const REASON_MAX = 1_000;

/** An instance with the prompts of ours that it holds, as far as it answers in time. */
export async function declareInstance(
  instance: Instance,
  deps: {
    /** Whether its process is ours to start anew. */
    readonly canRestart: boolean;
    readonly clock: Clock;
    readonly limits: Pick<AgentLimits, "firstContactMs">;
    readonly signal: AbortSignal;
  },
): Promise<RegisterRequest["instances"][number]> {
  const { clock, limits, signal } = deps;
  const patience = new AbortController();
  const onAbort = (): void => patience.abort(WAIT_OVER);
  signal.addEventListener("abort", onAbort, { once: true });
  void slept(clock, limits.firstContactMs, patience.signal).then(onAbort);
  const ended = new Promise<void>((resolve) => {
    patience.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  await Promise.race([instance.contacted, ended]);
  const found = instance.isGone()
    ? []
    : // A slow instance is declared without them; its leases are looked up one by one.
      await instance.findOurs(patience.signal).catch(() => []);
  onAbort();
  signal.removeEventListener("abort", onAbort);
  return {
    key: instance.key,
    name: cutText(instance.name, NAME_MAX),
    foundPrompts: found.filter((id) => id.length <= PROMPT_ID_MAX).slice(0, MAX_FOUND_PROMPTS),
    ...(deps.canRestart && { canRestart: true }),
  };
}

/**
 * What an instance that is registered under this id says of itself at a poll. That it was
 * `endedOnPurpose` is said of one that is not there: what is there and does not work is ill all the same.
 */
export function reportInstance(
  instanceId: string,
  instance: Instance,
  { wants, endedOnPurpose }: { readonly wants: number; readonly endedOnPurpose: boolean },
): InstanceReport {
  const { state, reason: found, inventoryDigest, vramFreeBytes } = instance.facts();
  const isAway = state === "stopped" || state === "starting";
  const reason = endedOnPurpose && isAway ? onPurpose(found) : found;
  const cut = reason === null ? null : cutText(reason, REASON_MAX);
  return { instanceId, state, reason: cut, inventoryDigest, wants, vramFreeBytes };
}

function onPurpose(found: string | null): string {
  return found === null ? ENDED_ON_PURPOSE : `${ENDED_ON_PURPOSE}: ${found}`;
}
