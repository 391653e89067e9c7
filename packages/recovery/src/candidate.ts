import type { ErrorClass } from "./error-class.ts";

/** What one part of the evidence speaks for. The surest candidate wins. */
export interface Candidate {
  readonly class: ErrorClass;
  readonly subclass: string | null;
  readonly confidence: number;
  readonly kind: "structure" | "pattern";
  readonly rule: string;
  readonly matched: string | null;
}

/** A candidate from a field of the evidence. */
export function fromStructure(
  rule: string,
  errorClass: ErrorClass,
  subclass: string | null,
  confidence: number,
  matched: string | null = null,
): Candidate {
  return { kind: "structure", rule, class: errorClass, subclass, confidence, matched };
}
