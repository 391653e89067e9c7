import { fromStructure, type Candidate } from "./candidate.ts";
import type { ClassifiedError, ErrorClass } from "./error-class.ts";
import { EVIDENCE_MESSAGE_MAX, type EvidenceChannel, type FailureEvidence } from "./evidence.ts";
import { candidateFromType } from "./exception-types.ts";
import { compileRules, type RuleMatcher } from "./match-rules.ts";
import { gpuMemoryCause } from "./memory-cause.ts";
import type { MessageRule } from "./rules/rule.ts";
import { BUILT_IN_RULES } from "./rules/rules.ts";
import type { ErrorStrategy } from "./strategy.ts";
import { candidateFromValidation } from "./validation.ts";

/** Says what a failure is. */
export type Classifier = (evidence: FailureEvidence) => ClassifiedError;

/**
 * Makes a classifier over a table of message rules. Compiling takes milliseconds: make it once.
 *
 * Every part of the evidence may put a candidate forward, and the surest one decides. Validation
 * types, the types of exceptions that mean one thing, stalls and exit codes are surer than any
 * words; the message is read for all the rest. Texts of the user are not in the evidence at all.
 */
export function createClassifier(rules: readonly MessageRule[]): Classifier {
  const match = compileRules(rules);
  return (evidence) => {
    const candidates: Candidate[] = [];
    const add = (candidate: Candidate | null) => {
      if (candidate !== null) candidates.push(candidate);
    };
    add(candidateFromChannel(evidence.channel));
    add(candidateFromValidation(evidence));
    add(candidateFromType(evidence));
    add(candidateFromExit(evidence, match));
    add(candidateFromStatus(evidence));
    add(candidateFromMessage(evidence, match));
    let best: Candidate | null = null;
    for (const candidate of candidates) {
      if (best === null || candidate.confidence > best.confidence) best = candidate;
    }
    return toClassified(best, evidence);
  };
}

let builtIn: Classifier | null = null;

/**
 * Says what a failure is, with the built-in rules. Never throws and always gives the same answer
 * for the same evidence; what fits nothing is `unknown` with confidence 0.
 */
export function classify(evidence: FailureEvidence): ClassifiedError {
  // Compiled on first use, so that importing the package costs nothing.
  builtIn ??= createClassifier(BUILT_IN_RULES);
  return builtIn(evidence);
}

/** What a channel alone suggests: the last resort, but for a stall, which is one whatever was said. */
function candidateFromChannel(channel: EvidenceChannel): Candidate | null {
  switch (channel) {
    case "stall":
      return fromStructure("channel", "timeout", "stall", 0.99, channel);
    case "validation":
      return fromStructure("channel", "workflow_error", null, 0.5, channel);
    case "connection":
      return fromStructure("channel", "network_error", null, 0.4, channel);
    case "collection":
      return fromStructure("channel", "network_error", "output_unreadable", 0.4, channel);
    case "store":
      return fromStructure("channel", "network_error", "store_unreachable", 0.4, channel);
    case "process_exit":
      return fromStructure("channel", "instance_crash", "process_ended", 0.45, channel);
    case "execution":
    case "log":
    case "history":
      return null;
    default:
      // Evidence comes over a wire: a channel of a newer agent must not stop the classification.
      return null;
  }
}

/** Exit codes and signals are put in words, so that one table of rules knows them in every spelling. */
function candidateFromExit(evidence: FailureEvidence, match: RuleMatcher): Candidate | null {
  const { code, signal } = evidence.exit ?? {};
  const words: string[] = [];
  if (typeof signal === "string" && signal !== "") words.push(`signal ${signal.slice(0, 20)}`);
  if (typeof code === "number") words.push(`exit code ${String(code)}`);
  if (words.length === 0) return null;
  const found = match(words.join(", "), "process_exit");
  if (found === null) return null;
  const { rule } = found;
  return fromStructure("exit_record", rule.class, rule.subclass, rule.confidence, found.matched);
}

