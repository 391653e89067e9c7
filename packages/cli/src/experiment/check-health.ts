import {
  attemptEndLines,
  attemptLines,
  checkLines,
  decideHealth,
  healthRecord,
  type HealthPolicy,
  type HealthPurpose,
  type HealthRecord,
  type UnhealthyService,
} from "@holdfast/experiments";
import type { Clock } from "@holdfast/runtime";
import type { AskService, CheckedService } from "./services.ts";

/** How a check ended. */
export type HealthEnd =
  /** `wasDown`: an attempt before the one that passed had failed. */
  | { readonly kind: "passed"; readonly wasDown: boolean }
  | { readonly kind: "failed"; readonly unhealthy: readonly UnhealthyService[] }
  /** Somebody stopped the experiment while services were waited for. */
  | { readonly kind: "stopped" };

/** What a check is made of. */
export interface HealthCheckDeps {
  readonly services: readonly CheckedService[];
  readonly policy: HealthPolicy;
  readonly timeoutMs: number;
  readonly ask: AskService;
  readonly clock: Clock;
  readonly print: (lines: readonly string[]) => void;
  /** Resolves when the record is on the disk. */
  readonly record: (record: HealthRecord) => Promise<void>;
  readonly signal: AbortSignal;
}

/** One check, with all its attempts: asks all services at a time, prints and keeps what they answered. */
export async function checkHealth(
  purpose: HealthPurpose,
  deps: HealthCheckDeps,
): Promise<HealthEnd> {
  const { services, policy, clock, print, signal } = deps;
  print(checkLines(purpose));
  for (let attempt = 1; ; attempt += 1) {
    print(attemptLines(attempt, policy));
    try {
      const results = await Promise.all(
        services.map(async (service) => ({
          service: service.name,
          answer: await deps.ask(service, deps.timeoutMs, signal),
        })),
      );
      const decision = decideHealth(results, attempt, policy);
      const at = new Date(clock.now()).toISOString();
      await deps.record(healthRecord(purpose, attempt, results, decision, at));
      print(attemptEndLines(purpose, results, decision));
      if (decision.kind === "passed") return { kind: "passed", wasDown: attempt > 1 };
      if (decision.kind === "failed") return decision;
      await clock.sleep(decision.delayMs, signal);
    } catch (error) {
      if (signal.aborted) return { kind: "stopped" };
      throw error;
    }
  }
}
