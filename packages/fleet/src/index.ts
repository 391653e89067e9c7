export {
  lookAtBreaker,
  NEW_BREAKER,
  spawnAllowance,
  type BreakerMemory,
  type BreakerState,
  type BreakerView,
  type RatePoint,
} from "./breaker/breaker.ts";
export { percent, rateText, reasonText } from "./breaker/breaker-words.ts";
export type { FailureCounts } from "./breaker/counts.ts";
export {
  DEFAULT_BREAKER_POLICY,
  MINIMUM_MAX,
  policyProblems,
  WINDOW_MS_MAX,
  type BreakerPolicy,
} from "./breaker/policy.ts";
export { parseInstant, readReplay, replayBreaker, type ReplayReading } from "./breaker/replay.ts";
export { FAILURE_KINDS, type FailureKind, type Lifespan, type MachineEnd } from "./lifespan.ts";
export {
  PROVIDER_KINDS,
  type MachineOffer,
  type MachineRequest,
  type Provided,
  type ProvidedMachine,
  type ProviderKind,
  type ProviderTrouble,
} from "./provider/model.ts";
