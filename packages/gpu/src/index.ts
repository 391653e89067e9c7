export { discoverGpus, type DiscoveryRuns } from "./discover.ts";
export type {
  FoundGpu,
  GpuDevice,
  GpuDiscovery,
  GpuFailure,
  GpuFault,
  GpuIdentity,
  GpuReading,
  SmiFailure,
  SmiRun,
} from "./model.ts";
export {
  createGpuQuery,
  type GpuQuery,
  type GpuQueryOptions,
  type GpuSample,
} from "./query-gpus.ts";
export { meansNoGpu, smiFailureWords } from "./smi-failure.ts";
export { parseReport } from "./parse-report.ts";
export { runSmi, type SmiProgram } from "./run-smi.ts";
export { readSmiFailures } from "./smi-failure.ts";
