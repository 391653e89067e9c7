import type { ClassifiedError } from "./error-class.ts";
import type { FailureEvidence } from "./evidence.ts";

/** Says what a failure is, from its structure first and its words last. Never throws. */
export function classify(_evidence: FailureEvidence): ClassifiedError {
  return {
    class: "unknown",
    subclass: null,
    confidence: 0,
    decidedBy: { kind: "none", rule: "nothing_fits" },
    strategy: "RETRY",
  };
}
