/**
 * The health checks of an experiment's services, without asking any: what an attempt's answers mean,
 * and what comes next (CONTRACTS C6). Before the first run and every so many runs: a few attempts
 * with a pause between them, then a verdict.
 */
import { assertNever } from "@holdfast/runtime";

/** What one service answered. */
export type ServiceAnswer =
  | { readonly kind: "ok" }
  | { readonly kind: "unreachable" }
  | { readonly kind: "timed_out"; readonly afterMs: number }
  | { readonly kind: "http_status"; readonly status: number }
  /** It is well, and refuses us: no later attempt goes better. `advice`: what somebody has to do. */
  | { readonly kind: "refused"; readonly status: number; readonly advice: string };

/** One service's answer, under the name that people know it by (`ComfyUI`, `MinIO`). */
export interface ServiceResult {
  readonly service: string;
  readonly answer: ServiceAnswer;
}

/** How often and how patiently is asked. */
export interface HealthPolicy {
  /** `HEALTH_CHECK_RETRIES` */
  readonly attempts: number;
  /** `HEALTH_CHECK_RETRY_DELAY` */
  readonly retryDelayMs: number;
  /** Whether somebody waits for services that are down for good, instead of stopping. */
  readonly onUnhealthy: "abort" | "wait";
}

/** What C6 fixes. */
export const DEFAULT_HEALTH_POLICY: HealthPolicy = {
  attempts: 3,
  retryDelayMs: 30_000,
  onUnhealthy: "abort",
};

/** Why services are checked: before the first run, or after so many. */
export type HealthPurpose =
  { readonly kind: "pre_flight" } | { readonly kind: "periodic"; readonly experiment: number };

/** What comes after an attempt. */
export type HealthDecision =
  | { readonly kind: "passed" }
  /** Ask again after a pause. */
  | { readonly kind: "retry"; readonly delayMs: number; readonly attempt: number }
  /** The attempts are used up, and somebody waits: ask again after a pause, for ever. */
  | { readonly kind: "wait"; readonly delayMs: number; readonly attempt: number }
  | { readonly kind: "failed"; readonly unhealthy: readonly UnhealthyService[] };

/** A service that is not healthy, and why. */
export interface UnhealthyService {
  readonly service: string;
  /** `Cannot connect to ComfyUI server` */
  readonly message: string;
}

/** What the answers of an attempt, numbered from 1, lead to. No services at all are healthy. */
export function decideHealth(
  results: readonly ServiceResult[],
  attempt: number,
  { attempts, retryDelayMs, onUnhealthy }: HealthPolicy,
): HealthDecision {
  const unhealthy = unhealthyServices(results);
  if (unhealthy.length === 0) return { kind: "passed" };
  const next = { delayMs: retryDelayMs, attempt: attempt + 1 };
  if (results.some(({ answer }) => answer.kind === "refused")) return { kind: "failed", unhealthy };
  if (attempt < attempts) return { kind: "retry", ...next };
  return onUnhealthy === "wait" ? { kind: "wait", ...next } : { kind: "failed", unhealthy };
}

/** Those that did not answer as they should, in the order in which they were asked. */
export function unhealthyServices(results: readonly ServiceResult[]): readonly UnhealthyService[] {
  return results
    .filter(({ answer }) => answer.kind !== "ok")
    .map((result) => ({ service: result.service, message: resultText(result) }));
}

/** `ComfyUI is healthy`, `MinIO health check timed out after 5s`; to the letter. */
export function resultText({ service, answer }: ServiceResult): string {
  switch (answer.kind) {
    case "ok":
      return `${service} is healthy`;
    case "unreachable":
      return `Cannot connect to ${service} server`;
    case "timed_out":
      return `${service} health check timed out after ${secondsText(answer.afterMs)}`;
    case "http_status":
      return `${service} returned HTTP ${answer.status}`;
    case "refused":
      return `${service} returned HTTP ${answer.status}: ${answer.advice}`;
    default:
      return assertNever(answer);
  }
}

const MS_PER_SECOND = 1_000;

/** `5s`, `0.5s` */
export function secondsText(ms: number): string {
  return `${ms / MS_PER_SECOND}s`;
}

/** One attempt as it is kept: in `health_checks.ndjson`, and in MLflow. */
export interface HealthRecord {
  /** When it was asked, as ISO text. */
  readonly at: string;
  readonly check: "pre_flight" | "periodic";
  /** Runs that were started before it; 0 for pre-flight. */
  readonly experiment: number;
  /** From 1. */
  readonly attempt: number;
  readonly decision: HealthDecision["kind"];
  readonly services: readonly {
    readonly service: string;
    readonly isHealthy: boolean;
    readonly status: ServiceAnswer["kind"];
    readonly message: string;
  }[];
}

/** What is kept of an attempt. */
export function healthRecord(
  purpose: HealthPurpose,
  attempt: number,
  results: readonly ServiceResult[],
  decision: HealthDecision,
  at: string,
): HealthRecord {
  return {
    at,
    check: purpose.kind,
    experiment: purpose.kind === "periodic" ? purpose.experiment : 0,
    attempt,
    decision: decision.kind,
    services: results.map((result) => ({
      service: result.service,
      isHealthy: result.answer.kind === "ok",
      status: result.answer.kind,
      message: resultText(result),
    })),
  };
}
