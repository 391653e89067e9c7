/** Answers of a provider, made in one line. */
import type { MachineRequest, Provided, ProviderTrouble } from "@holdfast/fleet";
import { abortReason } from "@holdfast/runtime";
import { isName, NAME_MAX } from "./label.ts";

/** A value. */
export function ok<T>(value: T): Provided<T> {
  return { kind: "ok", value };
}

/** Why there is none; without more, nothing has happened and nobody says when to try again. */
export function trouble(
  kind: ProviderTrouble["kind"],
  message: string,
  more: { readonly retryAfterMs?: number; readonly mayHaveHappened?: boolean } = {},
): { readonly kind: "trouble"; readonly trouble: ProviderTrouble } {
  const { retryAfterMs = null, mayHaveHappened = false } = more;
  return { kind: "trouble", trouble: { kind, message, retryAfterMs, mayHaveHappened } };
}

/** Trouble with a request that no provider could serve; undefined when there is none. */
export function requestTrouble(request: MachineRequest): ReturnType<typeof trouble> | undefined {
  if (isName(request.name)) return undefined;
  return trouble(
    "invalid",
    `expected the name of a machine with at most ${NAME_MAX} characters of a-z, 0-9 and "-", ` +
      `found ${JSON.stringify(request.name.slice(0, 2 * NAME_MAX))}`,
  );
}

/** Throws the reason of an aborted signal: the only way in which a provider's call rejects. */
export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw abortReason(signal);
}
