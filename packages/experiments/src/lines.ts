/**
 * What `holdfast experiment run` prints, to the letter of CONTRACTS C6: scripts read it. Each
 * function gives whole lines; an empty one is an empty line. What C6 does not have is said so.
 */
import { assertNever } from "@holdfast/runtime";
import type { ExperimentRun } from "./expansion/run.ts";
import {
  resultText,
  secondsText,
  type HealthDecision,
  type HealthPolicy,
  type HealthPurpose,
  type ServiceResult,
  type UnhealthyService,
} from "./health.ts";

const RULE = "=".repeat(70);

/** From so many runs on, a run without `--pre-flight` is warned about. */
export const PRE_FLIGHT_ADVISED_FROM = 50;

/** The first lines of every run, and the advice to check services where nobody asked for it. */
export function bannerLines(count: number, isPreFlight: boolean): readonly string[] {
  const banner = framed("MASSIVE EXPERIMENT FRAMEWORK");
  if (isPreFlight || count < PRE_FLIGHT_ADVISED_FROM) return banner;
  const advice =
    `[WARN] ${count} experiments without --pre-flight: add --pre-flight (recommended from ` +
    `${PRE_FLIGHT_ADVISED_FROM} on) to check all services before the first one`;
  return [...banner, "", advice];
}

/** Before the first attempt of a check. */
export function checkLines(purpose: HealthPurpose): readonly string[] {
  switch (purpose.kind) {
    case "pre_flight":
      return ["", ...framed("PRE-FLIGHT HEALTH CHECKS"), ""];
    case "periodic":
      return ["", `[INFO] Periodic health check at experiment ${purpose.experiment}...`, ""];
    default:
      return assertNever(purpose);
  }
}

/** Before an attempt, numbered from 1. Beyond those that there are (`--on-unhealthy wait`) just its number. */
export function attemptLines(attempt: number, { attempts }: HealthPolicy): readonly string[] {
  const number = attempt > attempts ? `${attempt}` : `${attempt}/${attempts}`;
  return [`[INFO] Running health checks (attempt ${number})...`];
}

/** After an attempt: what each service answered, and what comes of it. */
export function attemptEndLines(
  purpose: HealthPurpose,
  results: readonly ServiceResult[],
  decision: HealthDecision,
): readonly string[] {
  const answers = results.map(
    (result) => `${result.answer.kind === "ok" ? "[OK]" : "[ERROR]"} ${resultText(result)}`,
  );
  return [...answers, ...decisionLines(purpose, decision)];
}

function decisionLines(purpose: HealthPurpose, decision: HealthDecision): readonly string[] {
  switch (decision.kind) {
    case "passed":
      return purpose.kind === "pre_flight"
        ? ["", "[OK] All services are healthy. Proceeding with experiments..."]
        : ["[OK] Periodic health check passed. Continuing..."];
    case "retry":
      return [`[WARN] Health checks failed. Retrying in ${secondsText(decision.delayMs)}...`];
    case "wait":
      // Not in C6, which knows no waiting.
      return [
        "[WARN] Services are not healthy. Waiting for them (--on-unhealthy wait): checking again in " +
          `${secondsText(decision.delayMs)}...`,
      ];
    case "failed":
      return ["", ...failedLines(purpose, decision.unhealthy)];
    default:
      return assertNever(decision);
  }
}

function failedLines(
  purpose: HealthPurpose,
  unhealthy: readonly UnhealthyService[],
): readonly string[] {
  const listed = unhealthy.map(({ service, message }) => `  - ${service}: ${message}`);
  switch (purpose.kind) {
    case "pre_flight":
      return [
        ...framed("[ERROR] PRE-FLIGHT CHECKS FAILED"),
        "",
        "One or more services are not healthy:",
        ...listed,
        "",
        "Aborting experiment run. Please fix the issues and try again.",
      ];
    case "periodic":
      return [
        ...framed("[ERROR] PERIODIC HEALTH CHECK FAILED"),
        "",
        "Services are not healthy:",
        ...listed,
        "",
        `Aborting after ${purpose.experiment} experiments.`,
        `Use --start-from ${purpose.experiment} to resume after fixing the issues.`,
      ];
    default:
      return assertNever(purpose);
  }
}

/** A run that is started: `[100/250] exp_0099: castle_wide` and what it is made of. */
export function runLines(
  { index, name, title, lines }: ExperimentRun,
  count: number,
): readonly string[] {
  return ["", `[${index + 1}/${count}] ${name}: ${title}`, ...lines.map((line) => `  ${line}`)];
}

function framed(title: string): readonly string[] {
  return [RULE, title, RULE];
}
