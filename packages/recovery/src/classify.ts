import { fromStructure, type Candidate } from "./candidate.ts";
import type { CustomPattern } from "./custom/custom-pattern.ts";
import { compileCustomPatterns, type CustomMatch } from "./custom/match-patterns.ts";
import { isErrorClass, type ClassifiedError, type ErrorClass } from "./error-class.ts";
import { EVIDENCE_MESSAGE_MAX, type EvidenceChannel, type FailureEvidence } from "./evidence.ts";
import { candidateFromType } from "./exception-types.ts";
import { compileRules, type RuleMatch } from "./match-rules.ts";
import { gpuMemoryCause } from "./memory-cause.ts";
import { createNeedleBook } from "./needle-index.ts";
import type { MessageRule } from "./rules/rule.ts";
import { BUILT_IN_RULES } from "./rules/rules.ts";
import type { ErrorStrategy } from "./strategy.ts";
import { candidateFromValidation } from "./validation.ts";

/** Says what a failure is. */
export type Classifier = (evidence: FailureEvidence) => ClassifiedError;

/** How sure a field of the evidence must be for a custom pattern not to change the class. */
const CERTAIN = 0.95;
/** How sure a match of a custom pattern is: an operator said so, in words for this very message. */
const CUSTOM_CONFIDENCE = 0.97;
/** What nobody's pattern makes another thing of: nothing failed. */
const BEYOND_PATTERNS: ReadonlySet<ErrorClass> = new Set(["interrupted", "not_an_error"]);

/**
 * Makes a classifier over a table of message rules. Compiling takes milliseconds: make it once.
 *
 * Every part of the evidence may put a candidate forward, and the surest one decides. Validation
 * types, the types of exceptions that mean one thing, stalls and exit codes are surer than any
 * words; the message is read for all the rest. Texts of the user are not in the evidence at all.
 *
 * Custom patterns, in their order, are read over the message before the built-in rules. The first
 * that matches decides what is done (strategy, tries, adjustments). It also decides the class,
 * unless a field of the evidence is certain of it: an `OutOfMemoryError` stays one, whatever it is
 * called. Stalls, failed restarts, and what is certainly an interrupt, are left to the built-in rules.
 */
export function createClassifier(
  rules: readonly MessageRule[],
  customPatterns: readonly CustomPattern[] = [],
): Classifier {
  const book = createNeedleBook();
  const match = compileRules(rules, book);
  const matchCustom = compileCustomPatterns(customPatterns, book);
  const index = book.compile();
  return (evidence) => {
    const certain = surest([
      candidateFromChannel(evidence.channel),
      candidateFromValidation(evidence),
      candidateFromType(evidence),
      candidateFromExit(evidence, (words) => match(words, "process_exit", index.find(words))),
      candidateFromStatus(evidence),
    ]);
    const message = evidence.message.slice(0, EVIDENCE_MESSAGE_MAX);
    const hits = index.find(message);
    const custom = isBeyondPatterns(certain, evidence) ? null : matchCustom(message, hits);
    if (custom !== null) return withCustom(custom, certain, evidence);
    const said = candidateFromMessage(match(message, evidence.channel, hits));
    return toClassified(asDeath(surest([certain, said]), evidence), evidence);
  };
}

function surest(candidates: readonly (Candidate | null)[]): Candidate | null {
  let best: Candidate | null = null;
  for (const candidate of candidates) {
    if (candidate === null) continue;
    if (best === null || candidate.confidence > best.confidence) best = candidate;
  }
  return best;
}

/** Classes that a death looks like from outside: the closed connection is its symptom, not its cause. */
const SYMPTOMS_OF_DEATH: ReadonlySet<ErrorClass> = new Set(["network_error", "timeout"]);

function asDeath(best: Candidate | null, { channel }: FailureEvidence): Candidate | null {
  if (channel !== "process_exit" || best === null || !SYMPTOMS_OF_DEATH.has(best.class))
    return best;
  return { ...best, class: "instance_crash", subclass: "process_ended" };
}

function isBeyondPatterns(certain: Candidate | null, { channel }: FailureEvidence): boolean {
  if (channel === "stall" || channel === "restart") return true;
  return certain !== null && certain.confidence >= CERTAIN && BEYOND_PATTERNS.has(certain.class);
}

function withCustom(
  { pattern, matched }: CustomMatch,
  structural: Candidate | null,
  evidence: FailureEvidence,
): ClassifiedError {
  const { errorType, strategy } = pattern;
  const isCertain = structural !== null && structural.confidence >= CERTAIN;
  const own: Candidate = {
    class: isErrorClass(errorType) ? errorType : CLASS_OF_STRATEGY[strategy],
    subclass: isErrorClass(errorType) ? null : errorType,
    confidence: CUSTOM_CONFIDENCE,
    kind: "pattern",
    rule: `custom.${pattern.name}`,
    matched,
  };
  const best = isCertain && structural.class !== own.class ? structural : own;
  return {
    ...toClassified(best, evidence),
    strategy,
    custom: {
      pattern: pattern.name,
      errorType,
      maxRetries: pattern.maxRetries,
      adjustments: pattern.parameterAdjustments,
    },
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

/** What a channel alone suggests: the last resort, but for a stall or a restart, which are one whatever was said. */
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
    case "restart":
      return fromStructure("channel", "instance_crash", "restart_failed", 0.99, channel);
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
function candidateFromExit(
  evidence: FailureEvidence,
  match: (words: string) => RuleMatch | null,
): Candidate | null {
  const { code, signal } = evidence.exit ?? {};
  const words: string[] = [];
  if (typeof signal === "string" && signal !== "") words.push(`signal ${signal.slice(0, 20)}`);
  if (typeof code === "number") words.push(`exit code ${String(code)}`);
  if (words.length === 0) return null;
  const found = match(words.join(", "));
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

function candidateFromMessage(found: RuleMatch | null): Candidate | null {
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

/**
 * The built-in class whose ladder an error of the operator's own goes down when nothing else tells
 * the class: the one that C1 gives the strategy for.
 */
const CLASS_OF_STRATEGY: Readonly<Record<ErrorStrategy, ErrorClass>> = {
  REDUCE_PARAMS: "cuda_out_of_memory",
  RESUME_CHECKPOINT: "timeout",
  SWITCH_MODEL: "model_missing",
  RETRY: "network_error",
  ABORT: "workflow_error",
};

/** Deadlines of a request, not of the work: the work may be done, so it is asked for again (C1: 504). */
const DEADLINES_OF_REQUESTS: ReadonlySet<string> = new Set(["proxy_deadline"]);

/** The strategy that the error recovery API names for a class; ladders say the rest. */
export function strategyFor(errorClass: ErrorClass, subclass: string | null = null): ErrorStrategy {
  const isRequest = errorClass === "timeout" && DEADLINES_OF_REQUESTS.has(subclass ?? "");
  return isRequest ? "RETRY" : STRATEGIES[errorClass];
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
    strategy: strategyFor(errorClass, best.subclass),
  };
}

const MATCHED_MAX = 200;
