/** Runs, metrics and artifacts to MLflow, over a buffer on the disk that loses nothing. */
export { type RunStatus } from "./client/client.ts";
export {
  parseTrackingTarget,
  type ParsedTarget,
  type TrackingSettings,
  type TrackingTarget,
} from "./client/tracking-target.ts";
export { tellTrouble, type MlflowTrouble } from "./client/trouble.ts";
export { type DeliveryEvent } from "./delivery/deliverer.ts";
export { type Kept } from "./journal/writer.ts";
export { fromMlflowName, toArtifactPath, toMlflowKey } from "./names.ts";
export { probeMlflow, type ProbedMlflow } from "./probe.ts";
export {
  openRunLog,
  type Flushed,
  type LogLimits,
  type LogOptions,
  type LogStatus,
  type OpenedLog,
  type RunLog,
  type RunStart,
} from "./run-log.ts";
export { type RunData } from "./to-records.ts";
