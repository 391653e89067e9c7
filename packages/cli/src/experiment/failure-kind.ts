import { classify, limitEvidence, type ErrorClass, type FailureEvidence } from "@holdfast/recovery";
import type { RunFailure } from "./renderer.ts";

/** Classes that say nothing against the run: the same one would work on a service that is well. */
const OF_A_SERVICE: ReadonlySet<ErrorClass> = new Set([
  "network_error",
  "instance_crash",
  "gpu_fault",
]);
/** The evidence comes from outside of the run. */
const OUTSIDE_CHANNELS: ReadonlySet<string> = new Set(["connection", "process_exit"]);

/** Most characters of a traceback that a result keeps: thousands of runs may fail alike. */
const TRACEBACK_MAX = 4_000;

/** What a failure of an attempt means for an experiment: the run's own, or a service's. */
export function failureOfEvidence(evidence: FailureEvidence): RunFailure {
  const limited = limitEvidence(evidence);
  const { class: errorClass } = classify(limited);
  return {
    class: errorClass,
    message: limited.message,
    isInfrastructure: isOfService(errorClass) || OUTSIDE_CHANNELS.has(evidence.channel),
    ...placeOf(limited),
  };
}

/** Where it failed, as far as the evidence has it. */
export function placeOf(
  evidence: Pick<FailureEvidence, "exceptionType" | "nodeId" | "nodeType" | "traceback">,
): Pick<RunFailure, "exceptionType" | "nodeId" | "nodeType" | "traceback"> {
  const { nodeId, nodeType, exceptionType, traceback } = evidence;
  // It may come from a server of another version.
  const lines = Array.isArray(traceback) ? traceback.filter((line) => isText(line)) : [];
  const end = endOf(lines);
  return {
    ...(isText(nodeId) && { nodeId }),
    ...(isText(nodeType) && { nodeType }),
    ...(isText(exceptionType) && { exceptionType }),
    ...(end !== "" && { traceback: end }),
  };
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

/** Python underlines the call, in lines as long as that. */
const UNDERLINE = /^\s*[~^]+$/;

/** As many whole lines of the end as fit. */
function endOf(lines: readonly string[]): string {
  const kept: string[] = [];
  let left = TRACEBACK_MAX;
  for (const line of lines.flatMap((one) => one.trimEnd().split("\n")).toReversed()) {
    if (UNDERLINE.test(line)) continue;
    left -= line.length + 1;
    if (left < 0) break;
    kept.unshift(line);
  }
  return kept.length === 0 ? (lines.at(-1) ?? "").slice(-TRACEBACK_MAX) : kept.join("\n");
}

/** Whether a class, also one that a newer Holdfast has, is a service's trouble. */
export function isOfService(errorClass: string): boolean {
  return OF_A_SERVICE.has(errorClass as ErrorClass);
}

/**
 * A failure because a service refuses all of us: a wrong key, a bucket that is not there. Done again like
 * one of a service that is down, but not before somebody put it right.
 */
export function refusedFailure(message: string): RunFailure {
  return { class: "auth_error", message, isInfrastructure: true, isRefusal: true };
}

/** A failure because something could not be reached. */
export function downFailure(message: string, errorClass: ErrorClass = "network_error"): RunFailure {
  return { class: errorClass, message, isInfrastructure: true };
}
