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
export { classify, createClassifier, strategyFor, type Classifier } from "./classify.ts";
export {
  CONNECTION_BACKOFF,
  FILE_LOCK_WAIT_MS,
  FREE_RETURNS_MAX,
  POISON_DEATHS,
  RECOVERIES_MAX,
  decideRetry,
} from "./retry.ts";
export type {
  EarlierFailure,
  FailedOutcome,
  RetryDecision,
  RetryFacts,
  RetryOutcome,
  RetryPlace,
  RetryPreparation,
  RetryReason,
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
  switchModel,
  type Switched,
  type SwitchModelRequest,
} from "./graph/switch-model.ts";
export { familyOfName, type ModelFamily } from "./graph/model-family.ts";
