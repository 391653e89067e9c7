export {
  createJobPlan,
  JOBS_MAX,
  mixProblems,
  WORKFLOWS_MAX,
  type Mix,
  type MixedWorkflow,
  type PlannedJob,
} from "./plan/mix.ts";
export { parsePace, paceText, type PaceReading } from "./plan/pace-text.ts";
export {
  loopOf,
  paceProblems,
  type Arrivals,
  type Loop,
  type Pace,
  type PaceLevel,
} from "./plan/pace.ts";
export {
  createPacing,
  DEFAULT_PACING_LIMITS,
  limitProblems,
  type OverWhy,
  type Pacing,
  type PacingFacts,
  type PacingLimits,
  type PacingStep,
} from "./plan/pacing.ts";
export { type LevelWindow } from "./plan/profile.ts";
export {
  createStopRules,
  STOP_GPU_LOOKS,
  STOP_JOBS_WINDOW,
  stopLimitProblems,
  type StopLimits,
  type StopReason,
  type StopRules,
} from "./plan/stop-rules.ts";
export { isWarmUp, NO_WARM_UP, type WarmUp } from "./plan/warm-up.ts";
export type { GpuSample } from "./sample/gpu-sample.ts";
export {
  SAMPLE_OUTCOMES,
  toJobSample,
  type JobObservation,
  type JobSample,
  type SampledJob,
  type SampleOutcome,
} from "./sample/job-sample.ts";
export { PHASES, phasesOf, type Phase, type PhaseTimes } from "./sample/phases.ts";
export {
  collectedPace,
  createLoadCollector,
  type CollectedPace,
  type LoadCollector,
  type MeasuredLoad,
} from "./summary/collector.ts";
export { toLoadSummary, type RunFacts } from "./summary/load-summary.ts";
export {
  loadSummarySchema,
  type LevelSummary,
  type LoadSummary,
  type Percentiles,
  type PhaseSummary,
  type StoppedBecause,
} from "./summary/model.ts";
export type { LoadTimeline, TimelineBucket } from "./summary/timeline-model.ts";
export { readLoadFile, type LoadFileReading } from "./output/read-load-file.ts";
export { LOAD_FILE_VERSION, loadFileText, sampleLine } from "./output/load-file.ts";
export { gpuMetricsLine, jobMetricsLine } from "./output/metrics-line.ts";
export {
  compareLoads,
  DEFAULT_COMPARISON_POLICY,
  type ComparedFigure,
  type ComparedLoad,
  type Comparison,
  type ComparisonPolicy,
  type ComparisonVerdict,
  type FigureComparison,
  type OverallVerdict,
  type VerdictReason,
} from "./compare/compare-runs.ts";
export { differencesOf, type PlannedLoad } from "./compare/comparable.ts";
export { createKeptSamples, type KeptFacts, type KeptSamples } from "./compare/kept-samples.ts";
export { rateInterval, type Interval, type RateCount } from "./compare/rates.ts";
export {
  BURN_FAILURES_MIN,
  BURN_RULES,
  errorBudgetAt,
  type BurnRule,
  type BurnWindow,
  type EndCount,
  type ErrorBudget,
} from "./sla/error-budget.ts";
export { kneeOf, type Knee, type LevelThroughput } from "./sla/knee.ts";
export {
  nextTrial,
  type Trial,
  type TrialLimits,
  type TrialReason,
  type TrialStep,
} from "./sla/next-trial.ts";
export { DEFAULT_SLA, readSla, type Sla, type SlaReading, type SlaTargets } from "./sla/targets.ts";
export {
  judgeSla,
  NO_SLA_FACTS,
  slaFactsOf,
  type SlaFacts,
  type SlaFigure,
  type SlaMetric,
  type SlaMetricVerdict,
  type SlaVerdict,
} from "./sla/verdict.ts";
export {
  foundWords,
  kneeWords,
  slaRunbook,
  type MeasuredTrial,
  type RunbookFacts,
  type SlaSearch,
} from "./sla/runbook.ts";
export { RUNBOOK_BYTES_MAX, sectionCount } from "./sla/runbook-sections.ts";
export { measuredTrial, trialPlan, type TrialPlan } from "./sla/trial.ts";
export {
  measuredText,
  shortNumber,
  SLA_METRIC_WORDS,
  stateText,
  targetText,
} from "./sla/verdict-text.ts";
export {
  amountText,
  bytesText,
  mebibytesText,
  changeText,
  msText,
  secondsText,
  shareText,
} from "./plots/amounts.ts";
export { barPlot, type Bar, type BarPlot } from "./plots/bar-plot.ts";
export { linePlot, type LinePlot, type PlotSeries } from "./plots/line-plot.ts";
export {
  escapeHtml,
  factList,
  NOT_KNOWN,
  tableBehind,
  tableMarkup,
  type TextTable,
} from "./plots/markup.ts";
export { reportPage, type ReportPage, type ReportSection } from "./plots/report-page.ts";
export { amountAxis, timeAxis, type PlotAxis } from "./plots/ticks.ts";
export { harnessDoubts } from "./report/harness-trust.ts";
export { loadReportHtml, type LoadReportFacts } from "./report/load-report.ts";
export { createCardTally, vramPeakBytes, type CardTally } from "./profile/card-tally.ts";
export { fedProfiles, type FedProfile } from "./profile/fed-profiles.ts";
export {
  PROFILE_VERSION,
  profileSummarySchema,
  workflowProfileSchema,
  type ProfiledCards,
  type ProfiledNode,
  type ProfiledRun,
  type ProfiledWorkflow,
  type ProfileSummary,
  type WorkflowProfile,
} from "./profile/model.ts";
export { NVIDIA_SMI_ARGS, readSmiLook, type SmiLook } from "./profile/nvidia-smi-line.ts";
export {
  profileReadme,
  profileReportHtml,
  type ProfileReportFacts,
} from "./profile/profile-report.ts";
export {
  createTraceWatch,
  type RunTrace,
  type TraceEvent,
  type TraceWatch,
} from "./profile/run-trace.ts";
export { profileWorkflow, type NodeFacts, type WorkflowRuns } from "./profile/workflow-profile.ts";
