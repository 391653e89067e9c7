export { ServerUnreachableError, type ServerOptions } from "./connection.ts";
export {
  IntelligentJobProcessor,
  type JobResult,
  type MonitorOptions,
  type ProgressListener,
  type RetriedJobs,
} from "./job-processor.ts";
export {
  ErrorRecoveryManager,
  type AttemptOptions,
  type Classification,
} from "./recovery-manager.ts";
export type { ClientClock } from "./timing.ts";
export {
  HoldfastError,
  isHoldfastError,
  type RecoveryPlan,
  type RecoveryStatus,
  type RecoverySubmit,
} from "@holdfast/contract";
