/**
 * Whose fault a failure is: the job's, or the instance's. The same job failing on two instances is the
 * job's fault; different jobs failing on one instance, one after the other, are the instance's. Pure.
 */
import type { ClassifiedError, ErrorClass } from "./error-class.ts";

/** One attempt that ended on the instance, newest first in a list. Free ends are left out. */
export interface InstanceEnd {
  readonly jobId: string;
  /** Null when it completed its job. */
  readonly class: ErrorClass | null;
  /** Whether the job failed with the same class on another instance too: then it is the job's fault. */
  readonly failedElsewhere: boolean;
}

/** All that blame looks at. */
export interface BlameFacts {
  readonly error: Pick<ClassifiedError, "class" | "subclass" | "confidence">;
  /** What ended on the instance within {@link BLAME_WINDOW_MS}, this failure first. */
  readonly ends: readonly InstanceEnd[];
  /** Quarantines of the instance in a row, as far as they are known. */
  readonly quarantines: number;
  /** Whether another instance takes work: the last one is never set aside. */
  readonly hasOther: boolean;
  /** The same of another machine. */
  readonly hasOtherMachine: boolean;
}

/** Who is set aside, for how long, and why in words. */
export type Blame =
  | { readonly kind: "none" }
  | {
      readonly kind: "quarantine";
      /** `machine`: what is wrong is wrong for every instance there. */
      readonly scope: "instance" | "machine";
      readonly forMs: number;
      readonly reason: string;
    };

/** How far back the ends of an instance are looked at. */
export const BLAME_WINDOW_MS = 15 * 60_000;
/** Most ends that are looked at. */
export const BLAME_ENDS_MAX = 12;
/** Different jobs that fail one after the other before their instance is blamed. */
export const BLAME_JOBS = 3;
const MINUTE_MS = 60_000;
/** First quarantine on a suspicion; each further one in a row is twice as long. */
const SUSPECTED_MS = MINUTE_MS;
/** First quarantine for what does not heal by itself within a minute. */
const KNOWN_FAULT_MS = 10 * MINUTE_MS;
/** Longest quarantine: afterwards one job tries whether somebody has mended it. */
const QUARANTINE_MAX_MS = 30 * MINUTE_MS;

/** Classes in which the instance, its card or its installation may be at fault. */
const BLAMABLE: ReadonlySet<ErrorClass> = new Set([
  "gpu_fault",
  "host_out_of_memory",
  "timeout",
  "instance_crash",
  "dependency_error",
  "permission_error",
  "corrupt_model",
  "model_missing",
  "node_missing",
  "unknown",
]);

/** How sure a class must be to be laid to an instance at the first failure: words alone may mislead. */
const SURE = 0.9;

/** What is known to be the instance's or the machine's own fault at the first failure. */
const KNOWN_FAULTS: Readonly<
  Record<string, { scope: "instance" | "machine"; forMs: number; reason: string }>
> = {
  "gpu_fault.hardware": known("instance", "its card or driver is broken"),
  "gpu_fault.driver": known("instance", "its driver does not work"),
  "gpu_fault.unsupported_card": known("instance", "its PyTorch was not built for its card"),
  "gpu_fault.revoked_card": known("instance", "its card was taken away from it"),
  "model_missing.list_empty": known("instance", "a whole folder of its models is gone"),
  // A quota may be that of a service far away.
  "disk_full.": known("machine", "its disk is full"),
  "cuda_out_of_memory.foreign_vram": {
    scope: "instance",
    forMs: SUSPECTED_MS,
    reason: "another program holds the memory of its card",
  },
};

function known(scope: "instance" | "machine", reason: string) {
  return { scope, forMs: KNOWN_FAULT_MS, reason };
}

/** Whether a failure of this class can be laid to the instance at all; then its ends are worth reading. */
export function isBlamable(error: BlameFacts["error"]): boolean {
  return knownFault(error) !== undefined || BLAMABLE.has(error.class);
}

/** Decides whether an instance is set aside after a failure on it. */
export function decideBlame(facts: BlameFacts): Blame {
  const { error, ends, quarantines, hasOther } = facts;
  // What fails on the last one is no worse than what waits for it, and the jobs' own limits end it.
  if (!hasOther) return { kind: "none" };
  const fault = knownFault(error);
  if (fault !== undefined && (fault.scope === "instance" || facts.hasOtherMachine)) {
    return {
      kind: "quarantine",
      scope: fault.scope,
      forMs: longer(fault.forMs, quarantines),
      reason: fault.reason,
    };
  }
  if (!BLAMABLE.has(error.class)) return { kind: "none" };
  const jobs = failedInARow(ends);
  // One job tries it after a quarantine: when that fails as well it is not well yet.
  const enough = quarantines > 0 ? 1 : BLAME_JOBS;
  if (jobs < enough) return { kind: "none" };
  return {
    kind: "quarantine",
    scope: "instance",
    forMs: longer(SUSPECTED_MS, quarantines),
    reason:
      quarantines > 0
        ? "a job failed on it again, as others did before"
        : `${String(jobs)} different jobs failed on it one after the other`,
  };
}

function knownFault({ class: errorClass, subclass, confidence }: BlameFacts["error"]) {
  return confidence < SURE ? undefined : KNOWN_FAULTS[`${errorClass}.${subclass ?? ""}`];
}

/** Different jobs among the newest ends that failed, up to the first that went well. */
function failedInARow(ends: readonly InstanceEnd[]): number {
  const jobs = new Set<string>();
  for (const end of ends) {
    if (end.class === null) break;
    if (end.failedElsewhere || !BLAMABLE.has(end.class)) continue;
    jobs.add(end.jobId);
  }
  return jobs.size;
}

function longer(firstMs: number, quarantines: number): number {
  return Math.min(QUARANTINE_MAX_MS, firstMs * 2 ** Math.min(quarantines, 10));
}
