export {
  ERROR_CLASSES,
  ERROR_CLASS_DESCRIPTIONS,
  isErrorClass,
  type ClassificationBasis,
  type ClassifiedError,
  type CustomVerdict,
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
export { classify, createClassifier, strategyFor, type Classifier } from "./classify.ts";
export { wantedMemory } from "./memory-cause.ts";
export { CONNECTION_BACKOFF, FILE_LOCK_WAIT_MS } from "./class-decisions.ts";
export { FREE_RETURNS_MAX, POISON_DEATHS, RECOVERIES_MAX, decideRetry } from "./retry.ts";
export {
  ADJUSTMENT_OPERATIONS,
  CUSTOM_PATTERNS_MAX,
  type AdjustmentOperation,
  type CustomPattern,
  type ParameterAdjustment,
  type ParameterAdjustments,
} from "./custom/custom-pattern.ts";
export {
  checkTogether,
  parseCustomPattern,
  parseCustomPatterns,
  toWirePattern,
  type ParsedPattern,
  type ParsedPatterns,
} from "./custom/parse-pattern.ts";
export { type PatternProblem } from "./custom/pattern-problem.ts";
export {
  adjustParameters,
  type Adjusted,
  type ParameterChange,
  type ParameterValue,
  type UnmatchedParameter,
} from "./custom/adjust-parameters.ts";
export type {
  CardFacts,
  EarlierFailure,
  FailedOutcome,
  OtherInstance,
  RetryDecision,
  RetryFacts,
  RetryOutcome,
  RetryPlace,
  RetryPreparation,
  RetryReason,
  TimeFacts,
} from "./retry-model.ts";
export { LADDERS, LOSS_LEVELS, type LossLevel, type Rung, type RungName } from "./ladder.ts";
export { type MessageRule } from "./rules/rule.ts";
export { BUILT_IN_RULES } from "./rules/rules.ts";
export { decideRecovery, type ChangeFacts, type Recovery } from "./recover.ts";
export {
  applyRecipe,
  EMPTY_RECIPE,
  hasChangingRungs,
  nextChange,
  type ChangeRequest,
  type GraphChange,
  type MemoryFacts,
  type ModelFacts,
  type Recipe,
  type SkippedRung,
} from "./graph/recipe.ts";
export { reduceParameters, type Reduced, type Reduction } from "./graph/reduce.ts";
export { findSites, type Site, type SiteRole } from "./graph/sites.ts";
export {
  findPositiveTexts,
  findSamplers,
  readParameters,
  type InputPlace,
  type SamplingParameters,
} from "./graph/sampling.ts";
export { placesOfParameter, seedPlaces } from "./graph/sampling-places.ts";
export {
  checkpointNodes,
  LOAD_CLASS,
  SAVE_CLASS,
  type CheckpointNode,
} from "./graph/add-checkpoints.ts";
export {
  CHECKPOINT_RULE,
  findCheckpointSites,
  type CheckpointRule,
  type CheckpointSite,
} from "./graph/checkpoint-sites.ts";
export { resumeGraph, type Resumed, type ResumeFile } from "./graph/resume.ts";
export { segmentSamplers, type Segmented } from "./graph/segment-sampler.ts";
export { splitBatch, type Split } from "./graph/split-batch.ts";
export { tileVae, type Tiled } from "./graph/tiled-vae.ts";
export {
  DEFAULT_FALLBACK_MODELS,
  isModelFileName,
  switchModel,
  type ModelFile,
  type ModelFiles,
  type Switched,
  type SwitchModelRequest,
} from "./graph/switch-model.ts";
export {
  familyOfDeclared,
  familyOfName,
  type DeclaredModel,
  type ModelFamily,
} from "./graph/model-family.ts";
export {
  keyOf,
  modelPlaces,
  replaceModel,
  type ModelPlace,
  type ModelReplacement,
} from "./graph/model-places.ts";
export {
  BLAME_ENDS_MAX,
  BLAME_WINDOW_MS,
  decideBlame,
  isBlamable,
  type Blame,
  type BlameFacts,
  type InstanceEnd,
} from "./blame.ts";
export { rehearse, type Rehearsal, type RehearsalFacts, type RehearsedStep } from "./rehearse.ts";
export { toChangeFacts, type KnownFacts } from "./change-facts.ts";
export { createRetryBudget, type RetryBudget } from "./retry-budget.ts";
export { findFieldFault, type FieldFault } from "./graph/field-fault.ts";
