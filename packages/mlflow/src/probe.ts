/**
 * Whether MLflow is there and takes calls. `/health` alone would be green while its host check (3.5 and
 * later) answers every call with 403: so a call that changes nothing is made as well, and decides.
 */
import type { Clock } from "@holdfast/runtime";
import { createMlflowClient } from "./client/client.ts";
import type { TrackingTarget } from "./client/tracking-target.ts";
import type { MlflowTrouble } from "./client/trouble.ts";

/** What a look came to. */
export type ProbedMlflow = { readonly kind: "healthy" } | MlflowTrouble;

/** Looks once, over connections of its own. Rejects only when the signal is aborted. */
export async function probeMlflow(options: {
  readonly target: TrackingTarget;
  readonly clock: Clock;
  /** Of both questions together. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}): Promise<ProbedMlflow> {
  const { timeoutMs, signal } = options;
  const client = createMlflowClient({ ...options, connections: 2, callTimeoutMs: timeoutMs });
  try {
    const [health, api] = await Promise.all([client.health(signal), client.ask(signal)]);
    if (api.kind !== "ok") return api;
    // Servers that only speak the API have no /health (their 404 says so); one that is ill says 5xx.
    return health.kind === "failed" ? health : { kind: "healthy" };
  } finally {
    await client.close();
  }
}
