export { applyRun } from "./apply-run.ts";
export { runName, type ExperimentRun, type LoraFill } from "./expansion/run.ts";
export { experimentSequence, type ExperimentSequence } from "./expansion/sequence.ts";
export {
  roundLength,
  type ExperimentPlan,
  type GraphInput,
  type PlannedDimension,
  type RunSource,
} from "./plan.ts";
export { RUNS_MAX, type ExperimentSpec, type Scalar } from "./spec/model.ts";
export {
  EXPERIMENT_BYTES_MAX,
  readExperiment,
  type ExperimentReading,
  type PlanReading,
  type ReadExperiment,
} from "./spec/read-experiment.ts";
export {
  EXPERIMENT_EXAMPLE,
  EXPERIMENT_EXAMPLE_GRAPH,
  experimentReference,
} from "./spec/reference.ts";
export {
  decideHealth,
  DEFAULT_HEALTH_POLICY,
  healthRecord,
  resultText,
  unhealthyServices,
  type HealthDecision,
  type HealthPolicy,
  type HealthPurpose,
  type HealthRecord,
  type ServiceAnswer,
  type ServiceResult,
  type UnhealthyService,
} from "./health.ts";
export {
  attemptEndLines,
  attemptLines,
  bannerLines,
  checkLines,
  PRE_FLIGHT_ADVISED_FROM,
  runLines,
} from "./lines.ts";
export { bestRuns, type BestBy, type BestRuns, type RankedRun } from "./results/best.ts";
export { failureText } from "./results/failure-text.ts";
export {
  createRunLedger,
  foldHistory,
  type ExperimentHistory,
  type RunLedger,
  type RunStanding,
} from "./results/history.ts";
export {
  readResults,
  readStarts,
  recordLine,
  RESULTS_FILE,
  STARTS_FILE,
  type FileTail,
  type RecordFile,
  type ResultRecord,
  type RunEnd,
  type StartRecord,
} from "./results/record.ts";
export { comparedRuns, type RunExtras } from "./report/compared-runs.ts";
export type {
  BestMark,
  ComparedDimension,
  ComparedError,
  ComparedImage,
  ComparedRun,
  ComparisonCounts,
  ComparisonFacts,
  EarlierEnd,
} from "./report/comparison-facts.ts";
export { comparisonPage } from "./report/comparison-page.ts";
export { COMPARISON_RUNS_MAX } from "./report/page-model.ts";
export {
  createSchedule,
  type Schedule,
  type ScheduleFacts,
  type ScheduleStep,
  type ScheduleView,
} from "./schedule.ts";