type StatusVerdict = readonly [ErrorClass, string | null, number];

/** What an HTTP status says by itself. A 400 is left to the validation and to the words. */
const STATUS_VERDICTS: ReadonlyMap<number, StatusVerdict> = new Map<number, StatusVerdict>([
  [401, ["auth_error", null, 0.94]],
  [402, ["auth_error", "billing", 0.94]],
  [403, ["auth_error", null, 0.9]],
  [404, ["unknown", "http_404", 0.3]],
  [407, ["network_error", "proxy", 0.9]],
  [408, ["timeout", "proxy_deadline", 0.93]],
  [409, ["auth_error", "account", 0.6]],
  [413, ["workflow_error", "too_large", 0.95]],
  [422, ["workflow_error", null, 0.7]],
  [429, ["network_error", "rate_limit", 0.94]],
  // Ambiguous by itself (F4, F27): looked up, retried, and a fault of the graph when it comes twice.
  [500, ["network_error", "http_500", 0.45]],
  [502, ["network_error", "server_unavailable", 0.93]],
  [503, ["network_error", "server_unavailable", 0.93]],
  [504, ["timeout", "proxy_deadline", 0.95]],
  [524, ["timeout", "proxy_deadline", 0.95]],
]);

function candidateFromStatus(evidence: FailureEvidence): Candidate | null {
  const status = evidence.httpStatus ?? 0;
  const verdict = STATUS_VERDICTS.get(status);
  if (verdict === undefined) return null;
  const [errorClass, subclass, confidence] = verdict;
  return fromStructure("http_status", errorClass, subclass, confidence, String(status));
}

function candidateFromMessage(evidence: FailureEvidence, match: RuleMatcher): Candidate | null {
  const found = match(evidence.message.slice(0, EVIDENCE_MESSAGE_MAX), evidence.channel);
  if (found === null) return null;
  const { rule, matched } = found;
  return {
    kind: "pattern",
    rule: rule.name,
    class: rule.class,
    subclass: rule.subclass,
    confidence: rule.confidence,
    matched,
  };
}

const STRATEGIES: Readonly<Record<ErrorClass, ErrorStrategy>> = {
  cuda_out_of_memory: "REDUCE_PARAMS",
  timeout: "RESUME_CHECKPOINT",
  model_missing: "SWITCH_MODEL",
  network_error: "RETRY",
  disk_full: "ABORT",
  workflow_error: "ABORT",
  host_out_of_memory: "RETRY",
  node_missing: "ABORT",
  corrupt_model: "SWITCH_MODEL",
  gpu_fault: "RETRY",
  instance_crash: "RESUME_CHECKPOINT",
  dependency_error: "ABORT",
  auth_error: "ABORT",
  permission_error: "ABORT",
  interrupted: "RETRY",
  not_an_error: "RETRY",
  unknown: "RETRY",
};

/** The strategy that the error recovery API names for a class; ladders say the rest. */
export function strategyFor(errorClass: ErrorClass): ErrorStrategy {
  return STRATEGIES[errorClass];
}

function toClassified(best: Candidate | null, evidence: FailureEvidence): ClassifiedError {
  if (best === null) {
    return {
      class: "unknown",
      subclass: null,
      confidence: 0,
      decidedBy: { kind: "none", rule: "nothing_fits" },
      strategy: STRATEGIES.unknown,
    };
  }
  const cause = best.class === "cuda_out_of_memory" ? gpuMemoryCause(evidence) : null;
  const errorClass = cause === "revoked_card" ? "gpu_fault" : best.class;
  return {
    class: errorClass,
    subclass: cause ?? best.subclass,
    confidence: best.confidence,
    decidedBy: {
      kind: best.kind,
      rule: best.rule,
      ...(best.matched === null ? {} : { matched: best.matched.slice(0, MATCHED_MAX) }),
    },
    strategy: STRATEGIES[errorClass],
  };
}

const MATCHED_MAX = 200;
