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
  EXPERIMENT_FILE_MAX,
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
