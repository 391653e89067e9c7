export {
  ERROR_CLASSES,
  ERROR_CLASS_DESCRIPTIONS,
  isErrorClass,
  type ClassificationBasis,
  type ClassifiedError,
  type ErrorClass,
  type ErrorClassDescription,
} from "./error-class.ts";
export { ERROR_STRATEGIES, type ErrorStrategy } from "./strategy.ts";
export {
  EVIDENCE_CHANNELS,
  EVIDENCE_FIELD_MAX,
  EVIDENCE_JSON_MAX,
  EVIDENCE_MESSAGE_MAX,
  EVIDENCE_TRACEBACK_LINES_MAX,
  EVIDENCE_TRACEBACK_LINE_MAX,
  limitEvidence,
  type EvidenceChannel,
  type EvidenceExit,
  type EvidenceTiming,
  type FailureEvidence,
} from "./evidence.ts";
