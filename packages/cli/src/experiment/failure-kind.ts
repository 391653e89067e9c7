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

/** What a failure of an attempt means for an experiment: the run's own, or a service's. */
export function failureOfEvidence(evidence: FailureEvidence): RunFailure {
  const limited = limitEvidence(evidence);
  const { class: errorClass } = classify(limited);
  return {
    class: errorClass,
    message: limited.message,
    isInfrastructure: isOfService(errorClass) || OUTSIDE_CHANNELS.has(evidence.channel),
  };
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
