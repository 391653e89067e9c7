export {
  lookAtBreaker,
  NEW_BREAKER,
  spawnAllowance,
  type BreakerMemory,
  type BreakerView,
  type RatePoint,
} from "./breaker/breaker.ts";
export { percent, rateText, reasonText } from "./breaker/breaker-words.ts";
export type { BreakerState } from "./breaker/standing.ts";
export type { FailureCounts } from "./breaker/counts.ts";
export {
  DEFAULT_BREAKER_POLICY,
  MINIMUM_MAX,
  policyProblems,
  WINDOW_MS_MAX,
  type BreakerPolicy,
} from "./breaker/policy.ts";
export { parseInstant, readReplay, type ReplayReading } from "./breaker/replay.ts";
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
export {
  decideFleet,
  decideUnknown,
  type FleetDecision,
  type FleetFacts,
  type PoolDecision,
} from "./reconcile/fleet-decision.ts";
export { decideLeftOver } from "./reconcile/left-over-decision.ts";
export {
  decideMachine,
  isFollowedAtOnce,
  providedOf,
  type MachineAction,
  type MachineFacts,
} from "./reconcile/machine-decision.ts";
export {
  DEFAULT_FLEET_POLICY,
  FLEET_MACHINE_STATES,
  FLEET_TRANSITIONS,
  NO_SIGNS,
  toLifespan,
  toListing,
  type Demand,
  type FleetMachine,
  type FleetMachineState,
  type FleetPolicy,
  type MachineSigns,
  type PoolListing,
  type PoolPolicy,
} from "./reconcile/model.ts";
export { budgetRoom, type BudgetRoom } from "./sizing/budget.ts";
export { desiredInstances, startAllowance, UNKNOWN_JOB_MS } from "./sizing/desired-size.ts";
export {
  asking,
  draining,
  ended,
  foundMachine,
  gone,
  kept,
  made,
  notMade,
  notTerminated,
  ready,
  terminated,
  wantedMachine,
} from "./reconcile/transitions.ts";
